"""Everything that a CUDA host can tell, in one run, as one JSON document.

    python -m scripts.cuda_check --prepare FOLDER                    on any machine: graphs, and plans that need no GPU
    python -m scripts.cuda_check --folder FOLDER --out out/cuda.json --minutes 8          on the host

Every part runs in a process of its own with a share of the time that is left, and its entry is written as it ends. A second
run keeps what is done and tries the rest again. The last line on standard output is the document.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

from scripts.cuda.document import DONE, Document, Sections
from scripts.cuda.prepare import PLANS, SCHEMES, prepared
from scripts.cuda.runner import ROOT, Part, Runner, is_finished
from scripts.cuda.settings import EXECUTORS, Settings
from scripts.cuda.verdict import failures, steps, verdict
from tts_trt.artifacts import load_manifest
from tts_trt.doctor import read_gpus

MANY_CORES = 8
PREPARE_MINUTES = 60.0
TORCH = ("torch", "onnx", "onnxscript")


def prepare_parts() -> list[Part]:
    return [
        Part("prepare", graph, "scripts.cuda.prepare", weight=weight, packages=TORCH, beside=True)
        for graph, weight in zip(SCHEMES, (12, 2, 3, 6), strict=True)
    ]


def measuring_parts(bundles: list[Path]) -> list[Part]:
    """In the order in which they run: what others rest on first, what may take long last."""
    return [
        Part("versions", "all", "scripts.cuda.versions", cap=60),
        *(
            Part("probe", executor, "scripts.cuda.probe", cap=60, packages=(package, "torch"))
            for executor, package in EXECUTORS.items()
        ),
        _torch_part("probe", "device", "probe"),
        _torch_part("bandwidth", "copy", "bandwidth"),
        *_gpt_parts(),
        *_acoustic_parts(),
        *map(_nano_part, bundles),
        _torch_part("soak", "nano", "soak", weight=5, cap=120),
        *(_torch_step_part(f"torch-{mode}") for mode in ("compile", "compile-reduce-overhead")),
    ]


def _torch_part(section: str, name: str, module: str, weight: float = 1, cap: float = 60) -> Part:
    return Part(section, name, f"scripts.cuda.{module}", weight, cap, packages=("torch",), cuda=True)


def _nano_part(bundle: Path) -> Part:
    executor = load_manifest(bundle).executor.name
    packages = (EXECUTORS[executor], "torch")
    return Part("nano", bundle.name, "scripts.cuda.nano", 2, packages=packages, cuda=True, executor=executor)


def _torch_step_part(name: str) -> Part:
    return Part("gpt_step", name, "scripts.cuda.torch_step", 4, 120, packages=TORCH, after=("gpt",))


def _gpt_parts() -> list[Part]:
    parts = [_torch_step_part("torch")]
    for scheme, (executor, package) in product(SCHEMES["gpt"], EXECUTORS.items()):
        name, needs = f"{executor}:{scheme}", _needs(executor, package)
        parts.append(
            Part("gpt_step", name, "scripts.cuda.gpt_step", 4, 120, after=("gpt", "sampler"), **needs)
        )
    return parts


def _acoustic_parts() -> list[Part]:
    module, parts = "scripts.cuda.acoustic", list[Part]()
    for graph in ("flow_step", "vocoder"):
        parts.append(Part("flow_vocoder", f"torch:{graph}", module, 2, 60, packages=TORCH))
        for scheme, (executor, package) in product(SCHEMES[graph], EXECUTORS.items()):
            name, needs = f"{executor}:{graph}:{scheme}", _needs(executor, package)
            parts.append(Part("flow_vocoder", name, module, 2, 60, after=(graph,), **needs))
    return parts


def _needs(executor: str, package: str) -> dict[str, Any]:
    return {
        "packages": (package, *TORCH),
        "cuda": executor != "onnxruntime",  # which runs small sizes on a host
        "executor": executor,
    }


def found_bundles(given: list[Path] | None) -> list[Path]:
    if given:
        return given
    named = [ROOT.glob(f"engines/nano-*-{executor}") for executor in EXECUTORS]
    return sorted(path for paths in named for path in paths if (path / "manifest.json").is_file())


def main(argv: list[str] | None = None) -> None:
    args = options(argv)
    bundles = found_bundles(args.bundles)
    preparing = args.prepare is not None
    folder = args.prepare or args.folder or args.out.parent / "cuda-graphs"
    path = args.prepare / "prepare.json" if preparing else args.out
    settings = Settings(args.small, str(folder), tuple(str(b) for b in bundles), str(path))
    parts = prepare_parts()
    if preparing:
        parts.append(Part("prepare", PLANS, "scripts.cuda.prepare", weight=20))
    else:
        parts += measuring_parts(bundles)
    run(settings, chosen(parts, args.only), args, alone=preparing)


def chosen(parts: list[Part], only: list[str] | None) -> list[Part]:
    """Those of the sections or parts named, with what they need prepared."""
    if not only:
        return parts
    if unknown := set(only) - {p.section for p in parts} - {p.label for p in parts}:
        known = ", ".join(sorted({p.section for p in parts}))
        raise SystemExit(f"there is no section {', '.join(sorted(unknown))}, only {known}, or section/part")
    wanted = [p for p in parts if p.section in only or p.label in only]
    needed = {name for p in wanted for name in p.after}
    return [p for p in parts if p in wanted or (p.section == "prepare" and p.name in needed)]


def run(settings: Settings, parts: list[Part], args: argparse.Namespace, *, alone: bool) -> None:
    """``alone``: one part at a time, however many cores there are."""
    driver, gpus = read_gpus()
    head = {"small": settings.small, "gpu": gpus[0].name if gpus else None, "driver": driver}
    document = Document.resume(Path(settings.document), head)
    document.summary, began = summary, time.monotonic()
    document.more = {
        "command": " ".join(["python -m scripts.cuda_check", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "minutes": args.minutes,
        "cores": os.cpu_count(),
    }
    document.write()
    todo = [p for p in parts if args.again or not _have(p, settings, document)]
    todo = [p for p in todo if p.section != "prepare" or alone or any(p.name in q.after for q in todo)]
    cores = (os.cpu_count() or 1) >= MANY_CORES and not alone
    Runner(document, settings, 60 * args.minutes, cores, _tell).run(todo)
    document.more["seconds"] = round(time.monotonic() - began, 1)
    document.write()
    print(json.dumps(document.to_json()))


def summary(sections: Sections) -> dict[str, Any]:
    return {"verdict": verdict(sections), "steps": steps(sections), "not_done": failures(sections)}


def _have(part: Part, settings: Settings, document: Document) -> bool:
    """Whether an earlier run has done it. Prepared graphs are looked for: their folder may be gone, or another."""
    if part.section != "prepare" or part.name == PLANS:
        return is_finished(document.entry(part.section, part.name))
    record = prepared(settings, part.name)
    if record:
        document.put(
            part.section, part.name, {"status": DONE, "seconds": 0.0, "result": record | {"kept": True}}
        )
    return record is not None


def _tell(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("out/cuda.json"))
    parser.add_argument("--prepare", type=Path, metavar="FOLDER", help="only make graphs and plans there")
    parser.add_argument("--folder", type=Path, help="prepared graphs; made there where they are not")
    parser.add_argument("--bundles", type=Path, nargs="+", help="of nano; default: those under engines/")
    parser.add_argument("--only", nargs="+", metavar="SECTION", help="sections, or section/part")
    parser.add_argument("--minutes", type=float, help="for everything; default 8, or 60 to prepare")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the script itself")
    parser.add_argument("--again", action="store_true", help="measure anew what is done already")
    args = parser.parse_args(argv)
    args.minutes = args.minutes or (PREPARE_MINUTES if args.prepare else 8.0)
    return args


if __name__ == "__main__":
    main()
