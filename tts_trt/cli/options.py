"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelOption = Annotated[str, typer.Option(help="nano, or a model folder")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON document last on stdout")]
OutOption = Annotated[Path, typer.Option(help="folder of bundles")]
ExecutorOption = Annotated[str, typer.Option(help="auto, onnxruntime, tensorrt-rtx or tensorrt")]
ThreadsOption = Annotated[int, typer.Option(min=0, max=256, help="CPU threads, 0: all cores")]
DeviceOption = Annotated[
    str, typer.Option(help="auto, cpu, cuda or cuda:N; auto: a GPU for TensorRT, else the CPU")
]
CorpusOption = Annotated[Path | None, typer.Option(help="corpus file; default: the one that ships")]
BundleArgument = Annotated[Path, typer.Argument(help="folder of the bundle", show_default=False)]
