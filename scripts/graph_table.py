"""The table of graphs in docs/architecture.md, made from tts_trt/spec.py.

python -m scripts.graph_table            # to stdout
python -m scripts.graph_table --write    # into the page, between its two markers
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from pathlib import Path

from tts_trt.dims import ModelDims
from tts_trt.spec import GraphSpec, TensorSpec, graph_specs

PAGE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"
START, END = "<!-- graphs: python -m scripts.graph_table --write -->", "<!-- end of graphs -->"
CACHE = re.compile(r"^([kv])_\d+(_out)?$")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"rewrite {PAGE.name}")
    if parser.parse_args().write:
        PAGE.write_text(replaced(PAGE.read_text(), table()))
    else:
        print(table())


def table() -> str:
    """One row a graph, with the shapes of the official model at default limits."""
    lines = ["| graph | inputs | outputs | profiles | what it does |", "| --- | --- | --- | --- | --- |"]
    for spec in graph_specs(ModelDims()).values():
        cells = (f"`{spec.name}`", tensors(spec.inputs), tensors(spec.outputs), profiles(spec), spec.doc)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def tensors(specs: Iterable[TensorSpec]) -> str:
    """The caches of all layers, alike but for their number, become one entry."""
    entries: dict[str, None] = {}
    for spec in specs:
        name = CACHE.sub(r"\1_i\2", spec.name)
        entries[f"`{name}` {spec.dtype} ({','.join(map(str, spec.shape))})"] = None
    return "<br>".join(entries)


def profiles(spec: GraphSpec) -> str:
    return "<br>".join(
        ", ".join(f"{axis} {low}..{best}..{high}" for axis, (low, best, high) in profile.items())
        for profile in spec.profiles
    )


def replaced(page: str, text: str) -> str:
    before, _, rest = page.partition(START)
    return f"{before}{START}\n\n{text}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    main()
