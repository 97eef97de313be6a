"""What is judged, and what difference counts as none: one table.

A margin is the largest change that nobody would hear or mind, with its reason. A metric without a margin is stated and not
judged. Everything but ``ideal`` metrics is the change from the baseline on the same lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tts_trt.errors import UsageError
from tts_trt.quality.catalogue import Worse

Section = Literal["same codes", "free", "cost"]


@dataclass(frozen=True)
class Metric:
    title: str
    unit: str
    section: Section
    worse: Worse
    margin: float | None  # of the change, in the unit; of a ratio: of its distance from 1
    reason: str
    ideal: float | None = None  # value where nothing differs; None: the baseline's own on the same line
    ratio: bool = False  # sum over the baseline's sum
    counts: bool = False  # events: one more or one less is the least change


_TRACKER = "pitch trackers disagree with themselves by as much"
_SAME_HEARD = "heard by the same ears on the same lines"

METRICS: dict[str, Metric] = {
    # over the baseline's codes, with its noise
    "kl": Metric("KL divergence of scores", "nats/step", "same codes", "higher", 0.005,
                 "below it at most one draw in 20 differs (Pinsker: total variation <= sqrt(KL/2))", ideal=0.0),
    "flips": Metric("best code differs", "share", "same codes", "higher", 0.03,
                    "what verification allows an INT8 bundle; most flips are near ties", ideal=0.0),
    "sure_flips": Metric("best code differs where it led by 0.2", "share", "same codes", "higher", 0.01,
                         "one code in a hundred: less than one a sentence", ideal=0.0),
    "latent_sqnr_db": Metric("signal to noise of states", "dB", "same codes", "lower", None,
                             "arithmetic; what it does to the sound is in the rows below"),
    "mel_l1_db": Metric("mel L1", "dB", "same codes", "higher", 0.5,
                        "half of the 1 dB at which a change of level is just heard", ideal=0.0),
    "mcd_db": Metric("mel cepstral distortion", "dB", "same codes", "higher", 1.0,
                     "1 dB of spectral distortion is transparent (Paliwal and Atal 1993)", ideal=0.0),
    "lsd_db": Metric("log-spectral distance", "dB", "same codes", "higher", 1.0,
                     "1 dB of spectral distortion is transparent (Paliwal and Atal 1993)", ideal=0.0),
    "mel_jitter_ratio": Metric("mel jitter over the baseline's", "", "same codes", "higher", 0.05,
                               "a twentieth of the restlessness that speech itself has", ideal=1.0),
    "mel_flicker_db": Metric("flicker of the mel error", "dB/frame", "same codes", "higher", 0.5,
                             "half of the 1 dB at which a change of level is just heard", ideal=0.0),
    "f0_median_cents": Metric("F0 error, median", "cents", "same codes", "higher", 10.0,
                              "a pitch change of 5 to 17 cents is just heard in speech", ideal=0.0),
    "f0_rmse_cents": Metric("F0 error, RMS", "cents", "same codes", "higher", None,
                            "a few octave errors of the tracker decide it"),
    "f0_gross": Metric("F0 more than 20 % off", "share", "same codes", "higher", 0.02, _TRACKER, ideal=0.0),
    "voicing_error": Metric("voicing differs", "share", "same codes", "higher", 0.03, _TRACKER, ideal=0.0),
    "snr_db": Metric("signal to noise of the wave", "dB", "same codes", "lower", None,
                     "arithmetic: it hears phases, which people hardly do"),
    "pesq": Metric("PESQ", "MOS-LQO", "same codes", "lower", 0.3,
                   "the error of the measure itself against listeners", ideal=4.644),
    "stoi": Metric("STOI", "", "same codes", "lower", 0.02,
                   "two points of intelligibility in a hundred", ideal=1.0),
    "grain_flatness": Metric("flatness above 4 kHz in voice", "", "same codes", "higher", 0.02,
                             "white noise has 0.56, speech of this kind a tenth to a half of it"),
    "grain_share_db": Metric("power above 4 kHz in voice", "dB", "same codes", "higher", 1.0,
                             "a change of level is just heard at 1 dB"),
    "grain_flutter_db": Metric("flutter above 4 kHz in voice", "dB/frame", "same codes", "higher", 0.5,
                               "half of a just heard change of level, frame by frame"),
    "noise_floor_dbfs": Metric("noise floor", "dB", "same codes", "higher", 3.0,
                               "a doubling of noise power that is far below the speech"),
    "level_lu": Metric("loudness", "LU", "same codes", "either", 0.5, "what EBU R 128 tolerates"),
    "forced_failed": Metric("given codes without sound", "share", "same codes", "higher", 0.02,
                            "two sentences in a hundred", ideal=0.0, counts=True),
    # everybody on their own
    "wer": Metric("word error rate", "share of words", "free", "higher", 0.03,
                  "three words in a hundred, " + _SAME_HEARD, counts=True),
    "last_word": Metric("last word not heard", "share", "free", "higher", 0.05,
                        "one sentence in twenty, " + _SAME_HEARD, counts=True),
    "length": Metric("length over the baseline's", "", "free", "either", 0.05,
                     "a change of tempo of 5 % is just heard (Quené 2007)", ratio=True),
    "failed": Metric("lines without sound", "share", "free", "higher", 0.02,
                     "two sentences in a hundred", counts=True),
    "cut": Metric("ended by limit or repetition", "share", "free", "higher", 0.02,
                  "two sentences in a hundred", counts=True),
    "longest_run": Metric("longest run of one code", "codes", "free", "higher", 2.0,
                          "two codes are below 0.1 s, half a phone"),
    "longest_loop": Metric("longest loop", "codes", "free", "higher", 3.0, "three codes are about 0.1 s, one phone"),
    "repeated_share": Metric("4-grams said before", "share", "free", "higher", 0.02, "one or two codes a sentence"),
    "silence": Metric("silence", "share of frames", "free", "either", 0.03, "about 0.1 s a sentence"),
    "longest_pause": Metric("longest pause", "s", "free", "higher", 0.1, "shorter gaps are not heard as pauses"),
    "last_voice_db": Metric("level of the last voice", "dB", "free", "lower", 1.5,
                            "one and a half just heard changes of level"),
    "cut_db": Metric("level at the cut", "dB", "free", "higher", 6.0, "the end is faded: half the amplitude of little"),
    "tail": Metric("silence at the end", "s", "free", "either", 0.1, "shorter gaps are not heard as pauses"),
    "loudness_lufs": Metric("loudness", "LU", "free", "either", 1.0, "a change of level is just heard at 1 dB"),
    "clipped": Metric("clipped", "share of samples", "free", "higher", 1e-4, "one sample in ten thousand"),
    "similarity": Metric("likeness to the voice asked for", "cosine", "free", "lower", 0.02,
                         "far below the distance between two voices, by the baseline's style encoder"),
    "mos": Metric("predicted opinion", "MOS", "free", "lower", 0.1, "half of what listening tests tell apart"),
    "qc": Metric("segments that fail quality control", "share", "free", "higher", 0.03,
                 "three sentences in a hundred", counts=True),
    # time and room
    "time": Metric("time to speak, of the baseline's", "", "cost", "higher", 0.05,
                   "a machine's own noise", ratio=True),
    "first_audio": Metric("time to first audio, of the baseline's", "", "cost", "higher", None,
                          "one median a bundle", ratio=True),
    "step": Metric("decode step, of the baseline's", "", "cost", "higher", None, "one median a bundle", ratio=True),
    "bytes": Metric("graphs on disk, of the baseline's", "", "cost", "higher", None, "counted, not estimated", ratio=True),
    "memory": Metric("memory once loaded, of the baseline's", "", "cost", "higher", None,
                     "one reading a bundle", ratio=True),
}  # fmt: skip


def known(name: str, table: Mapping[str, Metric] = METRICS) -> Metric:
    """UsageError for a name that is no metric."""
    if name not in table:
        raise UsageError(f"no metric {name!r}", hint=f"one of {', '.join(table)}")
    return table[name]
