"""What the figures say: ratios of one run, and each bar as met, not met or not measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts.cuda.document import Entry, Sections, result_of
from scripts.cuda.settings import GROWTH_BYTES

INT8 = ("w8a8", "w8")
NEAR_CEILING, FASTER_THAN_TORCH, BATCH_COST = 1.6, 5.0, 1.3
WIDE = 8
MS = ("step_ms", "gpt_ms", "served_ms")

Step = dict[str, Any]


def steps(sections: Sections) -> list[Step]:
    """Every measured decode step, flat, with its ratios: to the time in which the GPU copies as many bytes as a step has to
    read, and to eager torch at the same batch. Those on a host are not compared with a GPU's bandwidth."""
    bandwidth = result_of(sections, "bandwidth", "copy").get("copy_bytes_a_second")
    found = [*_engine_steps(sections), *_torch_steps(sections)]
    for step in found:
        on_gpu = step["device"] != "cpu"
        if bandwidth and on_gpu and "weights_bytes" in step:
            least = 1e3 * step["weights_bytes"] / bandwidth
            all_of_it = 1e3 * (step["weights_bytes"] + step["cache_bytes"]) / bandwidth
            step |= {"weights_ms": least, "weights_and_cache_ms": all_of_it}
            step |= {"over_weights": step["step_ms"] / least, "over_all": step["step_ms"] / all_of_it}
    for step in found:
        rivals = [s for s in found if s["batch"] == step["batch"] and (s["device"] == "cpu") == (step["device"] == "cpu")]  # fmt: skip
        if eager := [s["step_ms"] for s in rivals if s["form"] in ("eager", "static")]:
            step["over_eager"] = min(eager) / step["step_ms"]
    return found


def _engine_steps(sections: Sections) -> Iterator[Step]:
    for part in sections.get("gpt_step", {}):
        result = result_of(sections, "gpt_step", part)
        for case in result.get("cases", []):
            if "scheme" not in result or "step_ms" not in case:
                continue
            yield {
                "part": part,
                "form": result["scheme"],
                "executor": result["executor"],
                "device": result.get("device", "cpu"),
                "batch": case["batch"],
                "graphs": case["graphs"],
                **{name: case[name]["median"] for name in MS},
                "weights_bytes": result["weights_bytes"],
                "cache_bytes": case["cache_bytes"],
                "memory_bytes": result.get("opened_bytes", 0) + case["more_bytes"],
                "counted": {kind: case[kind]["counted"] for kind in ("step", "served")},
                "steps": case["step"]["steps"],
            }


def _torch_steps(sections: Sections) -> Iterator[Step]:
    for part in sections.get("gpt_step", {}):
        result = result_of(sections, "gpt_step", part)
        for case in result.get("cases", []):
            if "form" in case and "step_ms" in case:
                yield {
                    "part": part,
                    "form": case["form"],
                    "device": "cpu" if result["device"] == "cpu" else "cuda",
                    "batch": case["batch"],
                    "step_ms": case["step_ms"]["median"],
                }


def verdict(sections: Sections) -> list[dict[str, Any]]:
    found = [s for s in steps(sections) if s["device"] != "cpu"]
    half, int8 = best(found, ("fp16",), 1), best(found, INT8, 1)
    return [
        _bar(
            "FP16 step at batch 1, over weight bytes / copy bandwidth",
            _of(half, "over_weights"),
            NEAR_CEILING,
            half,
        ),
        _bar("INT8 step over FP16 step, same executor, batch 1", *_int8_over_half(found), below=True),
        _bar(
            "FP16 as fast as this many eager torch FP16 steps, batch 1",
            _of(half, "over_eager"),
            FASTER_THAN_TORCH,
            half,
            least=True,
        ),
        _bar(
            "INT8 as fast as this many eager torch FP16 steps, batch 1",
            _of(int8, "over_eager"),
            FASTER_THAN_TORCH,
            int8,
            least=True,
        ),
        _bar(f"FP16 step at batch {WIDE} over batch 1", *_wide_over_one(found, half)),
        _bar("host waits a step, chained", _each(half, "step", "waits"), 0, half),
        _bar("device allocations a step, served", _each(half, "served", "allocations"), 0, half),
        _bar("page-locked allocations a step, served", _each(half, "served", "page_locked_allocations"), 0, half),
        _bar("nano: greedy FP32 codes that are the CPU's", *_same_codes(sections), least=True),
        _bar("soak: bytes grown on the device in the second half", *_grown(sections)),
    ]  # fmt: skip


def best(found: list[Step], forms: tuple[str, ...], batch: int, executor: str | None = None) -> Step | None:
    """The fastest of our own steps of these forms."""
    mine = [
        s
        for s in found
        if s["form"] in forms and s["batch"] == batch and s.get("executor") in ({executor} if executor else {s.get("executor")}) and "executor" in s
    ]  # fmt: skip
    return min(mine, key=lambda s: s["step_ms"], default=None)


def _bar(
    text: str,
    measured: float | None,
    limit: float,
    step: Step | None,
    *,
    least: bool = False,
    below: bool = False,
) -> dict[str, Any]:
    """``least``: the measured value must be the limit or more; ``below``: under it; otherwise the limit or less."""
    asked = "at least" if least else "below" if below else "at most"
    met: bool | None = None
    if measured is not None:
        met = measured >= limit if least else measured < limit if below else measured <= limit
    made: dict[str, Any] = {
        "bar": text,
        "asked": f"{asked} {limit:g}",
        "measured": measured,
        "verdict": {True: "met", False: "not met", None: "not measured"}[met],
    }
    if step is not None:
        made["from"] = {key: step[key] for key in ("part", "batch", "graphs", *MS) if key in step}
    return made


def _int8_over_half(found: list[Step]) -> tuple[float | None, float, Step | None]:
    pairs = []
    for executor in {s["executor"] for s in found if "executor" in s}:
        half, int8 = best(found, ("fp16",), 1, executor), best(found, INT8, 1, executor)
        if half and int8:
            pairs.append((int8["step_ms"] / half["step_ms"], int8))
    ratio, step = min(pairs, key=lambda pair: pair[0], default=(None, None))
    return ratio, 1.0, step


def _wide_over_one(found: list[Step], half: Step | None) -> tuple[float | None, float, Step | None]:
    wide = best(found, ("fp16",), WIDE, half["executor"]) if half else None
    return (wide["step_ms"] / half["step_ms"] if wide and half else None), BATCH_COST, wide


def _of(step: Step | None, name: str) -> float | None:
    return step.get(name) if step else None


def _each(step: Step | None, kind: str, name: str) -> float | None:
    """Of a counter, over the measured steps."""
    counted = step["counted"][kind] if step else None
    return None if counted is None or step is None else counted[name] / step["steps"]


def _same_codes(sections: Sections) -> tuple[float | None, float, None]:
    """The least share of greedy requests over the FP32 bundles."""
    shares = []
    for part in sections.get("nano", {}):
        result = result_of(sections, "nano", part)
        if result.get("precision") == "fp32" and "agreement" in result:
            greedy = result["agreement"]["greedy"]
            shares.append(greedy["identical"] / greedy["of"])
    return min(shares, default=None), 1.0, None


def _grown(sections: Sections) -> tuple[float | None, float, None]:
    growth = result_of(sections, "soak", "nano").get("growth")
    return (float(growth["device_bytes"]["halves"][1]) if growth else None), GROWTH_BYTES, None


def failures(sections: Sections) -> dict[str, str]:
    """Part -> reason, of everything that is not done."""
    return {
        f"{section}/{name}": _reason(entry)
        for section, parts in sections.items()
        for name, entry in parts.items()
        if entry["status"] != "done"
    }


def _reason(entry: Entry) -> str:
    return f"{entry['status']}: {entry.get('reason', '')}"
