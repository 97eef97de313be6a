"""Thresholds are read strictly, and what fails is named."""

from __future__ import annotations

from pathlib import Path

import pytest

import tts_trt.report.gate
from tts_trt.errors import ConfigError, UsageError
from tts_trt.report.gate import GateFailed, check, enforce, read_gate
from tts_trt.report.schema import CandidateReport, VerdictRow


def row(metric: str, change: float, verdict: str | None) -> VerdictRow:
    return VerdictRow(
        metric=metric, sentences=9, missing=0, baseline=0.1, candidate=0.1 + change, change=change,
        low=None, high=None, wide_low=None, wide_high=None, verdict=verdict,
    )  # type: ignore[arg-type]  # fmt: skip


def candidate(name: str = "int8", again: bool = False) -> CandidateReport:
    rows = (row("wer", 0.05, "undecidable"), row("similarity", -0.04, "worse"), row("length", 0.9, "equal"))
    tally = {"equal": 1, "better": 0, "worse": 1, "undecidable": 1}
    return CandidateReport(
        name=name, again=again, answer="", verdicts=rows, tally=tally, positions={}, parts=(), same_codes=0, lines=9,
        absent={"mos": "no predictor"},
    )  # fmt: skip


def rules_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("[wer]\nworse_than = 0.06", True),
        ("[wer]\nworse_than = 0.03", False),
        ("[similarity]\nworse_than = 0.03", False),  # lower is worse
        ("[similarity]\nworse_than = 0.05", True),
        ("[length]\nworse_than = 0.05", False),  # either way
        ("[length]\nworse_than = 0.11", True),
        ("[verdicts]\nworse = 1", True),
        ("[verdicts]\nworse = 0", False),
        ("[wer]\nverdict = ['equal', 'better']", False),
        ("[length]\nverdict = ['equal', 'better']", True),
        ("[mos]\nworse_than = 1.0", False),  # what was not measured does not pass
    ],
)
def test_thresholds(tmp_path: Path, text: str, passes: bool) -> None:
    found = check(read_gate(rules_of(tmp_path, text)), (candidate(), candidate("again", again=True)))
    assert [one.passed for one in found] == [passes], "the baseline against itself is not judged"
    if passes:
        enforce(found)
        return
    with pytest.raises(GateFailed, match=r"1 of 1 thresholds failed:\n  int8: ") as error:
        enforce(found)
    assert error.value.exit_code == 1 and text.split("]")[0][1:] in str(error.value)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("[wre]\nworse_than = 1", UsageError, "no metric 'wre'"),
        ("[wer]\nworse = 1", ConfigError, "no threshold wer.worse"),
        ("[wer]\nworse_than = 'a'", ConfigError, "expected a finite number"),
        ("[wer]\nworse_than = inf", ConfigError, "expected a finite number"),
        ("[wer]\nverdict = ['good']", ConfigError, "expected some of equal"),
        ("[snr_db]\nverdict = ['equal']", ConfigError, "stated, not judged"),
        ("[verdicts]\nworse = -1", ConfigError, "expected a count"),
        ("[verdicts]\nworst = 1", ConfigError, "no threshold verdicts.worst"),
        ("wer = 1", ConfigError, "expected a table"),
        ("", ConfigError, "holds no threshold"),
        ("[wer", ConfigError, "cannot be read"),
    ],
)
def test_a_wrong_gate_is_refused(tmp_path: Path, text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        read_gate(rules_of(tmp_path, text))


def test_the_example_is_a_gate() -> None:
    rules = read_gate(Path(tts_trt.report.gate.__file__).with_name("gate.toml"))
    assert {"verdicts", "wer"} <= {rule.metric for rule in rules}
