"""What `tts-trt corpus stats` shows: how much is spoken, and how evenly it covers what can be asked of a voice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from tts_trt.frontend.opening import open_tokenizer
from tts_trt.models import ModelFolder
from tts_trt.quant.corpus import read_corpus, speech_seconds
from tts_trt.quant.corpus_config import default_corpus
from tts_trt.quant.coverage import coverage


def describe(path: Path | None, model: ModelFolder) -> dict[str, Any]:
    """Figures of the corpus as this model would speak it; nothing is synthesised."""
    path = path or default_corpus()
    corpus = read_corpus(path, model, model.dims())
    utterances = corpus.draw()
    covered = coverage(utterances)
    return {
        "corpus": str(path),
        "sha256": corpus.sha256(),
        "model": model.name,
        "utterances": len(utterances),
        "texts": len({utterance.text for utterance in utterances}),
        "seconds": round(speech_seconds(utterances, open_tokenizer(model.tokenizer)), 1),
        "mapped": [e for e in covered.axes["emotion"] if e not in corpus.acted],
        **covered.to_json(),
    }


def render(figures: dict[str, Any]) -> RenderableType:
    table = Table(title=f"{figures['corpus']} for {figures['model']}", title_justify="left")
    for column in ("axis", "level", "utterances", "share"):
        table.add_column(column, justify="left" if column in ("axis", "level") else "right")
    for axis, levels in figures["axes"].items():
        for index, (level, count) in enumerate(levels.items()):
            mapped = axis == "emotion" and level in figures["mapped"]
            table.add_row(
                "" if index else axis,
                f"{level} (as a neighbour)" if mapped else level,
                str(count),
                f"{count / figures['utterances']:.1%}",
                end_section=index == len(levels) - 1,
            )
    lines = (
        f"{figures['utterances']} utterances of {figures['texts']} texts, "
        f"about {figures['seconds']:.0f} s of speech",
        f"sparsest pair: {figures['sparsest']}",
        f"densest pair:  {figures['densest']}",
        f"sha256 {figures['sha256']}",
    )
    return Group(table, *lines)
