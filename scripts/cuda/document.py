"""The JSON document: written whole after every part, and read again by the next run.

sections: section -> part -> entry
entry     status   done, skipped (something is lacking here) or failed
          seconds  it took; share: seconds it had; beside: what ran at the same time
          result   what it found; of a failed part as far as it came
          reason   why there is no result, or not all of it; kind: refused, error, exit, signal or time
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tts_trt.atomic import write_atomic

SCHEMA = 1
DONE, SKIPPED, FAILED = "done", "skipped", "failed"

Entry = dict[str, Any]
Sections = Mapping[str, Mapping[str, Entry]]


@dataclass
class Document:
    """``head``: what must be alike for earlier results to count; a document with another head is begun anew."""

    path: Path
    head: dict[str, Any]
    sections: dict[str, dict[str, Entry]] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)  # this run's command, date and so on
    summary: Callable[[Sections], dict[str, Any]] = lambda sections: {}  # of what there is so far

    @classmethod
    def resume(cls, path: Path, head: dict[str, Any]) -> Self:
        found = read_document(path)
        kept = found.get("sections", {}) if found.get("head") == head else {}
        return cls(path, head, {section: dict(parts) for section, parts in kept.items()})

    def entry(self, section: str, part: str) -> Entry | None:
        return self.sections.get(section, {}).get(part)

    def put(self, section: str, part: str, entry: Entry) -> None:
        self.sections.setdefault(section, {})[part] = entry
        self.write()

    def to_json(self) -> dict[str, Any]:
        found = {"schema": SCHEMA, "head": self.head, **self.more, **self.summary(self.sections)}
        return found | {"sections": self.sections}

    def write(self) -> None:
        write_atomic(self.path, [json.dumps(self.to_json(), indent=1).encode() + b"\n"])


def read_document(path: Path) -> dict[str, Any]:
    """Empty where there is none, or one of another schema, or one that is not JSON."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("schema") == SCHEMA else {}


def result_of(sections: Sections, section: str, part: str) -> dict[str, Any]:
    """What a part has found, however it ended; empty where there is nothing."""
    entry = sections.get(section, {}).get(part, {})
    return entry.get("result") or {}
