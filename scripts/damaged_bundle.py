"""A bundle with one graph damaged on purpose, to see whether a report notices: its weights rounded to a few bits.

python -m scripts.damaged_bundle --bundle engines/nano-fp32-onnxruntime --graph vocoder --bits 6 --out out/nano-6bit-vocoder

Every weight tensor of two or more axes is rounded to 2^bits - 1 steps, symmetric, one scale a tensor: worse than any recipe here would
do. The damaged bundle is sealed like any other, so everything that opens bundles opens it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from tts_trt.artifacts import BundleWriter, load_manifest, sha256_file, verify_files


def rounded(weights: np.ndarray, bits: int) -> np.ndarray:
    """To the nearest of 2^bits - 1 steps between minus and plus the largest magnitude; zeros stay as they are."""
    steps = 2 ** (bits - 1) - 1
    scale = np.abs(weights).max() / steps
    return weights if scale == 0 else (np.round(weights / scale) * scale).astype(weights.dtype)


def damage(model: onnx.ModelProto, bits: int) -> int:
    """Round the weights in place -> how many tensors were."""
    count = 0
    for tensor in model.graph.initializer:
        if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16) and len(tensor.dims) >= 2:
            tensor.CopyFrom(
                numpy_helper.from_array(rounded(numpy_helper.to_array(tensor), bits), tensor.name)
            )
            count += 1
    return count


def write(source: Path, graph: str, bits: int, target: Path) -> int:
    manifest = load_manifest(source)
    verify_files(source, manifest)
    entry = manifest.graph(graph)
    if not entry.file.endswith(".onnx"):
        raise SystemExit(f"{source} holds a plan of {graph}, expected a bundle of onnxruntime")
    model = onnx.load(source / entry.file)
    count = damage(model, bits)
    with BundleWriter(target) as writer:
        for name in manifest.files:
            if not name.startswith(entry.file):
                writer.add(name, source / name)
        onnx.save(model, writer.path(entry.file))
        fields = manifest.model_dump(exclude={"created", "files", "verification", "graphs", "precision"})
        changed = entry.model_copy(update={"onnx_sha256": sha256_file(writer.path(entry.file))})
        graphs = [changed if g.name == graph else g for g in manifest.graphs]
        writer.seal(
            **fields,
            graphs=[g.model_dump() for g in graphs],
            precision=f"{manifest.precision}-{graph}-{bits}bit",
            verification={"damaged_on_purpose": f"{count} weight tensors of {graph} rounded to {bits} bits"},
        )
    return count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--graph", default="vocoder")
    parser.add_argument("--bits", type=int, choices=range(2, 9), default=6)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    sys.stderr.write(
        f"{write(args.bundle, args.graph, args.bits, args.out)} tensors of {args.graph} rounded\n"
    )
    print(args.out)


if __name__ == "__main__":
    main()
