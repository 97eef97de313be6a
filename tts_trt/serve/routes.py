"""The small routes: models, voices, health, metrics."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, File, Form, UploadFile
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request

from tts_trt.errors import ReferenceAudioError, UsageError
from tts_trt.serve.context import owner_of, serving
from tts_trt.serve.decode import decode_apart
from tts_trt.serve.errors import ApiError, of_tts_trt
from tts_trt.serve.messages import Model
from tts_trt.serve.schema import Health, ModelInfo, ModelList, VoiceDeleted, VoiceInfo, VoiceList
from tts_trt.serve.voices import Full, Uploaded

router = APIRouter()


@router.get("/v1/models", summary="Bundles that are served")
async def models(request: Request) -> ModelList:
    return ModelList(data=[_model(model) for model in serving(request).catalogue.models])


@router.get("/v1/models/{model}", summary="One of them")
async def model(model: str, request: Request) -> ModelInfo:
    return _model(serving(request).catalogue.model(model))


@router.get("/v1/audio/voices", summary="Voices of the bundles, and your own")
async def voices(request: Request) -> VoiceList:
    here = serving(request)
    built_in = {name: one.created for one in here.catalogue.models for name in one.voices}
    data = [VoiceInfo(id=n, name=n, type="builtin", created_at=created) for n, created in built_in.items()]
    return VoiceList(data=data + [_voice(voice) for voice in here.voices.of(owner_of(request))])


@router.post("/v1/audio/voices", summary="Upload a reference recording as a voice")
async def upload(
    request: Request,
    name: Annotated[str, Form(description="what to call it")],
    consent: Annotated[str, Form(description='"true": the speaker agrees to this use of the recording')],
    audio_sample: Annotated[UploadFile, File(description="WAV, FLAC, Ogg or MP3 of one speaker")],
) -> VoiceInfo:
    here, limits = serving(request), serving(request).settings.limits
    try:
        if consent.strip().lower() != "true":
            raise ApiError(
                400,
                'a voice needs the consent of its speaker; send consent="true" where you have it',
                code="consent_required",
                param="consent",
            )
        here.voices.room()
        content = await audio_sample.read(limits.upload_bytes + 1)
        if len(content) > limits.upload_bytes:
            raise ApiError(
                413, f"the recording has more than {limits.upload_bytes} bytes", param="audio_sample"
            )
        async with here.decoders:
            wav, seconds = await decode_apart(content, limits.upload_seconds)
        voice = await asyncio.to_thread(here.voices.add, name, owner_of(request), wav, seconds)
    except ApiError as error:
        here.metrics.uploaded(error.code or "refused")
        raise
    except Full as error:
        here.metrics.uploaded("full")
        raise ApiError(400, error.args[0], code="too_many_voices") from None
    except UsageError as error:
        here.metrics.uploaded("refused")
        raise of_tts_trt(
            error, "audio_sample" if isinstance(error, ReferenceAudioError) else "name"
        ) from None
    here.metrics.uploaded("stored")
    return _voice(voice)


@router.delete("/v1/audio/voices/{voice}", summary="Forget an uploaded voice")
async def remove(voice: str, request: Request) -> VoiceDeleted:
    here = serving(request)
    found = here.voices.get(voice, owner_of(request))
    if found is None:
        raise ApiError(404, f"you have no uploaded voice {voice!r}", code="voice_not_found", param="voice")
    await asyncio.to_thread(here.voices.remove, found)
    return VoiceDeleted(id=voice)


@router.get("/health/live", summary="The process runs; needs no key")
async def live() -> Health:
    return Health()


@router.get("/health/ready", summary="The worker can take requests")
async def ready(request: Request) -> Health:
    if not serving(request).supervisor.ready:
        raise ApiError(503, "the speech worker is not ready", code="worker_restarting", retry_after=5)
    return Health()


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    summary="Figures for Prometheus",
)
async def metrics(request: Request) -> Response:
    return Response(serving(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _model(model: Model) -> ModelInfo:
    return ModelInfo(
        id=model.id,
        created=model.created,
        model=model.model,
        precision=model.precision,
        executor=model.executor,
        sample_rate=model.sample_rate,
        voices=list(model.voices),
    )


def _voice(voice: Uploaded) -> VoiceInfo:
    return VoiceInfo(
        id=voice.id, name=voice.name, type="audio_sample", created_at=voice.created, seconds=voice.seconds
    )
