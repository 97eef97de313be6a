"""What `tts-trt sign` does: a signature for a bundle that is as its manifest says."""

from __future__ import annotations

from pathlib import Path

from tts_trt.artifacts import load_manifest, sign, verify_files
from tts_trt.errors import UsageError
from tts_trt.manifest import SIGNATURE


def run(bundle: Path, key: Path) -> Path:
    """The signature's file. UsageError for a key that cannot be read, BundleError for a damaged bundle or a key of
    another kind; a signature that was there before then stays."""
    try:
        private = key.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{key} cannot be read: {error.strerror}", hint=f"openssl genpkey -algorithm ed25519 -out {key}"
        ) from error
    verify_files(bundle, load_manifest(bundle))
    sign(bundle, private)
    return bundle / SIGNATURE
