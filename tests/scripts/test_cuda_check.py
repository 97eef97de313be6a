"""The check of a CUDA host: parts that go wrong stop nothing, a second run goes on, and bars are reckoned right."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scripts import cuda_check
from scripts.cuda import runner, soak
from scripts.cuda.document import Document, read_document
from scripts.cuda.nano import agreement, requests, summary
from scripts.cuda.runner import Part, Runner, is_finished
from scripts.cuda.settings import NO_CUDA, OFFICIAL, SMALL, Settings
from scripts.cuda.verdict import failures, steps, verdict
from scripts.cuda.worker import plain
from tts_trt.errors import EngineError
from tts_trt.runtime.device import HOST
from tts_trt.runtime.request import Result
from tts_trt.spec import cache_slots

MODULE = "tests.scripts.cuda_sections"
HEAD = {"small": True}


@pytest.fixture(autouse=True)
def _no_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LEAST_SHARE", 0.0)


def part(name: str, **more: Any) -> Part:
    return Part("try", name, MODULE, **more)


def run(folder: Path, parts: list[Part], seconds: float = 60.0, many_cores: bool = False) -> Document:
    document = Document.resume(folder / "out.json", HEAD)
    settings = Settings(True, str(folder), (), str(document.path))
    todo = [p for p in parts if not is_finished(document.entry(p.section, p.name))]
    Runner(document, settings, seconds, many_cores, lambda text: None).run(todo)
    return document


def test_a_part_that_goes_wrong_is_an_entry_and_the_rest_goes_on(tmp_path: Path) -> None:
    names = ["raises", "refused", "lacks", "exits", "crashes", "fine"]
    found = run(tmp_path, [part(name) for name in names]).sections["try"]
    assert json.loads((tmp_path / "out.json").read_bytes())["sections"]["try"] == found
    assert {n: (e["status"], e.get("kind")) for n, e in found.items()} == {
        "raises": ("failed", "error"),
        "refused": ("failed", "refused"),
        "lacks": ("skipped", None),
        "exits": ("failed", "exit"),
        "crashes": ("failed", "signal"),
        "fine": ("done", None),
    }
    assert found["raises"]["reason"] == "RuntimeError: no such luck"
    assert "Traceback" in found["raises"]["output"]
    assert found["refused"]["reason"].startswith("this GPU is too old")
    assert found["lacks"]["reason"] == "no pycuda here" and "result" not in found["lacks"]
    assert found["exits"]["reason"] == "exit status 3: before the end"
    assert found["crashes"]["reason"].startswith("killed by SIGSEGV")
    for name in ("raises", "refused", "exits", "crashes"):
        assert found[name]["result"] == {"part": name, "so_far": [1, 2]}  # as far as it came
    assert found["fine"]["result"]["value"] == "nan"  # which JSON has no number for
    assert 0 < found["fine"]["result"]["left"] <= found["fine"]["share"]


def test_one_that_hangs_is_stopped_with_all_it_started(tmp_path: Path) -> None:
    began = time.monotonic()
    found = run(tmp_path, [part("hangs", cap=3.0), part("fine")]).sections["try"]
    assert time.monotonic() - began < 30
    assert (found["hangs"]["status"], found["hangs"]["kind"]) == ("failed", "time")
    assert found["hangs"]["reason"] == "stopped after its 3 s"
    assert found["hangs"]["result"]["so_far"] == [1, 2]
    assert found["fine"]["status"] == "done"
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        status = Path(f"/proc/{child}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            break
        time.sleep(0.05)
    else:
        os.kill(child, 9)
        pytest.fail("what a hanging part had started was still running")


def test_a_second_run_keeps_what_is_done_and_tries_the_rest_again(tmp_path: Path) -> None:
    parts = [part(name) for name in ("fine", "raises", "lacks")]
    run(tmp_path, parts)
    kept = run(tmp_path, parts).sections["try"]["fine"]
    assert {n: (tmp_path / n).read_text() for n in ("fine", "raises", "lacks")} == {
        "fine": "x", "raises": "xx", "lacks": "xx",
    }  # fmt: skip
    assert Document.resume(tmp_path / "out.json", HEAD).entry("try", "fine") == kept
    assert not Document.resume(tmp_path / "out.json", {"small": False}).sections  # another machine's


def test_the_document_is_whole_after_every_part(tmp_path: Path) -> None:
    seen: list[int] = []
    document = Document.resume(tmp_path / "out.json", HEAD)
    document.summary = lambda sections: {"count": len(sections.get("try", {}))}
    settings = Settings(True, str(tmp_path), (), str(document.path))

    def tell(text: str) -> None:
        seen.append(read_document(document.path).get("count", 0))

    Runner(document, settings, 60, False, tell).run([part("fine"), part("raises")])
    assert seen == [0, 0, 1, 1]  # before and after each
    assert read_document(document.path)["count"] == 2
    document.path.write_bytes(document.path.read_bytes()[:-40])
    assert read_document(document.path) == {}  # cut short: begun anew
    document.path.write_text('{"schema": 0}')
    assert read_document(document.path) == {}


def test_time_that_a_part_leaves_goes_to_the_later_ones(tmp_path: Path) -> None:
    found = run(tmp_path, [part("fine"), part("more", weight=3.0), part("capped", cap=7)], 50).sections["try"]
    assert found["fine"]["share"] == pytest.approx(10, abs=0.5)
    assert 30 < found["more"]["share"] < 37.5  # three quarters of what is left, not of what was
    assert found["capped"]["share"] == 7


def test_parts_beside_others_are_told_of_and_waited_for(tmp_path: Path) -> None:
    parts = [part("beside", beside=True), part("fine", after=("beside",)), part("more")]
    found = run(tmp_path, parts, many_cores=True).sections["try"]
    assert {entry["status"] for entry in found.values()} == {"done"}
    assert list(found) == ["beside", "fine", "more"] and "beside" not in found["fine"]
    again = run(tmp_path, [Part("again", "more", MODULE), part("hangs", beside=True)], 6, many_cores=True)
    assert again.sections["again"]["more"]["beside"] == ["try/hangs"]
    assert again.sections["try"]["hangs"]["kind"] == "time"


def test_what_is_lacking_is_known_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = Document(tmp_path / "out.json", HEAD)
    assert runner.lacking(part("a", packages=("json", "no_such_package")), document) == "no_such_package is not installed"  # fmt: skip
    monkeypatch.setattr(runner, "has_cuda", lambda: False)
    assert runner.lacking(part("a", cuda=True), document) == NO_CUDA
    document.sections = {"probe": {"rtx": {"status": "done", "result": {"refusal": "no SM 9.0"}}}}
    assert runner.lacking(part("a", executor="rtx"), document) is None  # there is no GPU to refuse
    monkeypatch.setattr(runner, "has_cuda", lambda: True)
    assert runner.lacking(part("a", executor="rtx", cuda=True), document) == "the probe could not run rtx: no SM 9.0"  # fmt: skip
    assert runner.lacking(part("a", executor="trt", cuda=True), document) is None


def test_sections_are_chosen_with_what_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    parts = cuda_check.prepare_parts() + cuda_check.measuring_parts([])
    labels = [p.label for p in cuda_check.chosen(parts, ["gpt_step/onnxruntime:fp16", "probe"])]
    assert labels == [
        "prepare/gpt", "prepare/sampler",
        "probe/tensorrt-rtx", "probe/tensorrt", "probe/onnxruntime", "probe/device",
        "gpt_step/onnxruntime:fp16",
    ]  # fmt: skip
    assert len({p.label for p in parts}) == len(parts)
    with pytest.raises(SystemExit, match="no section nonsense, only bandwidth"):
        cuda_check.chosen(parts, ["nonsense"])


def test_the_official_size_has_2048_slots() -> None:
    assert cache_slots(OFFICIAL.dims, OFFICIAL.limits) == 2048
    g = OFFICIAL.dims.gpt
    assert (g.layers, g.dim, g.heads, g.codes) == (24, 1280, 20, 8194)
    drawn = 2 * (OFFICIAL.steps + 20)
    assert OFFICIAL.position + drawn < 2048 and set(OFFICIAL.batches) == {1, 2, 4, 8, 16}


def engine_part(executor: str, scheme: str, weights: int, ms: dict[int, float], waits: int = 0) -> Any:
    def case(batch: int, step: float) -> dict[str, Any]:
        median = {"median": step}
        counted = {"waits": waits, "allocations": 0, "page_locked_allocations": 0}
        return {
            "batch": batch, "graphs": True, "step_ms": median, "gpt_ms": median, "served_ms": median,
            "cache_bytes": 10**9, "more_bytes": 5, "step": {"counted": counted, "steps": 100},
            "served": {"counted": counted},
        }  # fmt: skip

    cases = [case(batch, step) for batch, step in ms.items()] + [
        {"batch": 16, "graphs": True, "refusal": "room"}
    ]
    result = {"executor": executor, "scheme": scheme, "device": "H", "weights_bytes": weights, "cases": cases}
    return {"status": "done", "result": result}


def eager(ms: float) -> dict[str, Any]:
    cases = [
        {"form": "eager", "batch": 1, "step_ms": {"median": ms}},
        {"form": "static", "batch": 1, "step_ms": {"median": 2 * ms}},
    ]
    return {"status": "done", "result": {"device": "cuda", "cases": cases}}


def sections(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "bandwidth": {"copy": {"status": "done", "result": {"copy_bytes_a_second": 4e12}}},
        "gpt_step": {
            "a:fp16": engine_part("a", "fp16", 10**9, {1: 0.375, 8: 0.45}),
            "a:w8": engine_part("a", "w8", 5 * 10**8, {1: 0.25}),
            "b:fp16": engine_part("b", "fp16", 10**9, {1: 2.0, 8: 2.0}),
            "b:w8a8": engine_part("b", "w8a8", 5 * 10**8, {1: 3.0}),
            "torch": eager(3.0),
        },
    }
    found["gpt_step"] |= changes
    return found


def by_bar(found: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    return {b["bar"]: (b["measured"], b["verdict"]) for b in verdict(found)}


def test_bars_are_reckoned_from_the_fastest_of_our_steps() -> None:
    bars = by_bar(sections())
    assert bars["FP16 step at batch 1, over weight bytes / copy bandwidth"] == (1.5, "met")
    assert bars["INT8 step over FP16 step, same executor, batch 1"] == (pytest.approx(2 / 3), "met")
    assert bars["FP16 as fast as this many eager torch FP16 steps, batch 1"] == (8, "met")
    assert bars["INT8 as fast as this many eager torch FP16 steps, batch 1"] == (12, "met")
    assert bars["FP16 step at batch 8 over batch 1"] == (pytest.approx(1.2), "met")
    assert bars["host waits a step, chained"] == (0, "met")
    assert bars["device allocations a step, served"] == (0, "met")
    assert bars["nano: greedy FP32 codes that are the CPU's"] == (None, "not measured")
    rows = {(s["part"], s["batch"]): s for s in steps(sections())}
    assert rows["a:fp16", 1]["over_all"] == 0.75 and rows["a:fp16", 1]["memory_bytes"] == 5
    assert rows["a:w8", 1]["over_weights"] == 2.0 and "over_eager" not in rows["a:fp16", 8]


def test_bars_that_are_missed_say_so() -> None:
    slow = {
        "a:fp16": engine_part("a", "fp16", 10**9, {1: 0.75, 8: 1.5}, waits=100),
        "a:w8": engine_part("a", "w8", 5 * 10**8, {1: 0.75}),
    }
    bars = by_bar(sections(**slow))
    assert {name: verdict for name, (_, verdict) in bars.items()} == {
        "FP16 step at batch 1, over weight bytes / copy bandwidth": "not met",
        "INT8 step over FP16 step, same executor, batch 1": "not met",  # equal is not faster
        "FP16 as fast as this many eager torch FP16 steps, batch 1": "not met",
        "INT8 as fast as this many eager torch FP16 steps, batch 1": "not met",
        "FP16 step at batch 8 over batch 1": "not met",
        "host waits a step, chained": "not met",
        "device allocations a step, served": "met",
        "page-locked allocations a step, served": "met",
        "nano: greedy FP32 codes that are the CPU's": "not measured",
        "soak: bytes grown on the device in the second half": "not measured",
    }
    assert bars["host waits a step, chained"][0] == 1


def test_what_a_host_measures_meets_no_bar() -> None:
    found = sections()
    for name in ("a:fp16", "a:w8", "b:fp16", "b:w8a8"):
        found["gpt_step"][name]["result"]["device"] = "cpu"
    assert {v for _, v in by_bar(found).values()} == {"not measured"}
    assert by_bar({}) == by_bar(found)
    assert failures({"a": {"b": {"status": "failed", "reason": "room"}, "c": {"status": "done"}}}) == {
        "a/b": "failed: room"
    }


def spoken(codes: list[int], wave: float = 0.1) -> Result:
    return Result(np.full(8000, wave, np.float32), 16_000, (np.array(codes),), (), {"decode": 0.5})


def test_agreement_of_codes_counts_up_to_the_first_difference() -> None:
    alike = agreement(spoken([1, 2, 3]), spoken([1, 2, 3], 0.11))
    assert alike["identical"] and alike["wave_difference"] == pytest.approx(0.1, rel=1e-3)
    other = agreement(spoken([1, 2, 3, 4]), spoken([1, 9, 3]))
    assert other == {"codes": 4, "identical": False, "same_share": 0.25, "length_ratio": 0.75}
    assert not agreement(spoken([1, 2]), spoken([1, 2, 3]))["identical"]
    asked = requests(SMALL.dims, "anna", 1)
    assert [r.sampling.greedy for r in asked if r.sampling] == [True, False]
    found = summary(asked, [other, alike])
    assert (found["greedy"]["identical"], found["sampled"]["identical"]) == (0, 1)
    bundle = {"status": "done", "result": {"precision": "fp32", "agreement": found}}
    assert by_bar({"nano": {"a": bundle}})["nano: greedy FP32 codes that are the CPU's"] == (0, "not met")


class Speaker:
    dims, voices = SMALL.dims, {"anna": "anna.wav"}
    engines = SimpleNamespace(device=HOST)

    def __init__(self) -> None:
        self.spoken: list[str] = []

    def voice(self, name: str) -> str:
        return name

    def synthesize(self, request: Any) -> Result:
        self.spoken.append(request.text)
        return spoken([1, 2])


def test_a_soak_says_how_many_it_made_and_whether_memory_grew() -> None:
    settings, told = Settings(True, "", (), "", time.time() + 60), list[dict[str, Any]]()
    found = soak.soak(Speaker(), settings, told.append, {"bundle": "b"})
    assert (found["decodes"], found["codes"], found["bundle"]) == (20, 40, "b")
    assert [s["decodes"] for s in found["samples"]] == list(range(0, 21, 2)) and len(told) == 10
    late = soak.soak(Speaker(), Settings(True, "", (), "", time.time()), told.append, {})
    assert late["decodes"] == 0 and late["growth"]["device_bytes"]["halves"] == [0, 0]
    samples = [{"device_bytes": b, "resident_bytes": b // 10} for b in (0, 50 << 20, 52 << 20)]
    assert soak.growth(samples)["device_bytes"] == {"halves": [50 << 20, 2 << 20], "grows": True}
    assert not soak.growth(samples)["resident_bytes"]["grows"]


def test_a_bundle_that_does_not_open_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def opened(folder: Path, device: str) -> Any:
        assert device == "cuda"
        if folder.name == "a":
            raise EngineError("no")
        return _Closing()

    class _Closing(Speaker):
        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(soak, "open_synthesizer", opened)
    monkeypatch.setattr(soak, "candidates", lambda bundles: bundles)
    settings = Settings(True, "", (str(tmp_path / "a"), str(tmp_path / "b")), "", time.time() + 60)
    found = soak.run("nano", settings, lambda result: None)
    assert (found["bundle"], found["refused"]) == ("b", {"a": "no"})


def test_what_is_no_number_has_a_name() -> None:
    assert plain({1: [float("inf"), (1, float("nan"))], "a": 0.5}) == {"1": ["inf", [1, "nan"]], "a": 0.5}


def test_the_last_line_is_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "cuda.json"
    cuda_check.main(["--small", "--out", str(out), "--only", "versions", "--minutes", "1"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found == json.loads(out.read_bytes())
    assert (found["schema"], found["head"]["small"], found["not_done"]) == (1, True, {})
    versions = found["sections"]["versions"]["all"]["result"]
    assert versions["packages"]["numpy"] == np.__version__ and versions["doctor"]["cpu"]["cores"] >= 1
    assert {bar["verdict"] for bar in found["verdict"]} == {"not measured"}
