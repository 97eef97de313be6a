"""Derive the limits of quality control for a model from clean speech of its FP32 bundle.

python -m scripts.qc_thresholds --bundle engines/nano-fp32-onnxruntime --count 600 --out tts_trt/assets/nano/qc.json

To be run again whenever the weights change. The last line on standard output is the path of the file.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path

from scripts.compare_speech import progress
from scripts.qc_segments import speak
from tts_trt.artifacts import load_manifest
from tts_trt.errors import TtsTrtError
from tts_trt.quality.forced import Teacher
from tts_trt.quality.qc_thresholds import Source, Thresholds, derive
from tts_trt.report.lines import default_texts
from tts_trt.runtime.bundle import open_bundle


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="FP32, of the model that is to be checked")
    parser.add_argument("--count", type=int, default=200, help="segments")
    parser.add_argument("--texts", type=Path, default=default_texts())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="of each graph; 0 leaves it to the executor")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def run(args: argparse.Namespace) -> Thresholds:
    manifest = load_manifest(args.bundle)
    bundle = open_bundle(args.bundle, threads=args.threads)
    try:
        performances, made = [], 0
        for pair in speak(bundle, Teacher(bundle), args.texts, "thresholds", args.count, args.seed):
            performances.append([spoken.segment for spoken in pair])
            made += len(pair)
            progress(min(made, args.count), args.count)
    finally:
        bundle.engines.close()
    source = Source(
        model=manifest.model.name,
        bundle=args.bundle.name,
        weights_sha256=manifest.model.weights_sha256,
        date=datetime.datetime.now(datetime.UTC).date(),
    )
    return derive(performances, source)


def main() -> None:
    args = options()
    try:
        found = run(args)
    except TtsTrtError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    found.save(args.out)
    print(args.out)


if __name__ == "__main__":
    main()
