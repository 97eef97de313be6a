"""The model that speaks inside Triton, by its Python backend.

REPOSITORY/<bundle>/config.pbtxt
REPOSITORY/<bundle>/1/model.py     imports this class: tts_trt is installed beside Triton
REPOSITORY/<bundle>/1/bundle/      verified before it is opened

Requests go into one scheduler, which batches them step by step; a thread each sends what comes out as responses.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # inside Triton only

from tts_trt.errors import Busy, DeadlineExceeded, TtsTrtError, UsageError
from tts_trt.runtime.decode import Cancelled
from tts_trt.runtime.loading import Bundle
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.runtime.scheduler import Scheduler, SchedulerSettings, StreamOptions
from tts_trt.runtime.ticket import Ticket
from tts_trt.serve.settings import Limits

BUNDLE = "bundle"
LIMITS = Limits()


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        parameters = {k: v["string_value"] for k, v in json.loads(args["model_config"])["parameters"].items()}
        folder = Path(args["model_repository"]) / args["model_version"] / BUNDLE
        on_gpu = args["model_instance_kind"] == "GPU"
        try:
            bundle = Bundle.load(folder, require_signature=parameters.get("public_key") or False)
            self._tts = bundle.synthesizer(
                threads=int(parameters.get("threads", 0)),
                device=f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu",
            )
        except TtsTrtError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        rows = min(SchedulerSettings().cache_slots, bundle.limits.batch)
        self._scheduler = Scheduler(self._tts, SchedulerSettings(cache_slots=rows))
        self._senders: set[threading.Thread] = set()

    def execute(self, requests: list[Any]) -> None:
        """Returns at once; the responses of a request end with the flag FINAL."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                ticket = self._submitted(request)
            except TtsTrtError as error:
                _refuse(sender, error)
                continue
            thread = threading.Thread(target=self._send, args=(sender, ticket), daemon=True)
            self._senders.add(thread)
            thread.start()

    def finalize(self) -> None:
        """What runs is finished first."""
        self._scheduler.close()
        for thread in list(self._senders):
            thread.join()
        self._tts.close()

    def _submitted(self, request: Any) -> Ticket:
        given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        stream = bool(given["stream"].item()) if "stream" in given else True
        microseconds = request.timeout()
        return self._scheduler.submit(
            self._request(given),
            stream=StreamOptions() if stream else None,
            deadline=microseconds / 1e6 if microseconds else None,
        )

    def _request(self, given: dict[str, Any]) -> Request:
        seed = int(given["seed"].item()) if "seed" in given else 0
        return Request(
            text=_text(given),
            voice=self._voice(given),
            emotion=tuple(map(float, given["emotion"].reshape(-1))) if "emotion" in given else None,
            emotion_audio=_recording(given, "emotion_reference"),
            sampling=SamplingParams.of(self._tts.dims, seed=seed),
            **{
                field: given[name].item()
                for name, field in {"emotion_alpha": "alpha", "rate": "rate", "duration": "duration",
                                    "steps": "steps"}.items()
                if name in given
            },
        )  # fmt: skip

    def _voice(self, given: dict[str, Any]) -> str | bytes:
        """A recording, or a name of the bundle: never a path, which a client has no business to name."""
        reference = _recording(given, "reference")
        if reference is not None:
            return reference
        names = list(self._tts.voices)
        name = _word(given, "voice") if "voice" in given else names[0] if names else ""
        if name not in names:
            raise UsageError(f"there is no voice {name!r}, only {', '.join(names) or 'none'}")
        return name

    def _send(self, sender: Any, ticket: Ticket) -> None:
        rate = pb_utils.Tensor("sample_rate", np.array([self._tts.dims.audio.sample_rate], np.int32))
        try:
            for chunk_S in ticket.chunks():
                if sender.is_cancelled():
                    ticket.cancel()
                    continue
                audio = pb_utils.Tensor("audio", chunk_S)
                sender.send(pb_utils.InferenceResponse(output_tensors=[audio, rate]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        except TtsTrtError as error:
            _refuse(sender, error)
        finally:
            self._senders.discard(threading.current_thread())


def _refuse(sender: Any, error: TtsTrtError) -> None:
    told = pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), _code(error)))
    sender.send(told, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _code(error: TtsTrtError) -> Any:
    if isinstance(error, UsageError):
        return pb_utils.TritonError.INVALID_ARG
    if isinstance(error, Busy | DeadlineExceeded):
        return pb_utils.TritonError.UNAVAILABLE
    return pb_utils.TritonError.CANCELLED if isinstance(error, Cancelled) else pb_utils.TritonError.INTERNAL


def _text(given: dict[str, Any]) -> str:
    text = _word(given, "text")
    if len(text) > LIMITS.text_characters:
        raise UsageError(f"the text has {len(text)} characters, at most {LIMITS.text_characters} are read")
    return text


def _word(given: dict[str, Any], name: str) -> str:
    try:
        word: str = given[name].item().decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8: {error}") from error
    return word


def _recording(given: dict[str, Any], name: str) -> bytes | None:
    """Bytes of an audio file."""
    content: bytes | None = given[name].item() if name in given else None
    if content is not None and len(content) > LIMITS.upload_bytes:
        raise UsageError(f"{name} has {len(content)} bytes, at most {LIMITS.upload_bytes} are read")
    return content
