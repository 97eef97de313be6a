"""Every answer that is not audio: ``{"error": {"message", "type", "param", "code"}}`` with a status a client can act on.

400 invalid_request_error   the body, a field, a voice, the text, an upload
401 authentication_error    no key, or a wrong one           403 permission_error   a foreign host or origin
404, 405, 408, 413, 415     as HTTP has them
429 rate_limit_error        this caller asks too much        + Retry-After
503 service_unavailable     this server cannot now           + Retry-After
500 server_error            a bug
"""

from __future__ import annotations

import logging
import math
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import HTTPException, RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request

from tts_trt.errors import EngineError, SynthesisError, TtsTrtError, UsageError

LOG = logging.getLogger("tts_trt.serve")

KINDS = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "service_unavailable",
}
PARAMS = {"text": "input", "rate": "speed", "emotion": "tts_trt.emotion", "duration": "tts_trt.duration"}
"""What the API calls a field of a Request."""
CODES = {
    400: "invalid_value",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    413: "too_large",
    415: "unsupported_media_type",
}


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    error: ErrorDetail


class ApiError(HTTPException):
    """An answer with a status; ``retry_after`` in seconds."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        given = dict(headers or {})
        if retry_after is not None:
            given["Retry-After"] = str(max(1, math.ceil(retry_after)))
        super().__init__(status, message, given)
        self.message, self.code, self.param = message, code or CODES.get(status), param

    @property
    def body(self) -> dict[str, Any]:
        detail = {"message": self.message, "type": KINDS.get(self.status_code, "invalid_request_error")}
        return {"error": detail | {"param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status_code, self.headers)


def of_tts_trt(error: TtsTrtError, param: str | None = None) -> ApiError:
    """What the caller got wrong is 400; anything else that was foreseen is 503, worth another try. ``param``: what is at fault,
    where the error itself does not say."""
    message = error.args[0] if error.args else str(error)
    if isinstance(error, UsageError):
        return ApiError(400, f"{message}", param=param or PARAMS.get(error.field or ""))
    engines = isinstance(error, SynthesisError | EngineError)
    return ApiError(503, message, code="synthesis_failed" if engines else "unavailable", retry_after=1)


_MEANINGS: dict[int | str, str] = {
    400: "The request cannot be fulfilled as it is.",
    401: "The API key is missing or wrong.",
    403: "The host or origin is not allowed.",
    404: "There is no such thing.",
    405: "The path does not know this method.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    429: "The caller asks too much; see Retry-After.",
    503: "The server cannot now; see Retry-After.",
    "4XX": "Any other mistake of the request.",
}
ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": words} for status, words in _MEANINGS.items()
}
for _status in (429, 503):
    ERROR_RESPONSES[_status]["headers"] = {
        "Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}
    }


def install(app: FastAPI) -> None:
    """Errors of every layer leave in one form."""

    @app.exception_handler(StarletteHTTPException)
    async def of_http(_: Request, error: StarletteHTTPException) -> JSONResponse:
        if isinstance(error, ApiError):
            return error.response()
        return ApiError(error.status_code, str(error.detail), headers=dict(error.headers or {})).response()

    @app.exception_handler(RequestValidationError)
    async def of_validation(_: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid(error).response()

    @app.exception_handler(TtsTrtError)
    async def of_package(_: Request, error: TtsTrtError) -> JSONResponse:
        return of_tts_trt(error).response()

    @app.exception_handler(Exception)
    async def of_bug(_: Request, error: Exception) -> JSONResponse:
        LOG.error("unexpected error", exc_info=error)
        return ApiError(500, "the server made a mistake; its log says more", code="internal_error").response()


def _invalid(error: RequestValidationError) -> ApiError:
    """The first problem, by the name of its field."""
    problem = error.errors()[0]
    place = [str(part) for part in problem["loc"] if part not in ("body", "query", "path")]
    if problem["type"] == "json_invalid":
        return ApiError(400, "the body is not JSON", code="invalid_json")
    name = ".".join(place) or None
    message = f"{name}: {problem['msg']}" if name else str(problem["msg"])
    code = {"extra_forbidden": "unknown_parameter", "missing": "missing_parameter"}.get(problem["type"])
    return ApiError(400, message, param=name, code=code)
