"""tts_trt.Bundle: a bundle is checked, and its signature with it, before anything of it is opened."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.model.tiny import TINY
from tests.runtime.test_bundle import write_bundle
from tts_trt import Bundle, Request
from tts_trt.artifacts import sign
from tts_trt.errors import BundleError, UsageError
from tts_trt.manifest import MANIFEST
from tts_trt.runtime import onnx_engine
from tts_trt.runtime.loading import TRUSTED_KEYS, trusted_keys

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"

Keys = Callable[[str], tuple[bytes, Path]]


@pytest.fixture(scope="module")
def tiny(graphs: Path, recording: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny", graphs, recording)


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening any graph fails the test."""

    def opened(*_: object) -> None:
        raise AssertionError("a graph was opened")

    monkeypatch.setattr(onnx_engine.OrtEngine, "_open", opened)


@pytest.fixture
def key_pair(tmp_path: Path) -> Keys:
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    def make(name: str) -> tuple[bytes, Path]:
        private, folder = Ed25519PrivateKey.generate(), tmp_path / "keys"
        folder.mkdir(exist_ok=True)
        public = folder / f"{name}.pem"
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        public.write_bytes(private.public_key().public_bytes(serialization.Encoding.PEM, form))
        pkcs8, bare = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return private.private_bytes(serialization.Encoding.PEM, pkcs8, bare), public

    return make


def test_loading_opens_nothing_and_tells_what_is_inside(tiny: Path, sealed: None) -> None:
    bundle = Bundle.load(str(tiny))
    assert bundle.manifest.precision == "fp32"
    assert bundle.dims == TINY
    assert bundle.voices == ("anna",)
    assert bundle.signed_by is None
    assert [t.name for t in bundle.specs["vocoder"].inputs] == ["mel", "lengths"]
    assert bundle.specs["vocoder"].profiles[0]["B"] == (1, 4, 4)


def test_a_loaded_bundle_speaks(tiny: Path) -> None:
    with Bundle.load(tiny).synthesizer(threads=1) as tts:
        assert tts.synthesize(Request("See me.", "anna")).seconds > 0


def test_single_graphs_run_by_their_contract(tiny: Path) -> None:
    bundle = Bundle.load(tiny)
    with bundle.engines("vocoder", threads=1) as engines:
        mel = np.zeros((2, bundle.dims.audio.n_mels, 6), np.float32)
        wave = engines["vocoder"].run({"mel": mel, "lengths": np.array([6, 6])})["wave"]
    assert wave.shape == (2, 6 * bundle.dims.audio.hop)
    with pytest.raises(UsageError, match="no graph voder; there are semantic_encoder, "):
        bundle.engines("vocoder", "voder")


def test_damage_after_loading_is_found_on_opening(copy: Path, sealed: None) -> None:
    bundle = Bundle.load(copy)
    graph = copy / "graphs" / "gpt.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    for open_it in (bundle.synthesizer, bundle.engines, lambda: Bundle.load(copy)):
        with pytest.raises(BundleError, match=r"gpt\.onnx: \d+ bytes, expected"):
            open_it()


def test_a_bundle_swapped_after_loading_is_refused(
    copy: Path, graphs: Path, recording: np.ndarray, sealed: None
) -> None:
    bundle = Bundle.load(copy)
    write_bundle(copy, graphs, recording * np.float32(0.5))
    for open_it in (bundle.synthesizer, bundle.engines):
        with pytest.raises(BundleError, match="another bundle than the one loaded"):
            open_it()


def test_a_required_signature_must_be_there_and_be_by_the_key(copy: Path, key_pair: Keys) -> None:
    private, ours = key_pair("ours")
    _, theirs = key_pair("theirs")
    with pytest.raises(BundleError, match="is not signed"):
        Bundle.load(copy, require_signature=ours)
    sign(copy, private)
    assert Bundle.load(copy, require_signature=str(ours)).signed_by == ours
    with pytest.raises(BundleError, match="not this key's signature"):
        Bundle.load(copy, require_signature=theirs)
    manifest = copy / MANIFEST
    manifest.write_bytes(manifest.read_bytes().replace(b'"fp32"', b'"fp16"', 1))
    with pytest.raises(BundleError, match="not this key's signature"):
        Bundle.load(copy, require_signature=ours)


def test_any_trusted_key_will_do(copy: Path, key_pair: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    (_, first), (private, second), (stranger, third) = map(key_pair, ("first", "second", "third"))
    third.unlink()
    monkeypatch.setenv(TRUSTED_KEYS, str(first.parent))
    with pytest.raises(BundleError, match="is not signed"):
        Bundle.load(copy, require_signature=True)
    sign(copy, stranger)
    with pytest.raises(BundleError, match=r"signed by none of first\.pem, second\.pem"):
        Bundle.load(copy, require_signature=True)
    sign(copy, private)
    assert Bundle.load(copy, require_signature=True).signed_by == second
    assert Bundle.load(copy, require_signature=first.parent).signed_by == second


def test_keys_that_are_not_there_are_named(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys").mkdir()
    for missing in (tmp_path / "keys", tmp_path / "none.pem"):
        with pytest.raises(UsageError, match=re.escape(f"no public key at {missing}")):
            Bundle.load(copy, require_signature=missing)
    monkeypatch.delenv(TRUSTED_KEYS, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert trusted_keys() == tmp_path / "config" / "tts_trt" / "trusted-keys"
    with pytest.raises(UsageError, match="no public key at .*trusted-keys"):
        Bundle.load(copy, require_signature=True)


def test_the_example_of_the_docs_runs(copy: Path, key_pair: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the tiny bundle, in whose lexicon are fewer words."""
    (example,) = re.findall(r"```python\n(.*?Bundle\.load.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(example.splitlines()) <= 12
    private, public = key_pair("release")
    sign(copy, private)
    root = copy.parent
    (root / "engines").mkdir()
    os.rename(copy, root / "engines" / "nano-fp32-onnxruntime")
    shutil.copy(public, root / "release.pem")
    monkeypatch.chdir(root)
    exec(compile(re.sub(r"Request\(\"[^\"]*\"", 'Request("See me."', example), str(PAGE), "exec"), {})
    assert (root / "ferry.wav").stat().st_size > 1000
