from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serve.rig import Served, serving, settings


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Without keys, on loopback; its bundles hum."""
    with serving(settings(tmp_path_factory.mktemp("served"))) as here:
        yield here
