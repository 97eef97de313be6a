"""Commands that make sound."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tts_trt.cli.app import app, log, print_json, progress
from tts_trt.cli.options import DeviceOption, JsonOption, ThreadsOption


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
    emotion_text: Annotated[
        str | None, typer.Option(help="words that tell the emotion; '': those of the text itself")
    ] = None,
    emotion_model: Annotated[
        Path | None, typer.Option(help="folder of the model that reads --emotion-text; default: a word list")
    ] = None,
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

    request = Asked(
        text,
        text_file,
        voice,
        emotion,
        emotion_audio,
        rate,
        duration,
        seed,
        greedy,
        emotion_text,
        emotion_model,
    )
    report = speak(bundle, request, out, threads, device)
    log.print(
        f"{out}: {report['seconds']:.2f} s of speech in {report['took']:.2f} s, RTF {report['rtf']:.2f}, "
        f"by {report['executor']} on {report['device']}"
    )
    for warning in report["warnings"]:
        log.print(f"[yellow]{warning}[/yellow]")
    if as_json:
        print_json(report)


@app.command()
def serve(
    bundle: Annotated[
        list[Path] | None, typer.Option(help="folder of a bundle; more than one may be given")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="settings in TOML; see docs/serving.md")] = None,
    host: Annotated[
        str | None, typer.Option(help="address to bind; beyond this machine only with keys")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0: any free one")] = None,
    keys: Annotated[Path | None, typer.Option(help="file of API keys")] = None,
    make_key: Annotated[
        str | None, typer.Option(help="add a key of this name to the file, print it once, end")
    ] = None,
    voices: Annotated[
        Path | None, typer.Option(help="folder of uploaded voices; default: forgotten at the end")
    ] = None,
    public_key: Annotated[Path | None, typer.Option(help="serve only bundles signed by it")] = None,
    report: Annotated[Path | None, typer.Option(help="report.json that policies choose bundles by")] = None,
    threads: Annotated[
        int | None, typer.Option(min=0, max=256, help="CPU threads of one piece of work")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N")] = None,
) -> None:
    """Serve bundles over HTTP: OpenAI's speech API, voices, metrics."""
    from tts_trt.commands import serve as command

    if make_key is not None:
        typer.echo(command.new_key(config, keys, make_key))
        return
    command.serve(
        config,
        server={"host": host, "port": port, "keys": keys, "voices": voices},
        engines={
            "bundles": bundle or None,
            "public_key": public_key,
            "report": report,
            "threads": threads,
            "device": device,
        },
    )


@app.command()
def render(
    script: Annotated[Path, typer.Argument(help="a book, subtitles (.srt) or lines", show_default=False)],
    policy: Annotated[str, typer.Option(help="dubbing, live, audiobook, or a .toml that names one of them")],
    out: Annotated[Path, typer.Option(help="WAV or FLAC file to write")] = Path("out.flac"),
    bundle: Annotated[
        list[Path] | None, typer.Option(help="bundle to choose from; repeat; default: all in engines/")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="report.json that bundles are chosen by")] = None,
    voice: Annotated[
        str | None, typer.Option(help="a voice of the bundle, or a recording; default: its first")
    ] = None,
    emotion: Annotated[str | None, typer.Option(help="happy:0.6,calm:0.2")] = None,
    emotion_audio: Annotated[Path | None, typer.Option(help="recording to take the emotion from")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    duration: Annotated[
        float | None, typer.Option(help="dubbing: seconds a text fills to the sample")
    ] = None,
    cues: Annotated[Path | None, typer.Option(help="dubbing: folder for one more file per cue")] = None,
    work: Annotated[
        Path | None, typer.Option(help="audiobook: folder that a stopped run goes on in; default: OUT.work")
    ] = None,
    qc: Annotated[Path | None, typer.Option(help="limits of quality control; default: the model's")] = None,
    threads: ThreadsOption = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Speak a whole script under a policy: exact times, soonest sound, or a checked book."""
    from tts_trt.commands import render as command

    asked = command.Asked(
        script, policy, out, tuple(bundle or ()), report, voice, emotion, emotion_audio, seed, duration, work, cues,
        qc, threads, device,
    )  # fmt: skip
    with progress("render") as told:
        made = command.run(asked, told)
    log.print(f"{out}: {made['seconds']:.2f} s", highlight=False)
    for note in made["notes"]:
        log.print(f"  {note}", highlight=False, markup=False, soft_wrap=True)
    for warning in made["warnings"]:
        log.print(warning, style="yellow", highlight=False, markup=False, soft_wrap=True)
    if as_json:
        print_json(made)


@app.command()
def export_triton(
    bundle: Annotated[list[Path] | None, typer.Option(help="folder of a bundle; repeat")] = None,
    out: Annotated[Path, typer.Option(help="model repository to write; must not be there yet")] = Path(
        "triton"
    ),
    public_key: Annotated[
        Path | None, typer.Option(help="PEM file; bundles must be signed by it, here and when Triton starts")
    ] = None,
    graphs: Annotated[bool, typer.Option(help="each graph as a model of its own, too")] = True,
    threads: ThreadsOption = 0,
    as_json: JsonOption = False,
) -> None:
    """A model repository for NVIDIA Triton: the pipeline as one streaming model, and its graphs."""
    from tts_trt.commands.export_triton import run

    made = run(bundle or [], out, public_key=public_key, graphs=graphs, threads=threads)
    log.print(f"{out}: {len(made['models'])} models", highlight=False)
    for note in made["notes"]:
        log.print(f"  {note}", highlight=False, markup=False)
    if as_json:
        print_json(made)
