"""A bundle: one directory of engines and voice assets with a ``manifest.json`` that accounts for every byte.

with BundleWriter(Path("engines/nano-fp16")) as bundle:
    build_into(bundle.path("gpt.plan"))
    bundle.seal(model=..., precision="fp16", ...)      # hashes every file, writes the manifest

manifest = load_manifest(directory)
verify_files(directory, manifest)                      # before anything is deserialised
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from tts_trt.atomic import DISK_ERRORS, atomic_directory, write_atomic
from tts_trt.errors import BundleError
from tts_trt.manifest import MANIFEST, SCHEMA_VERSION, SIGNATURE, FileEntry, Manifest, bundle_path

REBUILD = "tts-trt build"


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(inputs: Mapping[str, object]) -> str:
    """SHA-256 over named inputs, in any order: JSON values by value, bytes and Paths by content. TypeError
    for anything else. Builds whose inputs have one fingerprint make the same artefact."""

    def encode(value: object) -> object:
        if isinstance(value, Path):
            return {"sha256 of file": sha256_file(value)}
        if isinstance(value, bytes):
            return {"sha256 of bytes": hashlib.sha256(value).hexdigest()}
        raise TypeError(f"cannot fingerprint a {type(value).__name__}")

    text = json.dumps(dict(inputs), sort_keys=True, default=encode, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class BundleWriter:
    """Collects files beside ``target`` and swaps them in, sealed, when the block ends. Until then, and after
    any exception or kill, a bundle already at ``target`` is untouched. BundleError when the disk is full,
    when ``target`` is something else than a bundle, or when the block ends without ``seal``."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self._stack = ExitStack()
        self._sealed = False

    def __enter__(self) -> Self:
        if _is_something_else(self.target):
            raise BundleError(f"{self.target} exists and is not a bundle", hint="name another directory")
        try:
            self._folder = self._stack.enter_context(atomic_directory(self.target))
        except OSError as error:
            raise BundleError(f"cannot write beside {self.target}: {error}") from error
        return self

    @property
    def folder(self) -> Path:
        """Where the bundle is being made; gone when the block ends."""
        return self._folder

    def path(self, relative: str) -> Path:
        """Where to write a file of the bundle; its folder exists."""
        try:
            path = self._folder / bundle_path(relative)
        except ValueError as error:
            raise BundleError(str(error)) from error
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def add(self, relative: str, source: Path | bytes) -> None:
        """A copy of a file, or a file with this content."""
        if isinstance(source, bytes):
            self.path(relative).write_bytes(source)
        else:
            shutil.copyfile(source, self.path(relative))

    def seal(self, **fields: Any) -> Manifest:
        """``fields`` of the manifest: all but ``files``, which is taken from the disk, and ``created``,
        now."""
        files = {
            name: FileEntry(sha256=sha256_file(path), bytes=path.stat().st_size)
            for name, path in _walk(self._folder).items()
            if name != MANIFEST
        }
        try:
            manifest = Manifest.model_validate({"created": datetime.now(UTC), "files": files} | fields)
        except ValidationError as error:
            raise BundleError(f"the manifest does not fit its schema: {_first_problem(error)}") from error
        write_atomic(self._folder / MANIFEST, [manifest.model_dump_json(indent=2).encode(), b"\n"])
        self._sealed = True
        return manifest

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        unsealed = error is None and not self._sealed
        if unsealed:
            error = BundleError(f"{self.target} was never sealed")
        try:
            self._stack.__exit__(type(error) if error else None, error, traceback)
        except OSError as failure:
            error = failure
        if unsealed and error:
            raise error
        if isinstance(error, OSError) and (kind is None or error.errno in DISK_ERRORS):
            raise BundleError(
                f"cannot write {self.target}: {error.strerror}", hint="free some space"
            ) from error


def load_manifest(directory: Path) -> Manifest:
    """BundleError for a directory without a manifest, one that is damaged, or one of a newer schema."""
    path = directory / MANIFEST
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise BundleError(f"{directory} is not a bundle: it has no {MANIFEST}", hint=REBUILD) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read: {error}", hint=REBUILD) from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema {version}; this tts_trt knows up to {SCHEMA_VERSION}", hint="upgrade tts_trt"
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        raise BundleError(f"{path} does not fit its schema: {_first_problem(error)}", hint=REBUILD) from error


def verify_files(directory: Path, manifest: Manifest) -> None:
    """BundleError naming the first file that is missing, extra, of another size or of another content."""
    found = _walk(directory)
    extra = sorted(found.keys() - manifest.files.keys() - {MANIFEST, SIGNATURE})
    if extra:
        raise BundleError(f"{directory / extra[0]} is not in the manifest", hint="remove it, or build again")
    for name, entry in manifest.files.items():
        if name not in found:
            raise BundleError(f"{directory / name} is missing", hint=REBUILD)
        try:
            size, digest = found[name].stat().st_size, sha256_file(found[name])
        except OSError as error:
            raise BundleError(f"{directory / name} cannot be read: {error.strerror}") from error
        if size != entry.bytes:
            raise BundleError(f"{directory / name}: {size} bytes, expected {entry.bytes}", hint=REBUILD)
        if digest != entry.sha256:
            raise BundleError(f"{directory / name}: SHA-256 {digest}, expected {entry.sha256}", hint=REBUILD)


def sign(directory: Path, private_key_pem: bytes) -> None:
    """Writes the Ed25519 signature of the manifest, and through its hashes of every file."""
    serialization, ed25519, _ = _cryptography()
    try:
        key = serialization.load_pem_private_key(private_key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise BundleError(f"the private key cannot be read: {error}") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise BundleError(f"the private key is {type(key).__name__}, expected Ed25519")
    signature = key.sign((directory / MANIFEST).read_bytes())
    write_atomic(directory / SIGNATURE, [base64.b64encode(signature), b"\n"])


def verify_signature(directory: Path, public_key_pem: bytes) -> None:
    """BundleError unless the manifest was signed by this key; ``verify_files`` extends that to the files."""
    serialization, ed25519, invalid_signature = _cryptography()
    try:
        key = serialization.load_pem_public_key(public_key_pem)
    except ValueError as error:
        raise BundleError(f"the public key cannot be read: {error}") from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise BundleError(f"the public key is {type(key).__name__}, expected Ed25519")
    try:
        signature = base64.b64decode((directory / SIGNATURE).read_bytes().strip(), validate=True)
        key.verify(signature, (directory / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise BundleError(f"{directory} is not signed: it has no {Path(error.filename).name}") from error
    except (ValueError, invalid_signature) as error:
        raise BundleError(f"{directory / SIGNATURE} is not this key's signature of {MANIFEST}") from error


def _cryptography() -> tuple[Any, Any, type[Exception]]:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise BundleError(
            "signatures need the package cryptography", hint="pip install cryptography"
        ) from error
    return serialization, ed25519, InvalidSignature


def _is_something_else(target: Path) -> bool:
    if target.is_symlink() or target.is_file():
        return True
    return target.is_dir() and not (target / MANIFEST).is_file() and any(target.iterdir())


def _walk(directory: Path) -> dict[str, Path]:
    """Every regular file by its relative path. BundleError for links and special files, which could name
    something outside the bundle."""
    files = {}
    for folder, names, leaves in os.walk(directory):
        for leaf in names + leaves:
            path = Path(folder, leaf)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                files[path.relative_to(directory).as_posix()] = path
            elif not stat.S_ISDIR(mode):
                raise BundleError(f"{path} is a link or a special file; a bundle has only plain files")
    return files


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'manifest'}: {problem['msg']}"
