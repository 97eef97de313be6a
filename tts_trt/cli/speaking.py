"""Commands that make sound."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tts_trt.cli.app import app, log, print_json
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
    threads: Annotated[int | None, typer.Option(min=0, max=256, help="CPU threads, 0: all cores")] = None,
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
