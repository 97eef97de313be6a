from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_trt import atomic
from tts_trt.artifacts import (
    BundleWriter,
    fingerprint,
    load_manifest,
    sha256_file,
    sign,
    verify_files,
    verify_signature,
)
from tts_trt.errors import BundleError
from tts_trt.manifest import Manifest, bundle_path

HASH = "0" * 64


def fields(**changes: Any) -> dict[str, Any]:
    return {
        "tts_trt": "0.1.0",
        "model": {"name": "nano", "weights_sha256": HASH, "config_sha256": HASH},
        "precision": "fp16",
        "executor": {"name": "tensorrt-rtx", "version": "1.7.1.116"},
        "host": {"gpu": None, "sm": None, "driver": None, "platform": "Linux", "cpu": "x86"},
        "latents": "one-pass",
        "float_type": "float32",
        "limits": {"batch": 8, "text": 0, "codes": 0},
        "graphs": [
            {
                "name": "gpt",
                "file": "gpt.plan",
                "onnx_sha256": HASH,
                "dtypes": {"HALF": 3},
                "profiles": [{"embeddings": [[1, 1, 64], [4, 1, 64], [8, 1, 64]]}],
            }
        ],
        "verification": {"snr_db": 61.5, "finite": True},
        "assets": {"voices": {"anna": "voices/anna.safetensors"}},
    } | changes


def write_bundle(target: Path, content: bytes = b"plan" * 100, **changes: Any) -> Manifest:
    with BundleWriter(target) as bundle:
        bundle.path("gpt.plan").write_bytes(content)
        bundle.path("voices/anna.safetensors").write_bytes(b"voice")
        return bundle.seal(**fields(**changes))


def rewrite(directory: Path, **changes: Any) -> None:
    path = directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "b")
    return tmp_path / "b"


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    written = write_bundle(tmp_path / "b")
    manifest = load_manifest(tmp_path / "b")
    assert manifest == written
    assert set(manifest.files) == {"gpt.plan", "voices/anna.safetensors"}
    assert manifest.files["gpt.plan"].bytes == 400
    assert manifest.created.tzinfo is UTC
    assert manifest.graph("gpt").profiles[0]["embeddings"][2] == (8, 1, 64)
    verify_files(tmp_path / "b", manifest)
    with pytest.raises(BundleError, match="no graph 'vocoder'; it has gpt"):
        manifest.graph("vocoder")


names = st.text("abcxyz._-", min_size=1, max_size=8).filter(lambda n: n not in (".", ".."))
figures = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
shapes = st.lists(st.integers(0, 9999), max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(names, min_size=1, max_size=4, unique=True),
    st.dictionaries(st.text(), figures, max_size=4),
    st.dictionaries(names, st.tuples(shapes, shapes, shapes), max_size=3),
    st.datetimes(min_value=datetime(1, 1, 2), timezones=st.just(timezone(timedelta(hours=5)))),
    st.none() | st.just(HASH),
)
def test_any_manifest_survives_the_round_trip(
    graphs: list[str], verification: dict[str, Any], profile: Any, created: datetime, recipe_hash: str | None
) -> None:
    manifest = Manifest(
        **fields(
            created=created,
            graphs=[
                {"name": g, "file": f"g/{g}", "onnx_sha256": HASH, "dtypes": {}, "profiles": [profile]}
                for g in graphs
            ],
            files={f"g/{g}": {"sha256": HASH, "bytes": 1} for g in graphs},
            verification=verification,
            recipe={"name": "r", "sha256": recipe_hash},
            assets={},
        )
    )
    again = Manifest.model_validate(json.loads(manifest.model_dump_json()))
    assert again == manifest
    assert again.created == created


@pytest.mark.parametrize("created", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
def test_a_moment_beyond_the_calendar_is_refused(bundle: Path, created: str) -> None:
    rewrite(bundle, created=created)
    with pytest.raises(BundleError, match="outside the years 1 to 9999"):
        load_manifest(bundle)


def test_a_flipped_bit_is_refused(bundle: Path) -> None:
    data = bytearray((bundle / "gpt.plan").read_bytes())
    data[123] ^= 4
    (bundle / "gpt.plan").write_bytes(data)
    expected = load_manifest(bundle).files["gpt.plan"].sha256
    with pytest.raises(
        BundleError, match=rf"gpt.plan: SHA-256 {sha256_file(bundle / 'gpt.plan')}, expected {expected}"
    ):
        verify_files(bundle, load_manifest(bundle))


def test_a_truncated_file_is_refused(bundle: Path) -> None:
    os.truncate(bundle / "gpt.plan", 399)
    with pytest.raises(BundleError, match=r"gpt.plan: 399 bytes, expected 400"):
        verify_files(bundle, load_manifest(bundle))


def test_missing_and_extra_files_are_refused(bundle: Path) -> None:
    (bundle / "more.plan").touch()
    with pytest.raises(BundleError, match=r"more.plan is not in the manifest"):
        verify_files(bundle, load_manifest(bundle))
    (bundle / "more.plan").unlink()
    (bundle / "voices" / "anna.safetensors").unlink()
    with pytest.raises(BundleError, match=r"anna.safetensors is missing"):
        verify_files(bundle, load_manifest(bundle))


def test_links_out_of_the_bundle_are_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "gpt.plan").rename(tmp_path / "elsewhere")
    (bundle / "gpt.plan").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="is a link"):
        verify_files(bundle, load_manifest(bundle))


@pytest.mark.parametrize(
    "path",
    (
        *("", ".", "..", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a\\b", "c:x", "a\0"),
        *("manifest.json", "manifest.sig"),
    ),
)
def test_paths_that_leave_the_bundle_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="not a plain relative path"):
        bundle_path(path)
    with (
        pytest.raises(BundleError, match="not a plain relative path"),
        BundleWriter(tmp_path / "b") as bundle,
    ):
        bundle.path(path)
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_points_outside_is_refused(bundle: Path) -> None:
    rewrite(bundle, files={"../../etc/passwd": {"sha256": HASH, "bytes": 1}})
    with pytest.raises(BundleError, match=r"files.*not a plain relative path"):
        load_manifest(bundle)


def test_damaged_manifests_are_refused(bundle: Path, tmp_path: Path) -> None:
    text = (bundle / "manifest.json").read_text()
    for damaged in ("", text[: len(text) // 2], "[]", "null", "3", "[" * 100_000, "\ufffe"):
        (bundle / "manifest.json").write_text(damaged)
        with pytest.raises(BundleError, match=r"manifest\.json"):
            load_manifest(bundle)
    (bundle / "manifest.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(BundleError, match="cannot be read"):
        load_manifest(bundle)
    with pytest.raises(BundleError, match="not a bundle"):
        load_manifest(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surprise": 1}, "surprise: Extra inputs"),
        ({"precision": ""}, "precision"),
        ({"latents": "some"}, "latents"),
        ({"created": "2026-01-01T00:00:00"}, "created.*timezone"),
        ({"corpus_sha256": "ABC"}, "corpus_sha256"),
        ({"files": {}}, "gpt.plan, voices/anna.safetensors used but not listed"),
        ({"schema_version": 0}, "schema_version"),
        ({"schema_version": 7}, "has schema 7; this tts_trt knows up to 1"),
    ],
)
def test_manifests_that_do_not_fit_say_where(bundle: Path, change: dict[str, Any], message: str) -> None:
    rewrite(bundle, **change)
    with pytest.raises(BundleError, match=message):
        load_manifest(bundle)


def test_figures_must_be_finite_and_graph_names_unique(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="verification"):
        write_bundle(tmp_path / "b", verification={"snr_db": float("nan")})
    with pytest.raises(BundleError, match="graph names repeat: gpt, gpt"):
        write_bundle(tmp_path / "b", graphs=fields()["graphs"] * 2)
    assert list(tmp_path.iterdir()) == []


def test_an_exception_keeps_the_older_bundle(bundle: Path) -> None:
    before = load_manifest(bundle)
    with pytest.raises(KeyError), BundleWriter(bundle) as writer:
        writer.path("gpt.plan").write_bytes(b"new")
        raise KeyError
    with pytest.raises(BundleError, match="never sealed"), BundleWriter(bundle) as writer:
        writer.path("gpt.plan").write_bytes(b"new")
    assert load_manifest(bundle) == before
    verify_files(bundle, before)
    assert [p.name for p in bundle.parent.iterdir()] == ["b"]


def test_a_kill_keeps_the_older_bundle_and_the_next_write_cleans_up(bundle: Path) -> None:
    before = load_manifest(bundle)
    program = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from tts_trt.artifacts import BundleWriter
        with BundleWriter(Path({str(bundle)!r})) as writer:
            writer.path("gpt.plan").write_bytes(b"half a pl")
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == -9
    assert len(list(bundle.parent.iterdir())) == 2
    verify_files(bundle, before)
    after = write_bundle(bundle, b"new")
    assert [p.name for p in bundle.parent.iterdir()] == ["b"]
    assert load_manifest(bundle) == after != before
    verify_files(bundle, after)


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_is_one_error_and_leaves_nothing(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    before = load_manifest(bundle)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, call, full)
    with pytest.raises(BundleError, match="No space left on device"):
        write_bundle(bundle, b"new")
    monkeypatch.undo()
    assert [p.name for p in bundle.parent.iterdir()] == ["b"]
    verify_files(bundle, before)


def test_a_file_size_limit_met_by_the_caller_is_the_same_error(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(BundleError, match="File too large"):
            write_bundle(tmp_path / "b", b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_the_callers_own_mistakes_keep_their_type(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), BundleWriter(tmp_path / "b") as writer:
        writer.add("x", tmp_path / "no such file")


def test_a_directory_that_is_not_a_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    for target in (tmp_path, tmp_path / "photo.jpg"):
        with pytest.raises(BundleError, match="is not a bundle"):
            write_bundle(target)
    with pytest.raises(BundleError, match="cannot write beside"):
        write_bundle(tmp_path / "photo.jpg" / "b")
    (tmp_path / "empty").mkdir()
    write_bundle(tmp_path / "empty")


def key_pair() -> tuple[bytes, bytes]:
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    return (
        key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()),
        key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo),
    )


def test_a_signature_holds_for_this_manifest_and_this_key(bundle: Path) -> None:
    pytest.importorskip("cryptography")
    private, public = key_pair()
    with pytest.raises(BundleError, match=r"not signed: it has no manifest\.sig"):
        verify_signature(bundle, public)
    sign(bundle, private)
    verify_signature(bundle, public)
    verify_files(bundle, load_manifest(bundle))
    with pytest.raises(BundleError, match="not this key's signature"):
        verify_signature(bundle, key_pair()[1])
    rewrite(bundle, precision="fp32")
    with pytest.raises(BundleError, match="not this key's signature"):
        verify_signature(bundle, public)
    (bundle / "manifest.sig").write_text("ä")
    with pytest.raises(BundleError, match="not this key's signature"):
        verify_signature(bundle, public)


def test_keys_that_are_not_ed25519_keys_are_refused(bundle: Path) -> None:
    pytest.importorskip("cryptography")
    private, public = key_pair()
    with pytest.raises(BundleError, match="private key cannot be read"):
        sign(bundle, public)
    with pytest.raises(BundleError, match="public key cannot be read"):
        verify_signature(bundle, private)


def test_fingerprints_follow_values_and_contents(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"1")
    first = fingerprint({"a": 1, "file": file, "list": [1, "x"]})
    assert first == fingerprint({"list": [1, "x"], "file": file, "a": 1})
    others = [
        fingerprint({"a": "1", "file": file, "list": [1, "x"]}),
        fingerprint({"a": 1, "file": str(file), "list": [1, "x"]}),
        fingerprint({"a": 1, "file": b"1", "list": [1, "x"]}),
        fingerprint({"a": 1, "file": file, "list": ["x", 1]}),
    ]
    file.write_bytes(b"2")
    others.append(fingerprint({"a": 1, "file": file, "list": [1, "x"]}))
    assert len({first, *others}) == 6
    with pytest.raises(TypeError, match="cannot fingerprint a set"):
        fingerprint({"a": {1}})


def test_reading_a_bundle_loads_nothing_heavy() -> None:
    program = (
        "import sys, tts_trt.artifacts; "
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'cryptography', 'tensorrt_rtx'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout.strip() == "[]", result.stderr
