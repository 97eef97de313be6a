"""The bundles that are compared, opened, and what else an item of the report depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tts_trt.artifacts import load_manifest
from tts_trt.errors import UsageError
from tts_trt.manifest import MANIFEST, Manifest
from tts_trt.report.swap import check_same_model
from tts_trt.runtime.executors import AUTO
from tts_trt.runtime.synthesizer import Synthesizer

AGAIN = "baseline, other seeds"
AGAIN_OFFSET = 5_000_011
"""Added to every seed of the baseline's second reading; prime, so that no plan's seeds come up twice."""


@dataclass(frozen=True)
class Subject:
    """``identity``: hash of the manifest, which names every file by hash. ``seed_offset`` is for free speech only: over
    given codes everybody has the same noise."""

    name: str
    identity: str
    tts: Synthesizer
    seed_offset: int = 0
    path: Path | None = None
    manifest: Manifest | None = None

    @property
    def again(self) -> bool:
        """The baseline against itself."""
        return bool(self.seed_offset)


@contextmanager
def opened(
    baseline: Path, candidates: Sequence[Path], *, against_itself: bool, threads: int, device: str = AUTO
) -> Iterator[list[Subject]]:
    """The baseline first, its second reading last. UsageError for a bundle named twice or of another model, or nothing to compare; errors of
    ``Synthesizer.from_bundle``. The bundles are closed at the end."""
    paths = [baseline, *candidates]
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError(
            "a bundle is named twice",
            hint="--against-itself compares the baseline with itself, with other seeds",
        )
    if not candidates and not against_itself:
        raise UsageError(
            "nothing to compare the baseline with", hint="--candidate FOLDER, or --against-itself"
        )
    with ExitStack() as stack:
        found: list[Subject] = []
        for path, name in zip(paths, short_names(paths), strict=True):
            manifest = load_manifest(path)
            identity = hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
            tts = stack.enter_context(Synthesizer.from_bundle(path, threads=threads, device=device))
            found.append(Subject(name, identity, tts, path=path, manifest=manifest))
            check_same_model(found[0].tts.bundle, tts.bundle, (found[0].name, name))
        if against_itself:
            first = found[0]
            again = Subject(AGAIN, first.identity, first.tts, AGAIN_OFFSET, first.path, first.manifest)
            found.append(again)
        yield found


def short_names(paths: Sequence[Path]) -> list[str]:
    """Folder names, or whole paths where two folders have one name."""
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]
