"""The HTTP surface from its own OpenAPI schema, by schemathesis, and hostile uploads beyond what a schema says.

    python -m scripts.server.fuzz --examples 300 --out benchmarks/DATE-serve-fuzz.json

No answer may be a 5xx but the declared 503, every error has the one form, every status and body is as the schema says.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import schemathesis
import soundfile
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, checks

from scripts.server.load import WIDE
from scripts.server.running import record, running

schemathesis.checks.load_all_checks()
CHECKS = [
    checks.not_a_server_error,
    *checks.CHECKS.get_by_names(
        ["status_code_conformance", "content_type_conformance", "response_schema_conformance"]
    ),
]


def fuzz(url: str, examples: int, headers: dict[str, str] | None = None, number: int = 0) -> dict[str, Any]:
    """Valid and invalid requests to every operation. AssertionError, or what schemathesis found, at the first fault."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", headers=headers or {})
    (model, *_) = httpx.get(f"{url}/v1/models", headers=headers).json()["data"]
    names = {"model": model["id"], "voice": model["voices"][0]}
    answers: dict[str, Counter[int]] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        counter = answers.setdefault(operation.label, Counter())
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            with suppress(Unsatisfiable):  # nothing of it can be made invalid
                strategy = operation.as_strategy(generation_mode=mode)
                _attack(strategy, examples, headers or {}, number, counter, names)
    return {label: {str(k): v for k, v in sorted(counter.items())} for label, counter in answers.items()}


def _attack(
    strategy: Any,
    examples: int,
    headers: dict[str, str],
    number: int,
    counter: Counter[int],
    names: dict[str, str],
) -> None:
    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def one(case: Any) -> None:
        if isinstance(case.body, dict) and "model" in case.body and counter.total() % 2:
            case.body |= (
                names  # every other one gets past the names, and every fourth past what excludes each other
            )
            if counter.total() % 4 == 3:
                case.body.pop("tts_trt", None)
        answer = case.call(headers=headers)
        counter[answer.status_code] += 1
        if answer.status_code == 503:  # declared
            assert answer.headers["retry-after"]
        else:
            case.validate_response(answer, checks=CHECKS)
        if answer.status_code >= 400:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}

    one()


def hostile() -> Iterator[tuple[str, bytes]]:
    """Uploads that are cheap to send and dear to decode, or that lie."""
    hours = io.BytesIO()
    with soundfile.SoundFile(hours, "w", 8000, 1, format="OGG", subtype="OPUS") as file:
        tone = (0.1 * np.sin(np.arange(8000 * 60) * 0.3)).astype(np.float32)
        while hours.tell() < 9.9e6:
            file.write(tone)
    yield "hours of Opus", hours.getvalue()
    yield "25 MB of hours of Opus", hours.getvalue() * 2 + hours.getvalue()[: 5 * 10**6]
    flac = io.BytesIO()
    with soundfile.SoundFile(flac, "w", 8000, 1, format="FLAC") as file:
        for _ in range(24 * 60):
            file.write(np.zeros(8000 * 60, np.int16))
    yield "a day of silent FLAC", flac.getvalue()
    rng = np.random.default_rng(0)
    for i in range(40):
        content = bytearray(hours.getvalue()[:20_000])
        for place in rng.integers(0, len(content), 50):
            content[place] = rng.integers(256)
        yield f"damaged Opus {i}", bytes(content)
    for i in range(40):
        content = bytearray(flac.getvalue()[:20_000])
        for place in rng.integers(0, 200, 5):
            content[place] = rng.integers(256)
        yield f"damaged FLAC {i}", bytes(content)


def upload(url: str, content: bytes) -> int:
    data, files = {"name": "fuzz", "consent": "true"}, {"audio_sample": ("../../x.wav", content)}
    answer = httpx.post(f"{url}/v1/audio/voices", data=data, files=files, timeout=60)
    if answer.status_code == 200:
        httpx.delete(f"{url}/v1/audio/voices/{answer.json()['id']}")
    return answer.status_code


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=Path("engines/nano-fp32-onnxruntime"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--examples", type=int, default=300, help="of each operation, valid and invalid each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with running([asked.bundle], asked.threads, **WIDE) as server:
        worker = server.worker()
        answers = fuzz(server.url, asked.examples, number=asked.seed)
        uploads = Counter(upload(server.url, content) for _, content in hostile())
        figures = {"operations": answers, "hostile_uploads": {str(k): v for k, v in uploads.items()}}
        figures["same_worker"] = server.worker() == worker
        figures["memory_mib"] = {name: round(value) for name, value in server.memory().items()}
    figures["passed"] = set(uploads) <= {200, 400, 413, 503} and figures["same_worker"]
    record(asked.out, ["scripts.server.fuzz", *sys.argv[1:]], figures)
    sys.exit(not figures["passed"])


if __name__ == "__main__":
    main()
