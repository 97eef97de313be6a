"""The directory that an IndexTTS-2 download makes: which files, what each is for, where it comes from, how large it is.

DIR/config.yaml  gpt.pth  s2mel.pth  bpe.model  wav2vec2bert_stats.pt  feat1.pt  feat2.pt     IndexTeam/IndexTTS-2
DIR/qwen0.6bemo4-merge/                    (optional: emotion from text)                      IndexTeam/IndexTTS-2
DIR/semantic_codec/model.safetensors                                                          amphion/MaskGCT
DIR/campplus_cn_common.bin                                                                    funasr/campplus
DIR/w2v-bert-2.0/config.json, model.safetensors                                               facebook/w2v-bert-2.0
DIR/bigvgan_v2_22khz_80band_256x/config.json, bigvgan_generator.pt                            nvidia/...
DIR/voices/*.wav                           (optional: reference recordings by name)

The four last repositories are also found where the upstream program leaves them: in DIR/hf_cache, or flat in DIR.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

CONFIG = "config.yaml"
CACHE = "hf_cache"
RELEASE = "IndexTeam/IndexTTS-2"

MB = 1_000_000


@dataclass(frozen=True)
class Part:
    """One file of the directory. ``bytes`` is what its tensors take in single precision, and so about its size."""

    name: str
    path: str  # inside the directory, where we say it belongs
    repository: str
    remote: str  # inside its repository
    bytes: int
    use: str
    needed: bool = True
    kept: str = ""  # folder that its repository is downloaded into; "" is the directory itself


W2V, BIGVGAN = "w2v-bert-2.0", "bigvgan_v2_22khz_80band_256x"

PARTS: tuple[Part, ...] = (
    Part("config", CONFIG, RELEASE, CONFIG, 3_000, "dimensions of the model"),
    Part("gpt", "gpt.pth", RELEASE, "gpt.pth", 3485 * MB, "code model, conditioners"),
    Part("s2mel", "s2mel.pth", RELEASE, "s2mel.pth", 415 * MB, "codes to mel"),
    Part("tokens", "bpe.model", RELEASE, "bpe.model", 476_000, "text to ids"),
    Part("statistics", "wav2vec2bert_stats.pt", RELEASE, "wav2vec2bert_stats.pt", 9_000, "semantic features"),
    Part("speakers", "feat1.pt", RELEASE, "feat1.pt", 57_000, "picks a row per emotion"),
    Part("emotions", "feat2.pt", RELEASE, "feat2.pt", 375_000, "a row per emotion"),
    Part(
        "codec", "semantic_codec/model.safetensors", "amphion/MaskGCT", "semantic_codec/model.safetensors",
        177 * MB, "semantic features to codes",
    ),
    Part("style", "campplus_cn_common.bin", "funasr/campplus", "campplus_cn_common.bin", 28 * MB, "timbre"),
    Part(
        "w2v_config", f"{W2V}/config.json", f"facebook/{W2V}", "config.json", 2_000,
        "dimensions of the semantic encoder", kept=W2V,
    ),
    Part(
        "w2v", f"{W2V}/model.safetensors", f"facebook/{W2V}", "model.safetensors", 2322 * MB,
        "recording to semantic features", kept=W2V,
    ),
    Part(
        "vocoder_config", f"{BIGVGAN}/config.json", f"nvidia/{BIGVGAN}", "config.json", 2_000,
        "dimensions of the vocoder", kept=BIGVGAN,
    ),
    Part(
        "vocoder", f"{BIGVGAN}/bigvgan_generator.pt", f"nvidia/{BIGVGAN}", "bigvgan_generator.pt", 449 * MB,
        "mel to wave", kept=BIGVGAN,
    ),
    Part(
        "emotion_model", "qwen0.6bemo4-merge", RELEASE, "qwen0.6bemo4-merge", 1200 * MB,
        "emotion from text; a word list stands in for it", needed=False,
    ),
)  # fmt: skip
BY_NAME = {part.name: part for part in PARTS}

RENAMED = {
    "gpt": "gpt_checkpoint",
    "s2mel": "s2mel_checkpoint",
    "statistics": "w2v_stat",
    "speakers": "spk_matrix",
    "emotions": "emo_matrix",
    "emotion_model": "qwen_emo_path",
}
"""Part -> the key of config.yaml that names its file."""


def looks_official(folder: Path) -> bool:
    """Whether someone who names this folder means an official directory: it has a config.yaml or a gpt.pth."""
    return any((folder / name).is_file() for name in (CONFIG, "gpt.pth"))


def locate(folder: Path, part: Part, named: str | None = None) -> Path | None:
    """The file (or, for the emotion model, the folder) of a part; None where it is in none of its places. ``named`` is
    what config.yaml calls it."""
    return next((path for path in _places(folder, part, named) if _is_there(path, part)), None)


def _is_there(path: Path, part: Part) -> bool:
    return (path / "config.json").is_file() if part.name == "emotion_model" else path.is_file()


def _places(folder: Path, part: Part, named: str | None) -> Iterator[Path]:
    if named:
        yield folder / named
    yield folder / part.path
    if part.repository != RELEASE:
        if not part.kept:
            yield folder / Path(part.remote).name
            yield folder / part.repository.split("/")[1] / part.remote
        cached = f"models--{part.repository.replace('/', '--')}"
        yield from sorted((folder / CACHE / cached / "snapshots").glob(f"*/{part.remote}"))


def downloads(folder: Path, parts: Iterable[Part]) -> list[str]:
    """The commands that bring these parts into a directory, one per repository."""
    wanted: dict[tuple[str, str], list[str]] = {}
    for part in parts:
        remote = f"--include '{part.remote}/*'" if part.name == "emotion_model" else part.remote
        wanted.setdefault((part.repository, part.kept), []).append(remote)
    return [
        f"hf download {repository} {' '.join(files)} --local-dir {shlex.quote(str(folder / kept))}"
        for (repository, kept), files in wanted.items()
    ]
