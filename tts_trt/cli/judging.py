"""Commands that judge bundles: verify, inspect, bench, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tts_trt.cli.app import app, log, print_json, progress
from tts_trt.cli.options import BundleArgument, DeviceOption, JsonOption, ThreadsOption


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
        print_json(figures)
    if not figures["executed"]:
        log.print(
            f"{bundle}: {figures['files']} files as sealed; its plans cannot run here: {figures['reason']}"
        )
        return
    log.print(
        f"{bundle}: {figures['files']} files as sealed, {len(figures['audio'])} sentences spoken and sound"
    )
    if agreement := figures.get("agreement"):
        ties = f", and where it does not {agreement['ties']} were ties" if agreement["ties"] else ""
        log.print(f"  agrees with fp32 on {agreement['top1']:.2%} of {agreement['steps']} best codes{ties}")


@app.command()
def inspect(bundle: BundleArgument, as_json: JsonOption = False) -> None:
    """Manifest, profiles, precision census, sizes."""
    from tts_trt.artifacts import load_manifest
    from tts_trt.commands.inspect import describe

    manifest = load_manifest(bundle)
    if as_json:
        print_json(manifest.model_dump(mode="json"))
    else:
        Console().print(describe(bundle, manifest))


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

    with progress("bench") as report:
        found = measure(bundle, runs, threads, device, report)
    Console(stderr=as_json).print(render(found))
    if as_json:
        print_json(found)


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
    opinion: Annotated[
        str, typer.Option(help="auto: DNSMOS where speechmos is installed; none; or module:function")
    ] = "auto",
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
    with progress("report") as told:
        made = command.run(asked, told)
    command.tell(made, out, Console(stderr=as_json))
    if as_json:
        print_json(made.model_dump(mode="json"))
    command.enforce_gate(made)
