"""API keys: printed once when they are made, kept as salted SHA-256, compared in constant time.

    tts-<12 hex: which key>-<43 characters: the secret, 256 random bits>

A slow hash would protect a guessable password; a random secret of 256 bits cannot be guessed, and a slow hash on every
request would be a way to keep the server busy.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tts_trt.atomic import write_atomic
from tts_trt.errors import ConfigError, UsageError

PREFIX = "tts"


@dataclass(frozen=True)
class Key:
    name: str
    salt: str
    sha256: str
    created: str


def make_key(path: Path, name: str) -> str:
    """Adds a key called ``name`` to the file, readable by its owner only, and returns it: it cannot be read again.
    UsageError when there is a key of that name."""
    if not name.strip() or len(name) > 64 or not name.isprintable():
        raise UsageError(f"a key cannot be called {name!r}: expected 1 to 64 printable characters")
    keys = read_keys(path) if path.exists() else {}
    if any(key.name == name for key in keys.values()):
        raise UsageError(
            f"{path} has a key called {name!r}", hint="choose another name, or remove that entry"
        )
    number, secret, salt = secrets.token_hex(6), secrets.token_urlsafe(32), secrets.token_hex(16)
    keys[number] = Key(name, salt, _hash(salt, secret), datetime.now(UTC).isoformat(timespec="seconds"))
    document = {"keys": {n: vars(key) for n, key in keys.items()}}
    mask = os.umask(0o077)
    try:
        write_atomic(path, [json.dumps(document, indent=1).encode(), b"\n"])
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        os.umask(mask)
    return f"{PREFIX}-{number}-{secret}"


def read_keys(path: Path) -> dict[str, Key]:
    """By their number. ConfigError for a file that is not one of ``make_key``."""
    try:
        document = json.loads(path.read_bytes())
        return {number: Key(**fields) for number, fields in document["keys"].items()}
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no {path}", hint=f"tts-trt serve --keys {path} --make-key NAME"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is not a file of API keys: {error}") from error


class Keyring:
    """Whose key is this?"""

    def __init__(self, keys: Mapping[str, Key]) -> None:
        self._keys = dict(keys)

    @classmethod
    def read(cls, path: Path) -> Keyring:
        keys = read_keys(path)
        if not keys:
            raise ConfigError(f"{path} has no keys", hint=f"tts-trt serve --keys {path} --make-key NAME")
        return cls(keys)

    def owner(self, authorization: str | None) -> str | None:
        """Name of the key in an Authorization header, ``Bearer KEY`` or Basic with the key as password; None for no
        key, or none of ours."""
        parts = (_presented(authorization) or "").split("-", 2)
        if len(parts) != 3 or parts[0] != PREFIX:
            return None
        key = self._keys.get(parts[1])
        known = key or Key("", "", "", "")
        right = hmac.compare_digest(_hash(known.salt, parts[2]), known.sha256)
        return known.name if key and right else None


def _presented(header: str | None) -> str | None:
    scheme, _, rest = (header or "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return None
    return None


def _hash(salt: str, secret: Any) -> str:
    return hashlib.sha256(f"{salt}:{secret}".encode(errors="replace")).hexdigest()
