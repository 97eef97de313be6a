"""`tts-trt sign` with a key as OpenSSL makes it, and what the signature is good for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.test_cli import run
from tts_trt.artifacts import BundleWriter
from tts_trt.errors import BundleError
from tts_trt.manifest import SIGNATURE, ExecutorRef, Host, ModelRef
from tts_trt.runtime.loading import _public_keys, _signer

pytest.importorskip("cryptography")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    with BundleWriter(tmp_path / "bundle") as writer:
        writer.path("graphs/gpt.onnx").write_bytes(b"graph")
        writer.seal(
            tts_trt="0",
            model=ModelRef(name="m", weights_sha256="0" * 64, config_sha256="0" * 64),
            precision="fp32",
            executor=ExecutorRef(name="onnxruntime", version="1"),
            host=Host(gpu=None, sm=None, driver=None, platform="p", cpu="c"),
            latents="one-pass",
            float_type="float32",
            limits={},
            graphs=(),
        )
    return tmp_path / "bundle"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """Private and public, as docs/deployment.md says to make them."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    private, public = tmp_path / "release.key", tmp_path / "release.pem"
    for command in (
        ("genpkey", "-algorithm", "ed25519", "-out", private),
        ("pkey", "-in", private, "-pubout", "-out", public),
    ):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    return private, public


def test_a_signed_bundle_is_known_by_the_public_key(bundle: Path, keys: tuple[Path, Path]) -> None:
    private, public = keys
    done = run("sign", str(bundle), "--key", str(private))
    assert done.returncode == 0, done.stderr
    assert _signer(bundle, _public_keys(public)) == public


def test_what_cannot_be_signed_keeps_the_signature_it_has(
    bundle: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    private, public = keys
    (bundle / SIGNATURE).write_text("before")
    cases = [(public, 1, "private key cannot be read"), (tmp_path / "none.key", 2, "openssl genpkey")]
    for key, code, words in cases:
        done = run("sign", str(bundle), "--key", str(key))
        assert done.returncode == code and words in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr
    (bundle / "graphs" / "gpt.onnx").write_bytes(b"other")
    done = run("sign", str(bundle), "--key", str(private))
    assert done.returncode == 1 and "SHA-256" in done.stderr
    assert (bundle / SIGNATURE).read_text() == "before"
    with pytest.raises(BundleError):
        _signer(bundle, _public_keys(public))
