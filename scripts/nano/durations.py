"""Write durations.json: the mean seconds of each symbol at rate 1, measured on rendered shards of all voices.

A segment's seconds, times its utterance's rate, count for the symbol it belongs to; a symbol that no segment
fell on (a boundary without a pause) counts as zero. ``python -m scripts.nano.durations build/nano/corpus``
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from scripts.nano.lexicon import ASSETS
from tts_trt.frontend.tokenizer import LEAD, PhoneTokenizer


def symbol_means(rows: Iterable[dict], symbols: tuple[str, ...]) -> dict[str, float]:
    """Mean seconds at rate 1 of each symbol of the corpus rows, and of the silence before the first phone."""
    seconds: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[LEAD] += 1
        for symbol in row["ids"]:
            counts[symbols[symbol]] += 1
        start = 0.0
        for (_, end), index in zip(row["phones"], row["phone_index"], strict=True):
            seconds[LEAD if index < 0 else symbols[row["ids"][index]]] += (end - start) * row["rate"]
            start = end
    return {symbol: round(seconds[symbol] / count, 4) for symbol, count in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the mean duration of each symbol.")
    parser.add_argument("corpus", type=Path)
    corpus: Path = parser.parse_args().corpus
    symbols = PhoneTokenizer.from_dir(ASSETS).symbols
    lines = (line for path in sorted(corpus.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines())
    means = symbol_means(map(json.loads, lines), symbols)
    order = [symbol for symbol in (*symbols, LEAD) if symbol in means]
    table = ",\n".join(f"{json.dumps(symbol)}: {means[symbol]}" for symbol in order)
    (ASSETS / "durations.json").write_text("{\n" + table + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
