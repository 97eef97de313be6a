"""TensorRT 10's calibration cache: a text file that its calibrator reads and writes, and a sidecar that binds it.

    TRT-101601-EntropyCalibration2      TensorRT 10.16.1, IInt8EntropyCalibrator2
    gpt.h.0/ln_1: 3c010204              tensor: 1/127, its scale (threshold / 127) as a big-endian float32

TensorRT itself ignores a cache of another version or algorithm without a word and calibrates again, and uses one of
another network as far as the names agree. Hence the strict reader, and ``<cache>.json`` beside each cache.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tts_trt.atomic import write_atomic
from tts_trt.errors import ConfigError, QuantError
from tts_trt.manifest import Name, Sha256
from tts_trt.quant.binding import CALIBRATE, Binding, Record, parse_record, read_bytes
from tts_trt.quant.scales import SMALLEST_SCALE, ScaleTable

VERSION = "101601"
ALGORITHM = "EntropyCalibration2"

_HEADER = re.compile(r"TRT-(\d+)-(\w+)")
_SCALE = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True)
class CalibrationCache:
    scales: Mapping[str, np.float32]
    """In the order of the file; finite, not negative. Zero means that TensorRT saw zeros only."""
    version: str = VERSION
    algorithm: str = ALGORITHM


def read_cache(data: bytes, version: str = VERSION, algorithm: str = ALGORITHM) -> CalibrationCache:
    """ConfigError for text that is cut short, of another version or algorithm, or not a calibration cache."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"not a calibration cache: {error}", hint=CALIBRATE) from error
    header, *lines = text.split("\n")
    found = _HEADER.fullmatch(header)
    if not found:
        raise ConfigError(f"not a calibration cache: it begins with {header[:60]!r}", hint=CALIBRATE)
    if found.groups() != (version, algorithm):
        raise ConfigError(f"found {header}, expected TRT-{version}-{algorithm}", hint=CALIBRATE)
    if not lines or lines.pop():
        raise ConfigError("the calibration cache is cut short: its last line has no end", hint=CALIBRATE)
    scales: dict[str, np.float32] = {}
    for number, line in enumerate(lines, start=2):
        name, scale = _parse_line(line, number)
        if name in scales:
            raise ConfigError(f"line {number} of the calibration cache names {name!r} again", hint=CALIBRATE)
        scales[name] = scale
    return CalibrationCache(scales, version, algorithm)


def _parse_line(line: str, number: int) -> tuple[str, np.float32]:
    name, separator, digits = line.rpartition(": ")
    where = f"line {number} of the calibration cache"
    if not separator or not name or not _SCALE.fullmatch(digits):
        raise ConfigError(f"{where} is {line[:60]!r}, expected 'tensor: 8 hex digits'", hint=CALIBRATE)
    scale = np.float32(struct.unpack(">f", bytes.fromhex(digits))[0])
    if not np.isfinite(scale) or np.signbit(scale):
        raise ConfigError(
            f"{where} has the scale {scale} for {name!r}, expected a finite one", hint=CALIBRATE
        )
    return name, scale


def write_cache(cache: CalibrationCache) -> bytes:
    """``read_cache`` gives the same back. QuantError for a name or a scale that the format cannot hold."""
    lines = [f"TRT-{cache.version}-{cache.algorithm}\n".encode()]
    for name, scale in cache.scales.items():
        if not np.isfinite(scale) or np.signbit(scale):
            raise QuantError(f"the scale of tensor {name!r} is {scale}, expected a finite one, not negative")
        try:
            encoded = name.encode()
        except UnicodeEncodeError:
            encoded = b""
        if not encoded or b"\n" in encoded:
            raise QuantError(f"a calibration cache cannot hold the tensor name {name!r}")
        lines.append(b"%s: %s\n" % (encoded, struct.pack(">f", scale).hex().encode()))
    return b"".join(lines)


def cache_from_table(table: ScaleTable, graph: str, methods: Mapping[str, str]) -> CalibrationCache:
    """The scales of ``methods`` (tensor -> calibration method). QuantError for what the table lacks."""
    return CalibrationCache({tensor: table.scale(graph, tensor, how) for tensor, how in methods.items()})


def scales_from_cache(cache: CalibrationCache) -> dict[str, np.float32]:
    """Tensor -> scale, as ``ScaleTable.scale`` gives it: bit for bit those of the cache, but never zero."""
    return {name: scale if scale > 0 else SMALLEST_SCALE for name, scale in cache.scales.items()}


class _Sidecar(Record):
    format: Literal["tts-trt calibration cache 1"] = "tts-trt calibration cache 1"
    cache: Sha256
    graph: Name
    binding: Binding


def sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def save_cache(path: Path, data: bytes, graph: str, binding: Binding) -> None:
    """The cache as it is, from ``write_cache`` or from TensorRT, then its sidecar. QuantError if the graph is not in
    the binding."""
    record = _Sidecar(cache=hashlib.sha256(data).hexdigest(), graph=graph, binding=binding.only(graph))
    # a kill in between leaves a cache without a sidecar, which counts as none, never a pair that does not fit
    sidecar(path).unlink(missing_ok=True)
    write_atomic(path, [data])
    write_atomic(sidecar(path), [record.to_bytes()])


def stored_cache(path: Path, graph: str, present: Binding) -> bytes | None:
    """As ``load_cache``; None where there is no cache, or one without its sidecar."""
    return load_cache(path, graph, present) if path.is_file() and sidecar(path).is_file() else None


def load_cache(path: Path, graph: str, present: Binding) -> bytes:
    """The bytes of a cache, for TensorRT or ``read_cache``. ConfigError when it or its sidecar cannot be read;
    QuantError when it was changed, or made for another model, graph or corpus than the present one."""
    data = read_bytes(path)
    record = parse_record(_Sidecar, read_bytes(sidecar(path)), sidecar(path))
    if hashlib.sha256(data).hexdigest() != record.cache:
        raise QuantError(f"{path} is not the cache that {sidecar(path).name} describes", hint=CALIBRATE)
    if record.graph != graph:
        raise QuantError(f"{path} is a cache of graph {record.graph}, expected {graph}", hint=CALIBRATE)
    record.binding.check(present.only(graph), str(path))
    return data
