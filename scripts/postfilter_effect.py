"""Does the post-filter help a quantised bundle? Its renderings of FP32's own codes and noise, as they are and filtered,
each compared with FP32's.

python -m scripts.postfilter_effect --baseline engines/nano-fp32-onnxruntime --candidate engines/nano-int8-onnxruntime

Helps means: nearer to FP32 in log-spectral distance, surely (95 % interval of paired differences), and no less
intelligible. The last line on standard output is the path of the JSON.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from scripts.compare_speech import progress, write_json
from tts_trt.dims import AudioDims
from tts_trt.errors import TtsTrtError
from tts_trt.frontend.features import log_mel
from tts_trt.quality.distance import log_spectral_distance_db, mel_distance_db
from tts_trt.quality.forced import Teacher
from tts_trt.quality.postfilter import FloatArray, PostFilter
from tts_trt.quality.qc_signal import Signal, SpeechSegment
from tts_trt.quality.qc_sound import grain, hiss
from tts_trt.quality.statistics import paired_difference
from tts_trt.report.lines import default_texts, lines_of, read_texts
from tts_trt.runtime.bundle import open_bundle

BETTER = {"lsd_db": -1, "mel_l1_db": -1, "grain_db": 0, "hiss_db": 0, "stoi": 1}
"""1 where more is better, -1 where less is, 0 for a difference from FP32 whose sign says what was added or taken."""


def distances(reference_S: FloatArray, wave_S: FloatArray, audio: AudioDims) -> dict[str, float]:
    """Of a rendering from the reference, which is as long."""
    from pystoi import stoi

    rate = audio.sample_rate
    found: dict[str, float] = {
        "lsd_db": log_spectral_distance_db(reference_S, wave_S, rate),
        "mel_l1_db": mel_distance_db(log_mel(reference_S, audio), log_mel(wave_S, audio), audio),
        "stoi": float(stoi(reference_S, wave_S, rate)),
    }
    signals = [(Signal(w, rate), SpeechSegment(w, rate, "")) for w in (reference_S, wave_S)]
    for name, measured in (("grain_db", grain), ("hiss_db", hiss)):
        values = [measured(signal, segment) for signal, segment in signals]
        found[name] = values[1].value - values[0].value if values[0] and values[1] else 0.0
    return found


def effect(plain: Sequence[Mapping[str, float]], filtered: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Means without and with the filter, the interval of the difference, and what follows from them."""
    ones = [1.0] * len(plain)
    found: dict[str, Any] = {}
    for name in BETTER:
        without, with_filter = ([one[name] for one in row] for row in (plain, filtered))
        found[name] = {
            "without": float(np.mean(without)),
            "with": float(np.mean(with_filter)),
            "difference": asdict(paired_difference(without, with_filter, ones)),
        }
    found["helps"] = found["lsd_db"]["difference"]["high"] < 0 and found["stoi"]["difference"]["high"] >= 0
    return found


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--baseline", type=Path, required=True)
    parser.add_argument("--candidate", type=Path, required=True)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--texts", type=Path, default=default_texts())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reduction-db", type=float, default=PostFilter.reduction_db)
    parser.add_argument("--audible-db", type=float, default=PostFilter.audible_db)
    parser.add_argument("--smoothing", type=float, default=PostFilter.smoothing)
    parser.add_argument("--threads", type=int, default=0, help="of each graph; 0 leaves it to the executor")
    parser.add_argument("--out", type=Path, default=Path("out/postfilter.json"))
    return parser.parse_args()


def run(args: argparse.Namespace) -> dict[str, Any]:
    chosen = PostFilter(reduction_db=args.reduction_db, audible_db=args.audible_db, smoothing=args.smoothing)
    bundles = []
    try:
        for path in (args.baseline, args.candidate):
            bundles.append(open_bundle(path, threads=args.threads))
        teachers = [Teacher(bundle) for bundle in bundles]
        dims, voices = bundles[0].dims, list(bundles[0].voices)
        plain, filtered = [], []
        for line in lines_of(read_texts(args.texts), voices, dims.acted, args.count, args.seed):
            request = line.request(dims)
            reference = teachers[0].free(request)
            wave = teachers[1].force(request, reference.codes_M).wave_S
            plain.append(distances(reference.wave_S, wave, dims.audio))
            filtered.append(distances(reference.wave_S, chosen(wave, dims.audio.sample_rate), dims.audio))
            progress(len(plain), args.count)
    finally:
        for bundle in bundles:
            bundle.engines.close()
    names = {"baseline": args.baseline.name, "candidate": args.candidate.name, "sentences": len(plain)}
    return {**names, "filter": asdict(chosen), **effect(plain, filtered)}


def main() -> None:
    args = options()
    try:
        found = run(args)
    except TtsTrtError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    write_json(args.out, found)
    for name in BETTER:
        one = found[name]
        print(
            f"{name:10} {one['without']:8.3f} -> {one['with']:8.3f} "
            f"({one['difference']['low']:+.3f} to {one['difference']['high']:+.3f})"
        )
    print("helps" if found["helps"] else "does not help")
    print(args.out)


if __name__ == "__main__":
    main()
