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
