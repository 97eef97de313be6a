"""All measures at once: as many as are listed, each as its own function gives it, each worse in its direction."""

from __future__ import annotations

import numpy as np
import pytest

from tests.quality.sounds import RATE, buzz, joined, noise, silence
from tts_trt.dims import AudioDims
from tts_trt.errors import UsageError
from tts_trt.frontend.features import log_mel
from tts_trt.quality.catalogue import CODES, PAIRED, SINGLE, Found, Rendering, of_codes, of_pair, of_wave
from tts_trt.quality.cepstra import mcd_db
from tts_trt.quality.distance import mel_distance_db
from tts_trt.quality.levels import loudness_lufs
from tts_trt.quality.opinion import Opinion
from tts_trt.quality.prosody import pitch_track

AUDIO = AudioDims(sample_rate=RATE, hop=320, mel_shift=-5.0, mel_scale=2.5)
VOICE = joined(silence(0.3), buzz(0.8, 110.0), silence(0.2), buzz(0.8, 140.0), silence(0.1)) + noise(
    2.2, 1e-4, 1
)


@pytest.fixture(autouse=True)
def _packages() -> None:
    for package in ("pyworld", "pystoi", "pyloudnorm"):
        pytest.importorskip(package)


def rendering(wave: np.ndarray) -> Rendering:
    return Rendering.of(log_mel(wave, AUDIO), wave.astype(np.float32), RATE)


def worse(name: str, direction: str, better: float | None, worse: float | None) -> bool:
    assert better is not None and worse is not None, name
    return worse > better if direction == "higher" else worse < better


def test_a_pair_has_every_measure_and_noise_makes_each_worse() -> None:
    base = rendering(VOICE)
    same, noisy = of_pair(base, base, AUDIO), of_pair(base, rendering(VOICE + noise(2.2, 0.05)), AUDIO)
    assert list(same.values) == list(PAIRED) == list(noisy.values)
    for name in ("mel_l1_db", "mcd_db", "lsd_db", "snr_db", "stoi", "mel_flicker_db", "voicing_error"):
        assert worse(name, PAIRED[name].worse, same.values[name], noisy.values[name]), name
    if same.values["pesq"] is not None:
        assert worse("pesq", "lower", same.values["pesq"], noisy.values["pesq"])
    assert same.values["f0_rmse_cents"] == 0 and same.values["f0_gross"] == 0


def test_a_pairs_values_are_those_of_each_measure() -> None:
    base = rendering(VOICE)
    pitch_F = base.pitch_F.copy()
    pitch_F[np.flatnonzero(pitch_F)[:40]] *= 2
    other = Rendering(base.mel_mT + noise(0.1)[:80, None], base.wave_S, pitch_F)
    found = of_pair(base, other, AUDIO).values
    assert found["mcd_db"] == mcd_db(base.mel_mT, other.mel_mT, AUDIO)
    assert found["mel_l1_db"] == mel_distance_db(base.mel_mT, other.mel_mT, AUDIO)
    assert found["f0_gross"] == pytest.approx(40 / np.count_nonzero(pitch_F))
    assert found["f0_median_cents"] == 0 and found["voicing_error"] == 0 and found["snr_db"] == 120


def test_a_wave_has_every_measure_each_in_its_place() -> None:
    found = of_wave(VOICE, RATE, pitch_track(VOICE, RATE))
    assert list(found.values) == list(SINGLE) and not found.reasons
    values = found.values
    assert values["seconds"] == pytest.approx(2.2) and values["longest_pause"] == pytest.approx(0.2, abs=0.03)
    assert values["tail"] == pytest.approx(0.1, abs=0.03) and values["silence"] == pytest.approx(
        0.27, abs=0.03
    )
    assert values["loudness_lufs"] == loudness_lufs(VOICE, RATE)
    assert values["noise_floor_dbfs"] == pytest.approx(-80, abs=2) and values["cut_db"] == pytest.approx(
        -60, abs=2
    )
    assert values["peak"] == float(np.abs(VOICE).max()) and values["clipped"] == 0
    assert values["grain_share_db"] < -40 and values["last_voice_db"] == pytest.approx(0, abs=1)


def test_silence_leaves_no_number_where_there_is_none() -> None:
    quiet = silence(1.0)
    found = of_wave(quiet, RATE, pitch_track(quiet, RATE))
    without = {name for name, value in found.values.items() if value is None}
    assert without == {
        "grain_flatness",
        "grain_share_db",
        "grain_flutter_db",
        "loudness_lufs",
        "last_voice_db",
        "cut_db",
        "tail",
    }
    base, silent = rendering(VOICE), rendering(np.zeros_like(VOICE))
    pair = of_pair(base, silent, AUDIO)
    assert {name for name, value in pair.values.items() if value is None} == {
        "f0_rmse_cents",
        "f0_median_cents",
        "f0_gross",
        "pesq",
        "stoi",
    }
    assert pair.reasons["stoi"] == "silence: -120 dBFS"
    assert all(np.isfinite(v) for v in [*found.values.values(), *pair.values.values()] if v is not None)


def test_what_one_measure_cannot_take_leaves_the_others() -> None:
    short = buzz(0.3)
    found = of_wave(short, RATE, pitch_track(short, RATE))
    assert (
        found.values["loudness_lufs"] is None and "expected at least 6400" in found.reasons["loudness_lufs"]
    )
    assert found.values["peak"] is not None
    low = of_wave(short, 8000, pitch_track(short, 8000))
    assert low.values["grain_flatness"] is None and "10000 Hz" in low.reasons["grain_flatness"]


def test_what_is_no_pair_is_refused() -> None:
    base, other = rendering(VOICE), rendering(VOICE[: 2 * RATE])
    with pytest.raises(UsageError, match="expected the same"):
        of_pair(base, other, AUDIO)
    with pytest.raises(UsageError, match="waves have shapes"):
        of_pair(base, Rendering(base.mel_mT, base.wave_S[1:], base.pitch_F), AUDIO)
    with pytest.raises(UsageError, match="mels have shapes"):
        of_pair(base, Rendering(base.mel_mT[:, 1:], base.wave_S, base.pitch_F), AUDIO)
    with pytest.raises(UsageError, match="nan"):
        rendering(np.full(RATE, np.nan, np.float32))


def test_codes_have_every_measure() -> None:
    found = of_codes([1, 1, 1, 2, 3, 2, 3, 2, 3]).values
    assert found == {"longest_run": 3, "repeated_share": pytest.approx(1 / 6), "longest_loop": 6}
    assert list(found) == list(CODES) and not any(of_codes([]).values.values())


def test_a_reason_is_kept_with_its_name() -> None:
    found = Found()
    found.add("a", lambda: 1.0)
    found.add("b", lambda: Opinion(None, "so"))
    found.add("c", lambda: None)
    assert found.values == {"a": 1.0, "b": None, "c": None} and found.reasons == {"b": "so"}


def test_directions_are_known_and_names_are_unique() -> None:
    tables = [*PAIRED, *SINGLE, *CODES]
    assert len(set(tables)) == len(tables)
    assert {m.worse for m in [*PAIRED.values(), *SINGLE.values(), *CODES.values()]} == {
        "higher",
        "lower",
        "either",
    }
