"""The application: routes behind a guard, over a supervised worker.

supervisor = Supervisor(plan, settings.server)
supervisor.start()                               # TtsTrtError when the bundles cannot be served
app = create_app(settings, supervisor)           # ASGI
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

from tts_trt.serve import routes, speech
from tts_trt.serve.auth import Keyring
from tts_trt.serve.catalogue import Catalogue
from tts_trt.serve.context import Serving
from tts_trt.serve.errors import ERROR_RESPONSES, install
from tts_trt.serve.guard import Guard
from tts_trt.serve.metrics import Metrics
from tts_trt.serve.settings import Settings
from tts_trt.serve.supervisor import Supervisor
from tts_trt.serve.voices import VoiceStore

PAGES = Path(__file__).parent / "static"


def create_app(settings: Settings, supervisor: Supervisor) -> FastAPI:
    """An ASGI application over a started supervisor, which it attaches to its event loop and closes at its end.
    ConfigError for keys, voices or aliases that do not fit."""
    keyring = Keyring.read(settings.server.keys) if settings.server.keys else None
    voices = VoiceStore(settings.server.voices, settings.limits.voices)
    metrics = Metrics(lambda: supervisor.stats, lambda: supervisor.jobs, lambda: supervisor.restarts)
    here = Serving(settings, supervisor, Catalogue(supervisor.models, settings), voices, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        supervisor.attach()
        try:
            yield
        finally:
            await supervisor.close()
            voices.close()

    app = FastAPI(
        title="tts-trt",
        summary="Text-to-speech from verified engines; OpenAI's speech API, and more under tts_trt.",
        docs_url=None,  # pages that load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        responses=ERROR_RESPONSES,
        redirect_slashes=False,
    )
    app.state.serving = here
    install(app)
    app.include_router(speech.router)
    app.include_router(routes.router)
    _pages(app)
    _document_keys(app, keyring)
    app.add_middleware(Guard, settings=settings, keyring=keyring)
    if settings.server.origins:  # outside the guard: a browser asks for permission without a key
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.server.origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["X-Sample-Rate", "X-Audio-Seconds", "X-Bundle", "Retry-After"],
        )
    return app


def _pages(app: FastAPI) -> None:
    if (PAGES / "index.html").is_file():

        @app.get("/", include_in_schema=False)
        async def page() -> Response:
            return FileResponse(PAGES / "index.html")

        app.mount("/static", StaticFiles(directory=PAGES), name="static")


def _document_keys(app: FastAPI, keyring: Keyring | None) -> None:
    made = app.openapi

    def openapi() -> dict[str, Any]:
        schema = made()
        if keyring is not None:
            schema.setdefault("components", {})["securitySchemes"] = {
                "key": {"type": "http", "scheme": "bearer"}
            }
            schema["security"] = [{"key": []}]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
