"""The table of measured builds in docs/indextts2.md, made from the newest result of scripts/official_build.py.

python -m scripts.official_table            # to stdout
python -m scripts.official_table --write    # into the page, between its two markers
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "indextts2.md"
START, END = "<!-- builds: python -m scripts.official_table --write -->", "<!-- end of builds -->"
PATTERN = "*-official-build.json"
GIB = 1 << 30


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"rewrite {PAGE.name}")
    if parser.parse_args().write:
        PAGE.write_text(replaced(PAGE.read_text(), table(newest())))
    else:
        print(table(newest()))


def newest() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sorted((ROOT / "benchmarks").glob(PATTERN))[-1].read_bytes())
    return found


def table(report: dict[str, Any]) -> str:
    """One row a graph: ONNX sizes and errors, plan sizes, the largest peak of its steps and their times."""
    lines = [
        "| graph | ONNX FP32, FP16, INT8 (MB) | error of FP32, FP16, INT8 | plan FP16, INT8 (MB) | peak memory (GiB) | "
        "CPU time of export, INT8, plans (s) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    total = [0] * 5
    for name, steps in report["graphs"].items():
        export, int8 = steps["export"], steps["int8"]
        sizes = [*(export.get("bytes", {}).get(p) for p in ("fp32", "fp16")), int8.get("bytes") or None]
        errors = [
            *(export.get("relative_error", {}).get(p) for p in ("fp32", "fp16")),
            int8.get("relative_error", {}).get("int8"),
        ]
        plans = [steps[f"plan-{p}"].get("bytes") or None for p in ("fp16", "int8")]
        for place, size in enumerate([*sizes, *plans]):
            total[place] += size or 0
        peak = max((s["peak_rss"] for s in steps.values() if s.get("done")), default=None)
        seconds = [steps[s].get("cpu_seconds") for s in ("export", "int8", "plan-fp16", "plan-int8")]
        cells = [
            f"`{name}`",
            _row(sizes, _megabytes),
            _row(errors, lambda e: f"{e:.0e}" if e else "0"),
            _row(plans, _megabytes),
            "-" if peak is None else f"{peak / GIB:.1f}",
            _row(seconds, lambda s: f"{s:.0f}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(
        f"| together | {_row(total[:3], _megabytes)} |  | {_row(total[3:], _megabytes)} | {report['peak_rss_gib']:.1f} |  |"
    )
    machine, versions = report["machine"], report["versions"]
    lines += [
        "",
        f"{report['steps_done']} of {report['steps']} steps done, {report['date']}, {machine['cores']} cores, "
        f"{machine['memory_bytes'] / GIB:.0f} GiB, {machine['threads']} thread, "
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + f"; largest peak {report['peak_rss_gib']} GiB. A dash: no such step for this graph, or not done yet.",
    ]
    return "\n".join(lines)


def _row(values: list[Any], shown: Any) -> str:
    return ", ".join("-" if value is None else shown(value) for value in values)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f}" if count >= 10_000_000 else f"{count / 1e6:.1f}"


def replaced(page: str, text: str) -> str:
    before, _, rest = page.partition(START)
    return f"{before}{START}\n\n{text}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    main()
