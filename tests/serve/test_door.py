"""Who gets in, how often, and with how much: keys, hosts, origins, rates, sizes."""

from __future__ import annotations

import base64
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serve.rig import Served, body, serving, settings
from tts_trt.errors import ConfigError, UsageError
from tts_trt.serve.auth import Keyring, make_key, read_keys
from tts_trt.serve.errors import ApiError
from tts_trt.serve.rates import Rates
from tts_trt.serve.settings import Limits, Settings, is_loopback, read_settings, require_safe


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str, str]]:
    folder = tmp_path_factory.mktemp("keys")
    keys = [make_key(folder / "keys.json", name) for name in ("anna", "ben")]
    limits = {"requests_per_minute": 30, "upload_bytes": 100_000, "text_characters": 200}
    asked = settings(folder, server={"keys": folder / "keys.json", "body_seconds": 0.5}, limits=limits)
    with serving(asked) as here:
        yield here, *keys


def test_a_key_is_kept_as_a_hash_only(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key = make_key(path, "studio")
    secret = key.split("-", 2)[2]
    assert secret not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    other = make_key(path, "second")
    ring = Keyring.read(path)
    assert ring.owner(f"Bearer {key}") == "studio"
    assert ring.owner(f"bearer  {other}") == "second"
    assert ring.owner("Basic " + base64.b64encode(f"me:{key}".encode()).decode()) == "studio"
    for wrong in (
        None,
        "",
        key,
        f"Bearer {key}x",
        f"Bearer {key[:-1]}",
        "Bearer tts--",
        "Basic ===",
        "Bearer é",
    ):
        assert ring.owner(wrong) is None
    mixed = "-".join([*key.split("-", 2)[:2], other.split("-", 2)[2]])
    assert ring.owner(f"Bearer {mixed}") is None


def test_a_key_file_is_never_lost(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    make_key(path, "studio")
    before = path.read_bytes()
    for name in ("studio", "", " ", "a\nb", "x" * 65):
        with pytest.raises(UsageError):
            make_key(path, name)
    assert path.read_bytes() == before
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(ConfigError, match="not a file of API keys"):
        make_key(tmp_path / "bad.json", "x")
    with pytest.raises(ConfigError, match="make-key"):
        read_keys(tmp_path / "none.json")
    (tmp_path / "empty.json").write_text('{"keys": {}}')
    with pytest.raises(ConfigError, match="has no keys"):
        Keyring.read(tmp_path / "empty.json")


def test_every_route_but_one_wants_a_key(locked: tuple[Served, str, str]) -> None:
    here, key, _ = locked
    paths = [
        *httpx.get(f"{here.url}/openapi.json", headers=bearer(key)).json()["paths"],
        "/openapi.json",
        "/x",
        "/",
    ]
    assert "/v1/audio/speech" in paths
    for path in paths:
        for method in ("GET", "POST", "DELETE"):
            answer = httpx.request(method, here.url + path)
            if path == "/health/live":
                assert answer.status_code in (200, 405)
            else:
                assert answer.status_code == 401, path
                assert answer.json()["error"]["code"] == "invalid_api_key"
    assert httpx.get(here.url).headers["www-authenticate"].startswith("Basic")
    assert httpx.get(f"{here.url}/v1/models", headers=bearer(key)).status_code == 200
    assert httpx.get(f"{here.url}/v1/models", auth=("anyone", key)).status_code == 200


def test_a_rate_is_each_key_s_own(locked: tuple[Served, str, str]) -> None:
    here, anna, ben = locked
    codes = []
    with httpx.Client(base_url=here.url, headers=bearer(anna)) as client:
        while codes.count(429) < 2:
            assert len(codes) < 60
            answer = client.post("/v1/audio/speech", json=body(model="none"))
            codes.append(answer.status_code)
        assert 1 <= int(answer.headers["retry-after"]) <= 2
        assert answer.json()["error"]["type"] == "rate_limit_error"
        assert client.get("/v1/models").status_code == 200  # looking is free
    assert (
        httpx.post(f"{here.url}/v1/audio/speech", json=body(model="none"), headers=bearer(ben)).status_code
        == 404
    )


def test_a_body_is_limited_in_size_and_time(locked: tuple[Served, str, str]) -> None:
    here, _, ben = locked
    headers = bearer(ben) | {"content-type": "application/json"}

    def long() -> Iterator[bytes]:
        yield b'{"input": "'
        for _ in range(200):
            yield b"a" * 1000
        yield b'"}'

    def slow() -> Iterator[bytes]:
        import time

        yield b'{"input": "'
        for _ in range(20):
            time.sleep(0.1)
            yield b"a"

    for content in (b"a" * 200_000, long()):
        answer = httpx.post(f"{here.url}/v1/audio/speech", content=content, headers=headers)
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "too_large"
    answer = httpx.post(f"{here.url}/v1/audio/speech", content=slow(), headers=headers)
    assert answer.status_code == 408


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"host": "attacker.example"}, "host_not_allowed"),
        ({"host": "127.0.0.1.attacker.example:80"}, "host_not_allowed"),
        ({"host": ""}, "host_not_allowed"),
        ({"host": "localhost@attacker.example"}, "host_not_allowed"),
        ({"origin": "https://attacker.example"}, "origin_not_allowed"),
        ({"origin": "null"}, "origin_not_allowed"),
        ({"origin": "http://127.0.0.1:1"}, "origin_not_allowed"),
    ],
)
def test_a_page_of_somebody_else_gets_nothing(served: Served, headers: dict[str, str], code: str) -> None:
    answer = served.client.get("/v1/models", headers=headers)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == code


def test_this_machine_s_own_names_and_pages_do(served: Served) -> None:
    for headers in ({"host": "localhost"}, {"host": "[::1]:8000"}, {"origin": served.url}):
        assert served.client.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/", "/health/live", "/static/app.js", "/nothing"])
def test_no_answer_is_guessed_at_or_framed(served: Served, path: str) -> None:
    answer = served.client.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "frame-ancestors 'none'"


def test_a_page_that_is_listed_may_ask(tmp_path: Path) -> None:
    key = make_key(tmp_path / "keys.json", "studio")
    own = {"keys": tmp_path / "keys.json", "origins": ["https://studio.example"]}
    with serving(settings(tmp_path, server=own)) as here:
        origin = {"origin": "https://studio.example"}
        asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        answer = here.client.options("/v1/audio/speech", headers=origin | asks)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://studio.example"
        answer = here.client.get("/v1/models", headers=origin | bearer(key))
        assert answer.headers["access-control-allow-origin"] == "https://studio.example"
        assert here.client.get("/v1/models", headers=origin).status_code == 401
        assert (
            here.client.get("/v1/models", headers=bearer(key) | {"origin": "https://x.example"}).status_code
            == 403
        )


def test_a_bucket_fills_with_time_and_callers_do_not_share_it() -> None:
    now = [0.0]
    rates = Rates(Limits(requests_per_minute=2, concurrent=1, connections=2), clock=lambda: now[0])

    def ask(caller: str = "anna") -> None:
        with rates.place(caller, work=True):
            pass

    ask()
    ask()
    with pytest.raises(ApiError) as refused:
        ask()
    assert (refused.value.status_code, refused.value.headers) == (429, {"Retry-After": "30"})
    ask("ben")
    now[0] = 30.0
    ask()
    with pytest.raises(ApiError):
        ask()
    now[0] = 1e6
    with rates.place("anna", work=True), pytest.raises(ApiError, match="in work") as refused:
        ask()
    assert refused.value.status_code == 429
    with rates.place("anna", work=False), rates.place("ben", work=False), pytest.raises(ApiError) as refused:
        ask("cora")
    assert refused.value.status_code == 503


def test_beyond_this_machine_keys_are_needed(tmp_path: Path) -> None:
    assert is_loopback("127.8.8.8") and is_loopback("::1") and is_loopback("localhost")
    engines = {"bundles": ["b"]}
    make_key(tmp_path / "k.json", "studio")
    for host in ("0.0.0.0", "::", "192.168.1.4", "example.org"):
        assert not is_loopback(host)
        with pytest.raises(UsageError, match="make-key"):
            require_safe(Settings.model_validate({"server": {"host": host}, "engines": engines}))
        server = {"host": host, "keys": tmp_path / "k.json"}
        require_safe(Settings.model_validate({"server": server, "engines": engines}))
    with pytest.raises(ConfigError, match="there is no"):
        require_safe(Settings.model_validate({"server": {"keys": tmp_path / "none"}, "engines": engines}))
    with pytest.raises(UsageError, match="no bundle"):
        require_safe(Settings())
    with pytest.raises(UsageError, match="called b"):
        require_safe(Settings.model_validate({"engines": {"bundles": ["x/b", "y/b"]}}))


def test_settings_come_from_a_file_and_options_win(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(
        '[server]\nport = 9000\nkeys = "k.json"\n[engines]\nbundles = ["one", "/two"]\n[models]\n"tts-1" = "one"\n'
    )
    found = read_settings(path, server={"port": 9001, "host": None}, engines={"threads": 2})
    assert (found.server.port, found.server.host, found.engines.threads) == (9001, "127.0.0.1", 2)
    assert found.server.keys == tmp_path / "k.json"
    assert found.engines.bundles == (tmp_path / "one", Path("/two"))
    assert found.models == {"tts-1": "one"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nprot = 1\n", "server.prot"),
        ("[sever]\n", "sever"),
        ("[server]\nport = 70000\n", "server.port"),
        ("[policies]\nopera = 'x'\n", "policies.opera"),
        ("server = 3\n", "server"),
        ("[server\n", "cannot be read"),
        ("\x00", "cannot be read"),
    ],
)
def test_a_settings_file_that_does_not_fit_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_settings(path, server={"port": None})


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}
