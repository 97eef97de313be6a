"""The command line: one subcommand per stage. Exit 0 on success, 2 on wrong use, 1 on failure.

With ``--json`` the last line on stdout is one JSON document; everything else goes to stderr.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tts_trt.errors import TtsTrtError, UsageError

app = typer.Typer(
    name="tts-trt",
    help="Zero-shot text-to-speech as verified engines: export, build, verify, speak, measure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
corpus_app = typer.Typer(help="What is spoken to calibrate INT8 scales.", no_args_is_help=True)
app.add_typer(corpus_app, name="corpus")
log = Console(stderr=True)

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


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """What this machine can build and run, and what to install for more."""
    from tts_trt.doctor import diagnose, render

    found = diagnose()
    if as_json:
        _print_json(found.to_json())
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

    with _progress("export") as report:
        record = pipeline.export(find_model(model), out, Limits(), report)
    if as_json:
        _print_json(dataclasses.asdict(record))
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
    lsd_db: Annotated[float, typer.Option(min=1e-3, help="budget: log spectral distance of the wave")] = 1.0,
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
    with _progress("calibrate") as report:
        figures = run(folder, asked, report)
    state = "collected" if figures["fresh"] else "up to date"
    log.print(f"{figures['out']}  {sum(figures['tensors'].values())} tensors  {state}")
    if search is not None:
        Console(stderr=as_json).print(render(figures))
        log.print(f"{search} written, its evidence beside it")
    if as_json:
        _print_json(figures)


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
    with _progress(f"build {precision}") as report:
        built = pipeline.build(
            find_model(model), precision, executor, out, progress=report, quantising=quantising
        )
    _tell_built(built)
    if as_json:
        _print_json(_summary(built))


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
        with _progress(f"{precision} {executor}") as report:
            built = pipeline.build(folder, precision, executor, out, progress=report)
        _tell_built(built)
        wave = pipeline.demo(built, out / ".demo")
        if wave:
            log.print(f"  speaks in {wave}")
        done.append(_summary(built) | {"demo": str(wave) if wave else None})
    if note := pipeline.missing_builders():
        log.print(f"[yellow]{note}[/yellow]")
    if as_json:
        _print_json(done)


@app.command()
def verify(
    bundle: BundleArgument,
    baseline: Annotated[Path | None, typer.Option(help="FP32 bundle to compare codes with")] = None,
    public_key: Annotated[
        Path | None, typer.Option(help="PEM file; the signature must be by this key")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hashes of every file, numerics against FP32, sanity of the audio."""
    from tts_trt.artifacts import verify_signature
    from tts_trt.pipeline import find_baseline
    from tts_trt.quality.verify import verify_bundle

    if public_key is not None:
        verify_signature(bundle, public_key.read_bytes())
    figures = verify_bundle(bundle, baseline or find_baseline(bundle))
    if as_json:
        _print_json(figures)
    if not figures["executed"]:
        log.print(
            f"{bundle}: {figures['files']} files as sealed; its plans cannot run here: {figures['reason']}"
        )
        return
    log.print(
        f"{bundle}: {figures['files']} files as sealed, {len(figures['audio'])} sentences spoken and sound"
    )
    if agreement := figures.get("agreement"):
        log.print(f"  agrees with fp32 on {agreement['top1']:.2%} of {agreement['steps']} best codes")


@app.command()
def inspect(bundle: BundleArgument, as_json: JsonOption = False) -> None:
    """Manifest, profiles, precision census, sizes."""
    from tts_trt.artifacts import load_manifest
    from tts_trt.commands.inspect import describe

    manifest = load_manifest(bundle)
    if as_json:
        _print_json(manifest.model_dump(mode="json"))
    else:
        Console().print(describe(bundle, manifest))


@app.command()
def synth(
    bundle: Annotated[Path, typer.Option(help="folder of the bundle")] = Path(
        "engines/nano-fp32-onnxruntime"
    ),
    text: Annotated[str | None, typer.Option(help="what to say")] = None,
    text_file: Annotated[Path | None, typer.Option(help="UTF-8 file with what to say")] = None,
    voice: Annotated[
        str | None, typer.Option(help="a voice of the bundle, or a recording; default: its first")
    ] = None,
    emotion: Annotated[str | None, typer.Option(help="happy:0.6,calm:0.2")] = None,
    emotion_audio: Annotated[Path | None, typer.Option(help="recording to take the emotion from")] = None,
    rate: Annotated[float, typer.Option(help="speaking rate, 1 is natural")] = 1.0,
    duration: Annotated[float | None, typer.Option(help="seconds, met to the sample")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    greedy: Annotated[bool, typer.Option(help="always the best code")] = False,
    out: Annotated[Path, typer.Option(help="WAV file to write")] = Path("out.wav"),
    threads: ThreadsOption = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Speak a text in a voice."""
    from tts_trt.commands.synth import Asked, speak

    request = Asked(text, text_file, voice, emotion, emotion_audio, rate, duration, seed, greedy)
    report = speak(bundle, request, out, threads, device)
    log.print(
        f"{out}: {report['seconds']:.2f} s of speech in {report['took']:.2f} s, RTF {report['rtf']:.2f}, "
        f"by {report['executor']} on {report['device']}"
    )
    for warning in report["warnings"]:
        log.print(f"[yellow]{warning}[/yellow]")
    if as_json:
        _print_json(report)


@app.command()
def bench(
    bundle: Annotated[list[Path], typer.Option(help="bundle to measure; repeat to compare")],
    runs: Annotated[int, typer.Option(min=1, max=100, help="measured runs per bundle")] = 5,
    threads: ThreadsOption = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Time to first audio, RTF, ms a stage and a step, memory, against the bandwidth ceiling."""
    from tts_trt.quality.speed import measure, render

    with _progress("bench") as report:
        found = measure(bundle, runs, threads, device, report)
    Console(stderr=as_json).print(render(found))
    if as_json:
        _print_json(found)


@app.command()
def report(
    baseline: Annotated[Path, typer.Option(help="bundle to compare with")],
    candidate: Annotated[list[Path] | None, typer.Option(help="bundle to judge; repeat")] = None,
    against_itself: Annotated[bool, typer.Option(help="judge the baseline with other seeds too")] = False,
    out: Annotated[Path, typer.Option(help="folder; a stopped run goes on there")] = Path("out/report"),
    sentences: Annotated[int, typer.Option(min=1, help="sentences to say")] = 100,
    forced: Annotated[int, typer.Option(min=0, help="lines compared over the same codes")] = 30,
    texts: Annotated[Path | None, typer.Option(help="sentences, one a line; default: held out")] = None,
    voices: Annotated[list[str] | None, typer.Option(help="repeat; default: all")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="seeds of each sentence")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="of the plan")] = 0,
    recogniser: Annotated[str, typer.Option(help="pocketsphinx, or module:function")] = "pocketsphinx",
    opinion: Annotated[str, typer.Option(help="module:function that predicts opinions")] = "",
    gate: Annotated[Path | None, typer.Option(help="thresholds to keep (.toml), else exit code 1")] = None,
    listeners: Annotated[int, typer.Option(min=0, max=64, help="processes that measure")] = 1,
    threads: ThreadsOption = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """What a precision costs in sound and saves in time: verdicts as HTML, JSON, Markdown.

    A gate has a table per metric, such as wer with worse_than = 0.03: see tts_trt/report/gate.toml.
    """
    from tts_trt.commands import report as command

    asked = command.Asked(
        baseline, tuple(candidate or ()), out, against_itself, sentences, forced, texts, tuple(voices or ()),
        seeds, seed, threads, device, listeners, recogniser, opinion, gate,
    )  # fmt: skip
    with _progress("report") as told:
        made = command.run(asked, told)
    command.tell(made, out, Console(stderr=as_json))
    if as_json:
        _print_json(made.model_dump(mode="json"))
    command.enforce_gate(made)


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
        _print_json(figures)
    else:
        Console().print(render(figures))


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Deliberate errors are printed without a traceback and decide the exit code."""
    try:
        app(arguments, standalone_mode=True)
    except TtsTrtError as error:
        log.print(f"[red]error:[/red] {_escaped(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        log.print("stopped; nothing half-written is left")
        sys.exit(130)


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


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, default=str) + "\n")
    sys.stdout.flush()


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


@contextmanager
def _progress(title: str) -> Iterator[Any]:
    """A bar on a terminal; a line per step elsewhere."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:40.40}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=log, transient=True, disable=not log.is_terminal) as bar:
        task = bar.add_task(title)

        def report(phase: str, done: int, total: int) -> None:
            bar.update(task, description=f"{title}: {phase}", completed=done, total=max(total, 1))
            if not log.is_terminal:
                log.print(f"{title}: {phase} ({done}/{total})", highlight=False)

        yield report
