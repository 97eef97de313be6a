"""``POST /v1/audio/speech``: a body to a worker's job to bytes.

    whole (default)   the file at once: its length, its header and its sound are known before the status is sent
    stream "audio"    bytes as they are made; what the live policy means, too
    stream "sse"      the same bytes as events, then usage

The status is 200 only when there is sound to send. A stream that fails later is cut off, or says so in an event.
"""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter
from fastapi.responses import Response
from starlette.requests import Request

from tts_trt.errors import TtsTrtError, UsageError
from tts_trt.serve.context import Serving, owner_of, serving
from tts_trt.serve.encode import FORMATS, format_of
from tts_trt.serve.errors import ApiError, of_tts_trt
from tts_trt.serve.messages import Model, Recording, Spoken
from tts_trt.serve.metrics import Experience
from tts_trt.serve.schema import SpeechBody
from tts_trt.serve.take import EVENTS, Take, streamed, whole

router = APIRouter()

GRACE_SECONDS = 1.0
"""After its deadline the worker may say so itself."""

_SOUND = {form.content_type: {"schema": {"type": "string", "format": "binary"}} for form in FORMATS.values()}
_EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
_EVENTS = {
    EVENTS: {
        "schema": _EVENT | {"description": "data: JSON of speech.audio.delta, speech.audio.done or error"}
    }
}


@router.post(
    "/v1/audio/speech",
    response_class=Response,
    responses={200: {"content": _SOUND | _EVENTS, "description": "sound"}},
    summary="Speak a text",
)
async def speech(body: SpeechBody, request: Request) -> Response:
    here = serving(request)
    try:
        return await _speech(here, body, request)
    except (ApiError, TtsTrtError) as error:
        known = error if isinstance(error, ApiError) else of_tts_trt(error)
        here.metrics.failed(known.code or "error")
        raise known from None


async def _speech(here: Serving, body: SpeechBody, request: Request) -> Response:
    began, patience = time.perf_counter(), here.settings.server.request_seconds
    until = asyncio.get_running_loop().time() + patience + GRACE_SECONDS
    try:
        format_of(body.response_format)
    except UsageError as error:
        raise of_tts_trt(error, "response_format") from None
    model = here.catalogue.model(body.model, body.tts_trt.precision, body.tts_trt.policy)
    in_parts = body.stream_format is not None or body.tts_trt.policy == "live"
    spoken = spoken_of(here, body, model, owner_of(request), in_parts=in_parts)
    job = await here.supervisor.speak(spoken)
    one = Experience(model.id, began, in_parts)
    take = Take(here, body.response_format, model, job, one, until)
    if in_parts:
        return await streamed(take, request, events=body.stream_format == "sse")
    return await whole(take, request)


def spoken_of(here: Serving, body: SpeechBody, model: Model, owner: str, *, in_parts: bool) -> Spoken:
    """ApiError for a text that is too long or a voice that is not there."""
    most = here.settings.limits.text_characters
    if len(body.input) > most:
        raise ApiError(
            400,
            f"the text has {len(body.input)} characters, at most {most} are read",
            code="text_too_long",
            param="input",
        )
    extra, engines, live = body.tts_trt, here.settings.engines, here.catalogue.live
    chunks, steps = (engines.first_codes, engines.chunk_codes), extra.steps
    if extra.policy == "live":  # when it is crowded, fewer steps before anyone is refused
        chunks = (live.first_codes, live.chunk_codes[0])
        crowd = min(here.supervisor.jobs // engines.rows, len(live.flow_steps) - 1)
        steps = steps or live.flow_steps[crowd] or None
    emotion_audio = None
    if extra.emotion_audio is not None:
        emotion_audio = _voice(here, model, extra.emotion_audio, owner, "tts_trt.emotion_audio")
    return Spoken(
        bundle=model.id,
        text=body.input,
        voice=_voice(here, model, body.voice_id, owner, "voice"),
        emotion=extra.vector(body.input),
        emotion_audio=emotion_audio,
        alpha=extra.emotion_alpha,
        rate=body.speed,
        duration=extra.duration,
        seed=extra.seed,
        steps=steps,
        chunks=chunks if in_parts else None,
        deadline=here.settings.server.request_seconds,
    )


def _voice(here: Serving, model: Model, name: str, owner: str, param: str) -> str | Recording:
    own = here.catalogue.voice(name)
    if own in model.voices:
        return own
    uploaded = here.voices.get(name, owner)
    if uploaded is None:
        raise ApiError(
            400,
            f"there is no voice {name!r}; {model.id} has {', '.join(model.voices)}",
            code="voice_not_found",
            param=param,
        )
    return Recording(here.voices.recording(uploaded))
