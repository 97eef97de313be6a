"""Writes requirements.lock: the exact versions `make setup` installs.

pip resolves the project with the extras below and reports what it would install; nothing is installed. One file
serves Python 3.11 and 3.12: run with one, then `--check` with the other, which resolves the file as it stands.

    python -m scripts.lock            # or: make lock
    python3.12 scripts/lock.py --check
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
EXTRAS = ("export", "quality", "mos", "serve", "sign", "train", "indextts2", "emotion-lm", "rtx", "dev")
PINNED = ("torch==2.13.0", "onnxruntime==1.31.1")  # what the figures and tolerances here were measured with
HEADER = f"""\
# Exact versions for Python 3.11 and 3.12 on Linux: tts-trt with the extras {", ".join(EXTRAS)}.
# Regenerate with `make lock`, after a change of the dependencies in pyproject.toml.
# torch: pip takes the CPU build where its configuration offers one (README, "Install"); any build of this version will do.
"""
# Only the CUDA build of torch asks for these; pip adds them where that build is installed. What our tests hold the CUDA
# runtime against is ours.
CUDA_ONLY = re.compile(r"^(nvidia-|cuda-(?!bindings$|pathfinder$)|triton$)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="resolve the file instead of writing it")
    if parser.parse_args().check:
        resolve("--requirement", str(LOCK))
        return
    found = resolve(f"{ROOT}[{','.join(EXTRAS)}]", *PINNED)
    LOCK.write_text(HEADER + "".join(f"{line}\n" for line in pins(found)))


def resolve(*requirements: str) -> list[dict[str, Any]]:
    """What pip would install for ``requirements`` into an empty environment, as its report lists it."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        subprocess.run([*pip, "--report", str(report), *requirements], check=True)
        installs: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    return installs


def pins(installs: list[dict[str, Any]]) -> list[str]:
    """``name==version`` in order of name, without this project and without a local version such as +cpu."""
    lines = []
    for item in installs:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        if name != "tts-trt" and not CUDA_ONLY.match(name):
            lines.append(f"{name}=={item['metadata']['version'].partition('+')[0]}")
    return sorted(lines)


if __name__ == "__main__":
    main()
