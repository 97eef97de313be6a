"""What the worker opens, and how `tts-trt serve` refuses what it should not serve: real bundles, the real command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.runtime.test_bundle import write_bundle
from tests.runtime.tiny_graphs import tiny_graphs
from tests.serve.rig import recording, serving
from tts_trt.artifacts import sign
from tts_trt.commands.serve import new_key
from tts_trt.errors import BundleError, ConfigError, UsageError
from tts_trt.serve.run import plan_of
from tts_trt.serve.settings import Settings
from tts_trt.serve.worker import open_bundles


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("real") / "tiny-fp32", tiny_graphs(), recording(1, 2.0))


def of(bundle: Path, **engines: object) -> Settings:
    return Settings.model_validate({"engines": {"bundles": [bundle]} | engines})


def test_a_real_bundle_is_served(bundle: Path) -> None:
    with serving(of(bundle), open_bundles) as served:
        (model,) = served.client.get("/v1/models").json()["data"]
        assert model["id"] == "tiny-fp32"
        assert (model["model"], model["precision"], model["executor"]) == ("tiny", "fp32", "onnxruntime")
        for changes in ({}, {"stream_format": "audio"}):
            answer = served.speak("See me.", model="tiny", **changes)
            assert answer.status_code == 200, answer.text
            assert np.frombuffer(answer.content[44:], "<i2").any()


def test_a_bundle_is_opened_only_as_it_was_sealed_and_signed(bundle: Path, tmp_path: Path) -> None:
    keys = [Ed25519PrivateKey.generate() for _ in range(2)]
    for i, key in enumerate(keys):
        public = serialization.PublicFormat.SubjectPublicKeyInfo
        (tmp_path / f"{i}.pem").write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, public))
    signed = of(bundle, public_key=tmp_path / "0.pem")
    with pytest.raises(BundleError, match="not signed"):
        open_bundles(plan_of(signed))
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    sign(bundle, keys[0].private_bytes(serialization.Encoding.PEM, *private))
    (opened,) = open_bundles(plan_of(signed))
    assert opened.model.voices == ("anna",)
    opened.tts.close()
    with pytest.raises(BundleError, match="not this key's"):
        open_bundles(plan_of(of(bundle, public_key=tmp_path / "1.pem")))


def serve(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tts_trt", "serve", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--bundle", "nowhere"), 1, "not a bundle"),
        (("--bundle", "nowhere", "--host", "0.0.0.0"), 2, "no API keys are set"),
        (("--bundle", "nowhere", "--keys", "none.json"), 2, "there is no none.json"),
    ],
)
def test_the_command_refuses_in_words(
    arguments: tuple[str, ...], code: int, words: str, tmp_path: Path
) -> None:
    done = serve(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_key_is_printed_once(tmp_path: Path) -> None:
    done = serve("--keys", "keys.json", "--make-key", "studio", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tts-")
    assert done.stdout.strip().split("-", 2)[2] not in (tmp_path / "keys.json").read_text()
    with pytest.raises(UsageError, match="has a key called 'studio'"):
        new_key(None, tmp_path / "keys.json", "studio")
    with pytest.raises(UsageError, match="no file of keys is named"):
        new_key(None, None, "studio")
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read"):
        new_key(tmp_path / "none.toml", None, "studio")
