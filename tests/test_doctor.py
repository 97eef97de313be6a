"""The doctor never raises, never imports what is heavy, and says what is so."""

from __future__ import annotations

import ctypes
import dataclasses
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from tts_trt import doctor
from tts_trt.doctor import Cpu, Executor, Gpu, Package, diagnose, find_executors

ADA = Gpu("RTX 4090", "8.9", 24 << 30)
HOPPER = Gpu("H200", "9.0", 141 << 30)
VNNI = Cpu("cpu", 2, ("avx512_vnni",))


def packages(**versions: str) -> list[Package]:
    names = [name for name, _, _ in doctor.PACKAGES]
    return [
        Package(name, versions.get(name), None if name in versions else "pip install x") for name in names
    ]


EXPORT = {"torch": "2", "onnx": "1", "onnxscript": "0.7", "safetensors": "0.8"}
CUDA = {"pycuda": "2026.1", "cuda": "13"}


def executors(
    gpus: tuple[Gpu, ...] = (), *, cuda_provider: bool = False, **versions: str
) -> dict[str, Executor]:
    return {e.name: e for e in find_executors(packages(**versions), gpus, cuda_provider=cuda_provider)}


def advice(
    gpus: tuple[Gpu, ...] = (),
    cpu: Cpu = VNNI,
    disk: int = 1 << 40,
    python: tuple[int, int] = (3, 11),
    **versions: str,
) -> str:
    found = packages(**versions)
    rows = find_executors(found, gpus, cuda_provider=False)
    return "\n".join(doctor.advise(cpu, disk, found, rows, gpus, python))


def test_this_machine_is_diagnosed_quickly_and_as_json() -> None:
    start = time.perf_counter()
    diagnosis = diagnose()
    assert time.perf_counter() - start < 2
    data = json.loads(json.dumps(diagnosis.to_json()))
    assert data["python"] == ".".join(map(str, sys.version_info[:3]))
    assert data["cpu"]["cores"] >= 1
    assert {p["name"] for p in data["packages"]} == {name for name, _, _ in doctor.PACKAGES}
    assert [e["name"] for e in data["executors"]] == ["tensorrt", "tensorrt-rtx", "onnxruntime"]
    assert data["best_executor"] in {e["name"] for e in data["executors"] if e["runs"]}


def test_no_heavy_package_is_imported() -> None:
    code = "from tts_trt.doctor import diagnose; diagnose(); import sys; print(*sys.modules)"
    run = [sys.executable, "-c", code]
    result = subprocess.run(run, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    assert not {"torch", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "numpy"} & set(
        result.stdout.split()
    )


def test_a_bare_machine_without_proc_packages_or_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: str) -> ctypes.CDLL:
        raise OSError(name)

    monkeypatch.setattr(doctor, "_text", lambda path: "")
    monkeypatch.setattr(doctor, "_spec", lambda name: None)
    monkeypatch.setattr(doctor, "_disk_free", lambda: None)
    monkeypatch.setattr(ctypes, "CDLL", no_library)
    diagnosis = diagnose()
    assert diagnosis.best_executor is None
    assert diagnosis.gpus == () and diagnosis.driver is None and diagnosis.memory_bytes is None
    assert all(package.version is None and package.install for package in diagnosis.packages)
    assert "nothing can run engines here: pip install onnxruntime" in diagnosis.advice
    assert "onnxruntime" in rendered(diagnosis)


def test_the_cpu_is_read_from_proc() -> None:
    cpu = doctor.read_cpu(
        "processor\t: 0\nmodel name\t: First\nflags\t\t: fpu avx2 avx512f avx512_vnni\n\nprocessor\t: 1\nmodel name\t: Second\n"
    )
    assert (cpu.model, cpu.flags) == ("First", ("avx2", "avx512f", "avx512_vnni"))


def test_memory_is_read_in_bytes() -> None:
    assert doctor.read_memory("MemTotal:  2048 kB\nHugePages_Total:  3\nMemAvailable: 1 kB\n") == {
        "MemTotal": 2048 * 1024,
        "MemAvailable": 1024,
    }


def test_tensorrt_rtx_builds_without_a_gpu_and_runs_only_on_its_own() -> None:
    rtx = {"tensorrt_rtx": "1.7", **CUDA}
    assert (executors(**rtx)["tensorrt-rtx"].builds, executors(**rtx)["tensorrt-rtx"].runs) == (True, False)
    assert executors((ADA,), **rtx)["tensorrt-rtx"].runs
    hopper = executors((HOPPER,), **rtx)["tensorrt-rtx"]
    assert not hopper.runs and "SM 9.0" in hopper.note
    assert not executors((ADA,), tensorrt_rtx="1.7")["tensorrt-rtx"].runs, "no CUDA tools"


def test_tensorrt_needs_a_gpu_even_to_build() -> None:
    assert not executors(tensorrt="11.4", **CUDA)["tensorrt"].builds
    assert executors((HOPPER,), tensorrt="11.4", **CUDA)["tensorrt"].runs
    bare = executors((HOPPER,), tensorrt="11.4")["tensorrt"]
    assert bare.builds and not bare.runs and "PyCUDA" in bare.note


def test_onnxruntime_names_its_providers() -> None:
    assert executors(onnxruntime="1.31", cuda_provider=True)["onnxruntime"].note == "CPU provider"
    assert "CUDA" in executors((ADA,), onnxruntime="1.31", cuda_provider=True)["onnxruntime"].note
    assert not executors()["onnxruntime"].runs


@pytest.mark.parametrize(
    ("gpu", "versions", "command"),
    [
        (ADA, {}, "tts-trt[rtx,cuda]"),
        (HOPPER, {}, "tts-trt[tensorrt11,cuda]"),
        (ADA, {"tensorrt_rtx": "1.7"}, "tts-trt[cuda]"),
        (HOPPER, {"tensorrt_rtx": "1.7"}, "tts-trt[tensorrt11,cuda]"),
        (HOPPER, {"tensorrt": "11.4"}, "tts-trt[cuda]"),
    ],
)
def test_an_idle_gpu_is_told_what_it_lacks(gpu: Gpu, versions: dict[str, str], command: str) -> None:
    assert f"{gpu.name} is idle: pip install '{command}'" in advice(
        (gpu,), onnxruntime="1", **EXPORT, **versions
    )


def test_advice_names_what_is_wrong() -> None:
    assert "3.11 or 3.12" in advice(python=(3, 13), onnxruntime="1")
    assert "0.5 GiB" in advice(disk=1 << 29)
    assert "tts-trt[export]" in advice(torch="2", onnx="1", onnxscript="0.7")
    assert "INT8" in advice(cpu=Cpu("old", 2, ("avx2",)))
    assert advice((ADA,), onnxruntime="1", tensorrt_rtx="1.7", **EXPORT, **CUDA) == ""


def rendered(diagnosis: doctor.Diagnosis) -> str:
    out = io.StringIO()
    Console(file=out, width=140).print(doctor.render(diagnosis))
    return out.getvalue()


def test_the_page_shows_extras_in_brackets_and_the_default() -> None:
    rows = tuple(packages(onnxruntime="1.31"))
    install = dataclasses.replace(rows[1], install="pip install 'tts-trt[export]'")
    page = rendered(dataclasses.replace(diagnose(), packages=(rows[0], install), best_executor="onnxruntime"))
    assert "pip install 'tts-trt[export]'" in page
    assert "default" in page and "onnxruntime" in page
