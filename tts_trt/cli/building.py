"""Commands from a model to bundles: doctor, export, calibrate, build, engines, corpus stats."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tts_trt.cli.app import app, corpus_app, log, print_json, progress
from tts_trt.cli.options import (
    CorpusOption,
    ExecutorOption,
    JsonOption,
    ModelOption,
    OutOption,
    ThreadsOption,
)
from tts_trt.errors import UsageError


@app.command()
def doctor(
    model: Annotated[
        str | None,
        typer.Option(help="an IndexTTS-2 directory: what is missing from it, and where it comes from"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What this machine can build and run, and what to install for more. Exit code 1 for a model that is not whole."""
    from tts_trt.doctor import diagnose, render

    if model is not None:
        from tts_trt.official import survey

        seen = survey.survey(Path(model))
        if as_json:
            print_json(seen.to_json())
        else:
            Console().print(survey.render(seen))
        raise typer.Exit(0 if seen.whole else 1)
    found = diagnose()
    if as_json:
        print_json(found.to_json())
    else:
        Console().print(render(found))


@app.command()
def export(
    model: ModelOption = "nano",
    out: Annotated[Path, typer.Option(help="folder for the ONNX files")] = Path("engines/.export/nano"),
    as_json: JsonOption = False,
) -> None:
    """Write every graph as ONNX (opset 24), FP32 and FP16, each checked against torch."""
    from tts_trt import pipeline
    from tts_trt.models import find_model
    from tts_trt.spec import Limits

    with progress("export") as report:
        record = pipeline.export(find_model(model), out, Limits(), report)
    if as_json:
        print_json(dataclasses.asdict(record))
    for graph in record.graphs:
        log.print(f"{graph.file:32} {graph.bytes / 1e6:8.2f} MB  relative error {graph.error:.1e}")


@app.command()
def calibrate(
    model: ModelOption = "nano",
    corpus: CorpusOption = None,
    out: Annotated[
        Path | None, typer.Option(help="folder for the statistics; default: beside the exported graphs")
    ] = None,
    engines: Annotated[Path, typer.Option(help="folder of bundles, which keeps the exported graphs")] = Path(
        "engines"
    ),
    search: Annotated[
        Path | None, typer.Option(help="find the recipe that the budget allows and write it to this .toml")
    ] = None,
    top1: Annotated[
        float, typer.Option(min=0, max=0.9999, help="budget: least share of equal best codes")
    ] = 0.975,
    mel_db: Annotated[float, typer.Option(min=1e-3, help="budget: mel distance")] = 0.5,
    lsd_db: Annotated[float, typer.Option(min=1e-3, help="budget: log spectral distance of the wave")] = 0.8,
    utterances: Annotated[int, typer.Option(min=1, help="utterances the search judges by")] = 8,
    tensorrt: Annotated[
        list[str] | None, typer.Option(help="graph for TensorRT 10's own calibrator (needs a GPU); repeat")
    ] = None,
    threads: ThreadsOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Let the corpus be spoken, record what every layer sees, and on request search for a recipe."""
    from tts_trt.commands.calibrate import Asked, render, run
    from tts_trt.models import find_model
    from tts_trt.pipeline import EXPORTS
    from tts_trt.quant.sensitivity import Budget

    folder = find_model(model)
    exports = engines / EXPORTS / folder.name
    asked = Asked(
        corpus,
        out or exports / "calibration",
        exports,
        threads,
        search,
        Budget(top1, mel_db, lsd_db),
        utterances,
        tuple(tensorrt or ()),
    )
    with progress("calibrate") as report:
        figures = run(folder, asked, report)
    state = "collected" if figures["fresh"] else "up to date"
    log.print(f"{figures['out']}  {sum(figures['tensors'].values())} tensors  {state}")
    if search is not None:
        Console(stderr=as_json).print(render(figures))
        log.print(f"{search} written, its evidence beside it")
    if as_json:
        print_json(figures)


@app.command()
def build(
    model: ModelOption = "nano",
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8, another recipe, or a .toml")] = "fp32",
    executor: ExecutorOption = "auto",
    out: OutOption = Path("engines"),
    corpus: CorpusOption = None,
    calibration_cache: Annotated[
        list[str] | None,
        typer.Option(help="GRAPH=FILE: take this graph's scales from a TensorRT calibration cache; repeat"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Build one bundle: export, calibrate, compile, verify, seal. What is up to date is left alone."""
    from tts_trt import pipeline
    from tts_trt.models import find_model

    quantising = pipeline.Quantising(corpus, caches=_caches(calibration_cache or []))
    with progress(f"build {precision}") as report:
        built = pipeline.build(
            find_model(model), precision, executor, out, progress=report, quantising=quantising
        )
    _tell_built(built)
    if as_json:
        print_json(_summary(built))


@app.command()
def engines(
    model: ModelOption = "nano",
    out: OutOption = Path("engines"),
    as_json: JsonOption = False,
) -> None:
    """Every precision for this machine, portable TensorRT-RTX plans, and a demo WAV of each: `make engines`."""
    from tts_trt import pipeline
    from tts_trt.models import find_model

    folder, done = find_model(model), []
    for precision, executor in pipeline.jobs():
        with progress(f"{precision} {executor}") as report:
            built = pipeline.build(folder, precision, executor, out, progress=report)
        _tell_built(built)
        wave = pipeline.demo(built, out / ".demo")
        if wave:
            log.print(f"  speaks in {wave}")
        done.append(_summary(built) | {"demo": str(wave) if wave else None})
    if note := pipeline.missing_builders():
        log.print(f"[yellow]{note}[/yellow]")
    if as_json:
        print_json(done)


@app.command()
def sign(
    bundle: Annotated[list[Path], typer.Argument(help="folders of bundles", show_default=False)],
    key: Annotated[Path, typer.Option(help="PEM file of an Ed25519 private key", show_default=False)],
) -> None:
    """Sign bundles, so that others can require the signature: every file is verified first."""
    from tts_trt.commands.sign import run

    for folder in bundle:
        log.print(f"{run(folder, key)} written", highlight=False)


@corpus_app.command()
def stats(
    corpus: CorpusOption = None,
    model: ModelOption = "nano",
    as_json: JsonOption = False,
) -> None:
    """How evenly the calibration corpus covers rates, emotions, voices and sentence types."""
    from tts_trt.commands.corpus import describe, render
    from tts_trt.models import find_model

    figures = describe(corpus, find_model(model))
    if as_json:
        print_json(figures)
    else:
        Console().print(render(figures))


def _caches(words: list[str]) -> dict[str, Path]:
    named = {}
    for word in words:
        graph, _, file = word.partition("=")
        if not graph or not file:
            raise UsageError(
                f"{word!r} is not GRAPH=FILE", hint="--calibration-cache flow_step=flow_step.cache"
            )
        named[graph] = Path(file)
    return named


def _tell_built(built: Any) -> None:
    state = "built" if built.fresh else "up to date"
    log.print(f"{built.folder}  {built.bytes / 1e6:.1f} MB  {state}")


def _summary(built: Any) -> dict[str, Any]:
    manifest = built.manifest
    return {
        "bundle": str(built.folder),
        "precision": manifest.precision,
        "executor": manifest.executor.name,
        "bytes": built.bytes,
        "fresh": built.fresh,
        "verification": manifest.verification,
    }
