"""Settings of the three scenarios: complete as shipped, strict when changed."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tts_trt.errors import ConfigError
from tts_trt.policy import FOLDER, SCENARIOS, Audiobook, Live, load_policy, scenario_of, shipped


def keys_of(kind: Any) -> dict[str, Any]:
    """Field names, those of tables within as dictionaries."""
    made = {}
    for field in dataclasses.fields(kind):
        inner = next((t for t in _tables() if t.__name__ == field.type), None)
        made[field.name] = keys_of(inner) if inner else None
    return made


def _tables() -> list[type]:
    import tts_trt.policy as module

    return [v for v in vars(module).values() if isinstance(v, type) and dataclasses.is_dataclass(v)]


def names(table: dict[str, Any]) -> dict[str, Any]:
    return {key: names(value) if isinstance(value, dict) else None for key, value in table.items()}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_shipped_file_states_every_setting(scenario: str) -> None:
    table = tomllib.loads((FOLDER / f"{scenario}.toml").read_text())
    assert table.pop("scenario") == scenario
    assert names(table) == keys_of(SCENARIOS[scenario])
    assert scenario_of(load_policy(scenario)) == scenario


def test_a_file_of_ones_own_says_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('scenario = "live"\nfirst_codes = 12\n[budget_ms]\ndecode = 90\n')
    mine, usual = load_policy(path), shipped(Live)
    assert isinstance(mine, Live)
    assert (mine.first_codes, mine.budget_ms.decode) == (12, 90.0)
    assert mine.budget_ms.sound == usual.budget_ms.sound and mine.chunk_codes == usual.chunk_codes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no scenario"),
        ('scenario = "radio"', "no scenario 'radio'"),
        ("scenario = [1]", r"no scenario \[1\]"),
        ('scenario = "live"\nchunk_codse = [1]', "unknown key chunk_codse"),
        ('scenario = "live"\n[budget_ms]\nflow = 3', "budget_ms: unknown key flow"),
        ('scenario = "live"\nchunk_codes = [40, 81]', "81, expected 1 to 80"),
        ('scenario = "live"\nchunk_codes = [40, 66]', "with chunks of 66 codes the last one is 81"),
        ('scenario = "live"\nchunk_codes = []', "chunk_codes is empty"),
        ('scenario = "live"\nbudget_ms = 3', "expected a table"),
        ('scenario = "live"\nprecisions = "fp32"', "expected a list"),
        ('scenario = "dubbing"\nslowest = 1.2', "slowest is 1.2, expected 0.5 to 1"),
        ('scenario = "dubbing"\nfastest = nan', "fastest is nan"),
        ('scenario = "dubbing"\noverlaps = "hide"', "overlaps is 'hide'"),
        ('scenario = "dubbing"\nprecisions = []', "expected precisions"),
        ('scenario = "audiobook"\nkey = ["fp16", "fp16"]', "each once"),
        ('scenario = "audiobook"\n[loudness]\npeak_dbfs = 3.0', "peak_dbfs is 3"),
        ('scenario = "audiobook"\nnarration_takes = true', "expected int"),
        ("scenario =", "cannot be read"),
        ("\x00", "cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_policy(path)


@pytest.mark.parametrize("path", ["absent.toml", "a\x00b", "."])
def test_a_path_that_is_no_file_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_policy(Path(path))


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        shipped(Audiobook).key_takes = 9  # type: ignore[misc]
