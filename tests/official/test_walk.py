"""From a directory in the official layout to speech, by the command line: export, build, verify, synth.

The code model and the style encoder of the directory are the parity fixtures', so the bundle's greedy codes are known; the
vocoder is small, as the published form has a thousand layers at any width. Exports are kept in .cache until the model or the exporter changes: exporting eleven graphs takes a minute.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.official.directories import write_chain
from tests.parity import load
from tts_trt.artifacts import load_manifest
from tts_trt.cli import main
from tts_trt.frontend.audio import load_reference
from tts_trt.model.reference import Reference
from tts_trt.model.weights import load_model
from tts_trt.models import find_model
from tts_trt.quality.verify import DEMO, compare_codes
from tts_trt.runtime.decode import Decoder, DecodeRow
from tts_trt.runtime.plan import Planner
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.runtime.synthesizer import Synthesizer

pytest.importorskip("wetext")
pytestmark = pytest.mark.slow

CACHE = Path(__file__).parents[2] / ".cache" / "official-walk"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("download") / "chain"
    write_chain(folder, vocoder=False)
    return folder


@pytest.fixture(scope="module")
def bundle(directory: Path) -> Iterator[Path]:
    torch.set_num_threads(1)
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
        run("build", "--model", str(directory), "--executor", "onnxruntime", "--out", str(CACHE))
        assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before
        yield CACHE / "chain-fp32-onnxruntime"


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


def test_the_bundle_says_what_it_was_made_from(bundle: Path) -> None:
    manifest = load_manifest(bundle)
    assert manifest.latents == "exact" and manifest.assets.tokenizer == "assets/bpe.model"
    assert "code_embedding" in {graph.name for graph in manifest.graphs}
    assert set(manifest.assets.voices) == {
        "awb",
        "kal16",
        "rms",
        "slt",
    }  # the shipped recordings serve as voices
    assert manifest.verification["executed"] and len(manifest.verification["audio"]) == 3  # type: ignore[arg-type]


def test_the_bundles_greedy_codes_are_the_references(bundle: Path) -> None:
    fx = load("gpt_prefill_decode")
    conditioning = (fx.outputs["conds"] + fx.outputs["emovec"][:, None])[0].numpy()
    with Synthesizer.from_bundle(bundle, threads=1) as tts:
        sampling = SamplingParams.of(
            tts.dims, greedy=True, max_codes=fx.config["new_tokens"], repetition_penalty=10.0
        )
        row = DecodeRow(conditioning, fx.inputs["text_tokens"][0].long().numpy(), 1.0, sampling)
        codes = Decoder(tts.engines, tts.dims, tts.limits).run([row])[0].codes_M.tolist()
    assert codes == [c for c in fx.outputs["greedy_rp10"][0].tolist() if c != tts.dims.gpt.stop_code]


def test_the_bundle_hears_and_sounds_as_the_slow_pipeline(bundle: Path, directory: Path) -> None:
    folder = find_model(str(directory))
    reference, dims = Reference(load_model(folder)), folder.dims()
    mel = np.random.default_rng(0).standard_normal((1, dims.audio.n_mels, 20)).astype(np.float32)
    with Synthesizer.from_bundle(bundle, threads=1) as tts:
        heard = tts.voice("slt")
        wave = tts.engines["vocoder"].run({"mel": mel, "lengths": np.array([20])})["wave"][0]
    recording = load_reference(folder.voices["slt"], dims.audio.sample_rate, dims.audio.reference_seconds)
    slow = reference.voice(recording)
    assert np.allclose(slow.style_1E[0].numpy(), heard.style_E, atol=1e-3)
    assert np.mean(slow.codes_1T[0].numpy() == heard.codes_F) > 0.98
    assert np.abs(reference.wave(torch.from_numpy(mel)).numpy() - wave).max() < 1e-4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--text", "The quick brown fox, so happy!", "--emotion-text", ""], "happy"),
        (["--text", "A lazy dog.", "--emotion", "sad:0.4"], "RTF"),
    ],
)
def test_it_speaks_by_the_command_line(
    bundle: Path, words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.wav"
    assert run("synth", "--bundle", str(bundle), *words, "--threads", "1", "--out", str(out), "--json") == 0
    shown = capsys.readouterr()
    assert said in shown.err
    report = json.loads(shown.out.splitlines()[-1])
    wave, rate = soundfile.read(out)
    assert rate == 22050 and len(wave) == report["samples"]
    assert np.isfinite(wave).all() and np.std(wave) > 1e-3


def test_wishes_that_exclude_each_other_are_refused(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--text",
        "A dog.",
        "--emotion",
        "sad:0.4",
        "--emotion-text",
        "glad",
        "--out",
        str(tmp_path / "x.wav"),
    ]
    assert run("synth", "--bundle", str(bundle), *words) == 2
    assert "both --emotion and --emotion-text" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_codes_are_compared_even_where_a_sentence_takes_several_segments(bundle: Path) -> None:
    with Synthesizer.from_bundle(bundle, threads=1) as tts:
        assert (
            len(Planner(tts.bundle.tokenizer, tts.dims, tts.limits).plan(Request(DEMO[0], "slt")).segments)
            > 1
        )
        found = compare_codes(tts, tts, DEMO[:1])
    assert found.steps > 0 and found.top1 == 1.0
