"""Image, compose file, unit: checked by the programs that read them, as far as they can without a Docker engine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.test_wheel import PIP
from tests.test_wheel import run as run_apart
from tts_trt.serve.auth import make_key
from tts_trt.serve.settings import read_settings, require_safe

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def program(name: str, extra: str) -> str:
    """A program beside this Python, or anywhere."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: {extra}")
    return found


def said_by(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def stages() -> dict[str, str]:
    """Name -> instructions, the lines of one joined."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    parts = re.split(r"^FROM (\S+) AS (\S+)$", text, flags=re.MULTILINE)[1:]
    return {name: f"FROM {base}{body}" for base, name, body in zip(*[iter(parts)] * 3, strict=True)}


def copied(stage: str) -> list[str]:
    """Sources that a stage takes from the build context."""
    lines = re.findall(r"^COPY (?!--)(.+)$", stages()[stage], flags=re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_hadolint_finds_nothing() -> None:
    assert said_by(program("hadolint", "pip install 'tts-trt[dev]'"), "Dockerfile") == ""


def test_both_images_run_without_root_on_fixed_bases() -> None:
    for name in ("cpu", "cuda"):
        assert re.search(r"^USER 10001$", stages()[name], flags=re.MULTILINE)
        assert 'ENTRYPOINT ["tts-trt"]' in stages()[name]
    bases = {body.split()[1] for body in stages().values()}
    assert all(re.search(r":\d+\.\d+\.\d+-", base) for base in bases)


@pytest.mark.parametrize("stage", ["build-cpu", "build-cuda"])
def test_the_context_holds_what_is_copied_and_no_more(stage: str) -> None:
    kept = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), flags=re.MULTILINE)
    assert sorted(copied(stage)) == sorted(kept)
    assert all((ROOT / source).exists() for source in kept)


@pytest.mark.slow
def test_the_package_builds_from_what_is_copied(tmp_path: Path) -> None:
    context = tmp_path / "context"
    for source in copied("build-cpu"):
        (context / source).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, context / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / source, context / source)
    run_apart(
        (*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, context), tmp_path
    )
    (wheel,) = tmp_path.glob("tts_trt-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "tts_trt/serve/static/app.js",
        "tts_trt/assets/nano/config.json",
        "tts_trt/_calibration/corpus.toml",
    } <= names


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_the_health_check_tells_up_from_down(name: str) -> None:
    (words,) = re.findall(r"^HEALTHCHECK .*?CMD (\[.+\])$", stages()[name], flags=re.MULTILINE)

    class Live(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health/live" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Live)
    Thread(target=server.serve_forever, daemon=True).start()
    command = [
        word.replace("127.0.0.1:8000", f"127.0.0.1:{server.server_port}") for word in json.loads(words)
    ]
    command[0] = sys.executable
    try:
        assert subprocess.run(command, timeout=60).returncode == 0
    finally:
        server.shutdown()
        server.server_close()
    assert subprocess.run(command, capture_output=True, timeout=60).returncode != 0


def composed() -> dict[str, Any]:
    compose = program("docker-compose", "pip install 'tts-trt[dev]'")
    services: dict[str, Any] = json.loads(said_by(compose, "--profile", "*", "config", "--format", "json"))[
        "services"
    ]
    return services


def test_compose_reads_its_file_and_every_service_is_locked_down() -> None:
    services = composed()
    assert set(services) == {"cpu", "cuda"}
    for name, service in services.items():
        assert service["build"]["target"] == name
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert [port["host_ip"] for port in service["ports"]] == ["127.0.0.1"]
        writable = [v["target"] for v in service["volumes"] if not v.get("read_only")]
        assert writable == ["/var/lib/tts-trt"]
    assert services["cuda"]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


def test_the_settings_in_the_container_are_safe_and_lie_where_compose_mounts(tmp_path: Path) -> None:
    shutil.copy(ROOT / "deploy" / "serve.toml", tmp_path)
    make_key(tmp_path / "keys.json", "studio")
    settings = read_settings(tmp_path / "serve.toml")
    require_safe(settings)
    assert settings.server.keys == tmp_path / "keys.json"
    assert str(settings.server.voices).startswith("/var/lib/tts-trt/")
    assert settings.server.drain_seconds < 70  # what compose.yaml and the unit wait before they kill
    assert all(fnmatch(str(folder), "/engines/*") for folder in settings.engines.bundles)
    mounts = {volume["target"] for volume in composed()["cpu"]["volumes"]}
    assert {"/engines", "/etc/tts-trt", "/var/lib/tts-trt"} == mounts


def test_systemd_reads_the_unit(tmp_path: Path) -> None:
    analyze = program("systemd-analyze", "apt install systemd")
    unit = (ROOT / "deploy" / "tts-trt.service").read_text()
    (tmp_path / "tts-trt.service").write_text(unit.replace("/opt/tts-trt/bin/tts-trt", sys.executable))
    assert said_by(analyze, "verify", str(tmp_path / "tts-trt.service")) == ""
