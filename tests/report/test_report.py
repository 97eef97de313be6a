"""From bundles to verdicts: damage is found and placed, no difference is found where there is none, and a killed run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.report.fakes import bundle, collected, hiss, plan, silence, subject
from tts_trt.report.assemble import assemble
from tts_trt.report.evidence import Evidence
from tts_trt.report.journal import Journal
from tts_trt.report.schema import Report
from tts_trt.report.subjects import AGAIN, AGAIN_OFFSET, Subject
from tts_trt.report.verdict import FEWEST
from tts_trt.report.write import FILES, write_report

pytest.importorskip("pyworld")
pytest.importorskip("jiwer")
pytest.importorskip("pyloudnorm")


def report(evidence: Evidence) -> Report:
    settings = {"sentences": 6, "lines": 6, "same_codes_lines": 5}
    return assemble(evidence, command="tts-trt report", environment={}, settings=settings)


def verdicts(made: Report, candidate: int = 0) -> dict[str, str | None]:
    return {row.metric: row.verdict for row in made.candidates[candidate].verdicts}


def without_time(made: Report) -> dict[str, Any]:
    return made.model_dump(exclude={"created"})


def test_a_hissing_vocoder_is_worse_and_named(tmp_path: Path) -> None:
    damaged = bundle(tmp_path, "vocoder", "wave", hiss(0.02))
    pair = [subject("clean", bundle(tmp_path)), subject("hissing", damaged)]
    made = report(collected(tmp_path / "out", pair, plan()))
    found, (candidate,) = verdicts(made), made.candidates
    assert found["lsd_db"] == "worse"
    assert found["kl"] == found["flips"] == found["mel_l1_db"] == "equal", "only the wave differs"
    assert candidate.tally["worse"] >= 1 and not candidate.tally["better"]
    alone = {entry.part: entry for entry in candidate.parts}
    assert alone["vocoder"].share == pytest.approx(1.0) and alone["vocoder"].lsd_db > 1
    assert alone["flow"].lsd_db == alone["code model"].lsd_db == 0
    assert alone["vocoder"].lsd_db == pytest.approx(alone["whole"].lsd_db)
    assert "comes from the vocoder (100%" in candidate.answer and "worse in" in candidate.answer
    assert candidate.same_codes == candidate.lines == 6, "a vocoder does not change the codes"


def test_a_damaged_code_model_is_placed_there_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shaken = bundle(
        tmp_path, "gpt", "logits", lambda x: x + 2 * rng.standard_normal(x.shape, dtype=np.float32)
    )
    pair = [subject("clean", bundle(tmp_path)), subject("shaken", shaken)]
    made = report(collected(tmp_path / "out", pair, plan()))
    assert verdicts(made)["kl"] == "worse" and verdicts(made)["lsd_db"] == "equal"
    positions = made.candidates[0].positions["kl"]
    assert len(positions.fifths) == 5 and all(p.low <= p.mean <= p.high for p in positions.fifths)


def test_a_candidate_that_says_nothing_fails_every_line_and_breaks_nothing(tmp_path: Path) -> None:
    mute = bundle(tmp_path, "vocoder", "wave", silence)
    pair = [subject("clean", bundle(tmp_path)), subject("mute", mute)]
    made = report(collected(tmp_path / "out", pair, plan()))
    row = {r.metric: r for r in made.candidates[0].verdicts}
    assert row["failed"].candidate == row["forced_failed"].candidate == 1
    assert "no sound on 6 of 6 lines" in made.candidates[0].answer
    assert made.candidates[0].absent["length"] and not made.candidates[0].parts
    assert {line.spoken["mute"].finish for line in made.lines} == {"failed"}
    write_report(made, tmp_path / "out", tmp_path / "out" / "work")


def test_a_bundle_against_itself_is_neither_better_nor_worse(tmp_path: Path) -> None:
    base = bundle(tmp_path)
    again = subject(AGAIN, base, AGAIN_OFFSET, identity="clean")
    pair = [subject("clean", base), again, subject("copy", bundle(tmp_path))]
    made = report(collected(tmp_path / "out", pair, plan()))
    for candidate in made.candidates:
        assert candidate.tally["worse"] == candidate.tally["better"] == 0
        same = [r for r in candidate.verdicts if made.metrics[r.metric].section == "same codes" and r.verdict]
        few = {"forced_failed", *(r.metric for r in same if r.sentences < FEWEST)}
        assert {r.verdict for r in same if r.metric not in few} == {"equal"}
    assert made.candidates[0].again and made.candidates[0].same_codes < 6, "other seeds draw other codes"
    assert made.candidates[1].same_codes == 6


class Killed(BaseException):
    """As a signal would."""


SHORT = plan(sentences=4, forced=2)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("whole")
    return without_time(report(collected(folder / "out", clean_and_hissing(folder), SHORT)))


def clean_and_hissing(folder: Path) -> list[Subject]:
    damaged = bundle(folder, "vocoder", "wave", hiss(0.01))
    return [subject("clean", bundle(folder)), subject("hissing", damaged)]


@pytest.mark.parametrize("at", [1, 5, 10])
def test_a_killed_run_goes_on_and_says_the_same(
    tmp_path: Path, at: int, uninterrupted: dict[str, Any]
) -> None:
    pair = clean_and_hissing(tmp_path)
    seen: list[int] = []

    def kill(phase: str, done: int, total: int) -> None:
        seen.append(done)
        if len(seen) == at:
            raise Killed

    with pytest.raises(Killed):
        collected(tmp_path / "out", pair, SHORT, kill)
    journal = tmp_path / "out" / "work" / "journal.jsonl"
    kept = journal.read_bytes()
    journal.write_bytes(kept + b'{"key": "x", "kind": "said", "val')  # and while a line was being written
    resumed = report(collected(tmp_path / "out", pair, SHORT))
    assert without_time(resumed) == uninterrupted
    assert journal.read_bytes().startswith(kept), "what was finished is not made again"


def test_another_bundle_makes_only_its_own_items_anew(tmp_path: Path) -> None:
    base, other = subject("clean", bundle(tmp_path)), subject("other", bundle(tmp_path))
    changed = subject("hissing", bundle(tmp_path, "vocoder", "wave", hiss(0.01)))
    rebuilt = subject("hissing", bundle(tmp_path, "vocoder", "wave", hiss(0.01)), identity="hissing, rebuilt")
    chosen = SHORT

    def items(subjects: list[Any]) -> int:
        collected(tmp_path / "out", subjects, chosen)
        with Journal(tmp_path / "out" / "work") as journal:
            return len((journal.folder / "journal.jsonl").read_bytes().splitlines())

    first = items([base, other, changed])
    assert items([base, other, changed]) == first, "nothing is made twice"
    own = 4 * 3 + 2  # said, likeness, heard; the same codes
    assert items([base, other, rebuilt]) == first + own
    with Journal(tmp_path / "out" / "work") as journal:
        for wave in (journal.folder / "waves").iterdir():
            wave.unlink()
    assert items([base, other, rebuilt]) == first + own + 4 * 3, "speech that is gone is made again"


def test_three_files_are_written_and_the_json_is_read_back(tmp_path: Path) -> None:
    made = report(collected(tmp_path / "out", clean_and_hissing(tmp_path), SHORT))
    write_report(made, tmp_path / "out", tmp_path / "out" / "work")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([*FILES, "work"])
    assert Report.model_validate_json((tmp_path / "out" / "report.json").read_bytes()) == made
    short = (tmp_path / "out" / "report.md").read_text()
    assert made.candidates[0].answer.split(";")[0] in short and "| log-spectral distance, dB | 1 |" in short
