"""Settings of the server: a TOML file, then options of the command line; unknown keys are refused.

[server]   where it listens, who may ask, how long things may take
[engines]  which bundles, on what, how many rows
[limits]   what one caller and all together may ask
[models]   other names of models, "tts-1" = "nano"          [voices]  other names of voices, alloy = "slt"
[policies] live = "nano-int8-onnxruntime"                   which bundle a policy means
"""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tts_trt.errors import ConfigError, UsageError
from tts_trt.serve.auth import Keyring

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Some = Annotated[int, Field(ge=1)]
PolicyName = Literal["live", "dubbing", "audiobook"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(_Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000  # 0: any free one
    keys: Path | None = None  # file of API keys; needed where host is not this machine's own
    voices: Path | None = None  # folder of uploaded voices; None: they are forgotten with the process
    origins: tuple[str, ...] = ()  # other origins whose pages may call, such as "https://studio.example"
    request_seconds: Seconds = 120.0  # a speech request may take
    body_seconds: Seconds = 30.0  # a body may take to arrive
    start_seconds: Seconds = 300.0  # the worker may take to load
    restart_wait_seconds: Seconds = 20.0  # a request waits for a worker that is being restarted
    silence_seconds: Seconds = 10.0  # without a sign of life, or of progress on work, the worker is replaced
    stall_seconds: Seconds = 60.0
    drain_seconds: Seconds = 60.0  # running requests may take to finish after SIGTERM


class EngineSettings(_Section):
    bundles: tuple[Path, ...] = ()
    public_key: Path | None = None  # bundles must be signed by it, or by one in this folder
    report: Path | None = None  # report.json of `tts-trt report`: what policies choose bundles by
    threads: Annotated[int, Field(ge=0, le=256)] = (
        1  # of one piece of work; the scheduler keeps the cores busy
    )
    device: str = "auto"
    rows: Some = 8  # segments decoded at the same time
    queue: Some = 32  # requests that may wait for a row
    first_codes: Some = 20  # of a stream: codes before the first chunk, and between further ones
    chunk_codes: Some = 40


class Limits(_Section):
    text_characters: Some = 4096
    upload_bytes: Some = 10 * 2**20
    upload_seconds: Seconds = 30.0  # of decoded audio
    voices: Some = 64  # uploaded ones
    requests_per_minute: Some = 600  # of one key, or of one address where there are no keys
    concurrent: Some = 64  # requests of one caller at a time
    connections: Some = 256  # requests of all at a time


class Settings(_Section):
    server: ServerSettings = ServerSettings()
    engines: EngineSettings = EngineSettings()
    limits: Limits = Limits()
    models: dict[str, str] = {}
    voices: dict[str, str] = {}
    policies: dict[PolicyName, str] = {}


def read_settings(path: Path | None, **options: dict[str, Any]) -> Settings:
    """``options``: per section what the command line says, None where it says nothing. ConfigError for a file that
    is not TOML or has unknown keys; relative paths in a file start at its folder."""
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
        values = _rooted(values, path.parent)
    for section, given in options.items():
        own = values.setdefault(section, {})
        if isinstance(own, dict):
            own.update({name: value for name, value in given.items() if value is not None})
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise ConfigError(
            f"{path or 'the options'}: {where}: {problem['msg']}", hint="docs/serving.md lists every setting"
        ) from error


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_safe(settings: Settings) -> None:
    """UsageError for a server that anyone could use without a key, ConfigError for keys that cannot be read."""
    if settings.server.keys is None and not is_loopback(settings.server.host):
        raise UsageError(
            f"binding to {settings.server.host} would let anyone on the network in: no API keys are set",
            hint="tts-trt serve --keys keys.json --make-key NAME, then start with --keys keys.json",
        )
    if settings.server.keys is not None:
        Keyring.read(settings.server.keys)  # before engines are loaded
    if not settings.engines.bundles:
        raise UsageError("no bundle to serve", hint="tts-trt serve --bundle engines/nano-fp32-onnxruntime")
    names = [folder.resolve().name for folder in settings.engines.bundles]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two bundles are called {twice[0]}; clients tell bundles by their folder's name")


_PATHS = (("server", "keys"), ("server", "voices"), ("engines", "public_key"), ("engines", "report"))


def _rooted(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    def rooted(value: Any) -> Any:
        return str(folder / value) if isinstance(value, str) else value

    made = {name: dict(section) if isinstance(section, dict) else section for name, section in values.items()}
    for section, name in _PATHS:
        if isinstance(made.get(section), dict) and name in made[section]:
            made[section][name] = rooted(made[section][name])
    engines = made.get("engines")
    if isinstance(engines, dict) and isinstance(engines.get("bundles"), list):
        engines["bundles"] = [rooted(folder) for folder in engines["bundles"]]
    return made
