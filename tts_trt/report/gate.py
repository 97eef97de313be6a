"""Thresholds from a TOML file: does a candidate pass?

[verdicts]
worse = 0              # at most so many metrics worse
undecidable = 10

[wer]
worse_than = 0.03      # the change may go at most so far in the direction that is worse
[failed]
verdict = ["equal", "better"]
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tts_trt.errors import ConfigError, TtsTrtError
from tts_trt.report.metrics import METRICS, known
from tts_trt.report.schema import CandidateReport, GateRow
from tts_trt.report.verdict import worsening

WORDS = ("equal", "better", "worse", "undecidable")
VERDICTS = "verdicts"


class GateFailed(TtsTrtError):
    """A candidate does not keep what the gate asks for."""


@dataclass(frozen=True)
class Rule:
    metric: str  # or ``verdicts``
    key: str  # worse_than, verdict, or a verdict that is counted
    limit: Any

    @property
    def words(self) -> str:
        return f"{self.metric}.{self.key} = {self.limit}"


def read_gate(path: Path) -> list[Rule]:
    """ConfigError for a file that cannot be read or asks for nothing, UsageError for an unknown metric."""
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint=_EXAMPLE) from error
    rules = [rule for name, table in tables.items() for rule in _rules(path, name, table)]
    if not rules:
        raise ConfigError(f"{path} holds no threshold, expected at least one", hint=_EXAMPLE)
    return rules


_EXAMPLE = "[wer]\nworse_than = 0.03"


def _rules(path: Path, name: str, table: Any) -> Iterator[Rule]:
    if name != VERDICTS:
        known(name)
    if not isinstance(table, Mapping):
        raise ConfigError(
            f"{path}: {name} is {table!r}, expected a table", hint=f"[{name}]\nworse_than = 0.03"
        )
    for key, limit in table.items():
        if name == VERDICTS and key in WORDS:
            if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
                raise ConfigError(f"{path}: {name}.{key} is {limit!r}, expected a count of 0 or more")
        elif name != VERDICTS and key == "worse_than":
            if not isinstance(limit, int | float) or isinstance(limit, bool) or not math.isfinite(limit):
                raise ConfigError(f"{path}: {name}.{key} is {limit!r}, expected a finite number")
        elif name != VERDICTS and key == "verdict":
            if not isinstance(limit, list) or not limit or not set(limit) <= set(WORDS):
                raise ConfigError(f"{path}: {name}.{key} is {limit!r}, expected some of {', '.join(WORDS)}")
            if METRICS[name].margin is None:
                raise ConfigError(
                    f"{path}: {name} is stated, not judged: it has no verdict", hint="worse_than"
                )
        else:
            expected = ", ".join(WORDS) if name == VERDICTS else "worse_than, verdict"
            raise ConfigError(f"{path}: no threshold {name}.{key}, expected {expected}")
        yield Rule(name, key, limit)


def check(rules: list[Rule], candidates: tuple[CandidateReport, ...]) -> tuple[GateRow, ...]:
    """Every rule on every candidate; the baseline against itself is no candidate. What was not measured does not pass."""
    return tuple(_row(rule, one) for one in candidates if not one.again for rule in rules)


def _row(rule: Rule, candidate: CandidateReport) -> GateRow:
    found = next((r for r in candidate.verdicts if r.metric == rule.metric), None)
    if rule.metric == VERDICTS:
        count = candidate.tally[rule.key]
        state, passed = str(count), count <= rule.limit
    elif found is None:
        state, passed = "not measured: " + candidate.absent.get(rule.metric, "unknown"), False
    elif rule.key == "verdict":
        state, passed = str(found.verdict), found.verdict in rule.limit
    else:
        by = worsening(found.change, METRICS[rule.metric])
        state, passed = f"worse by {by:.4g}", by <= rule.limit
    return GateRow(candidate=candidate.name, rule=rule.words, found=state, passed=passed)


def enforce(rows: tuple[GateRow, ...]) -> None:
    """GateFailed, which names every row that failed."""
    if failed := [row for row in rows if not row.passed]:
        raise GateFailed(
            f"{len(failed)} of {len(rows)} thresholds failed:\n"
            + "\n".join(f"  {row.candidate}: {row.rule}, found {row.found}" for row in failed)
        )
