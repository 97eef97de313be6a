"""The server keeps the promises of its own OpenAPI schema; the short form of scripts/server/fuzz.py."""

from __future__ import annotations

import pytest

from tests.serve.rig import Served

fuzzing = pytest.importorskip("scripts.server.fuzz", reason="schemathesis is not installed")


def test_no_request_of_the_schema_or_against_it_breaks_the_server(served: Served) -> None:
    answers = fuzzing.fuzz(served.url, examples=5)
    assert {"POST /v1/audio/speech", "POST /v1/audio/voices", "GET /health/ready"} <= set(answers)
    assert served.supervisor.restarts == 0


def test_the_schema_says_what_may_come_back(served: Served) -> None:
    schema = served.client.get("/openapi.json").json()
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            assert {"200", "400", "401", "413", "429", "503"} <= set(operation["responses"]), (method, path)
            assert "422" not in operation["responses"]
