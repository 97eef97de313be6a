"""The door: what every request passes before the application sees it, in this order.

host and origin -> key -> rate and number -> size and time of the body

A web page that a user visits may send requests to 127.0.0.1: it may not get an answer here. Without keys only names of this
machine are accepted as Host (a foreign name that resolves to 127.0.0.1 is an attack), and a page of another origin is
refused always, since browsers send what a user typed into their password box along with any page's requests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tts_trt.serve.auth import Keyring
from tts_trt.serve.errors import ApiError
from tts_trt.serve.rates import Rates
from tts_trt.serve.settings import Settings, is_loopback

OPEN = ("/health/live",)
"""What is answered to anyone."""

PAGES = ("/", "/static/")
"""Where a browser is asked for the key as a password."""

SHIELDS = ((b"x-content-type-options", b"nosniff"), (b"content-security-policy", b"frame-ancestors 'none'"))
"""Headers of every answer: a browser neither guesses what it is nor shows it inside another site's page. What the page itself may load is
said in the page."""

UPLOAD = "/v1/audio/voices"
ENVELOPE = 64 * 1024
"""Bytes of a body beside the text or the recording: names, boundaries, escapes."""


class Guard:
    def __init__(self, app: ASGIApp, settings: Settings, keyring: Keyring | None) -> None:
        self._app, self._settings, self._keyring = app, settings, keyring
        self._rates = Rates(settings.limits)
        self._origins = frozenset(settings.server.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        sent = False

        async def watched(message: Message) -> None:
            nonlocal sent
            sent = True
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *SHIELDS]}
            await send(message)

        try:
            with self._rates.place(self._admitted(scope), work=_is_work(scope)):
                await self._app(scope, _limited(receive, self._most_bytes(scope), self._settings), watched)
        except ApiError as error:
            if sent:
                raise
            await error.response()(scope, receive, watched)

    def _admitted(self, scope: Scope) -> str:
        """Who asks: the name of a key, or an address."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host, path = headers.get("host", ""), scope["path"]
        if self._keyring is None and not _is_local(host, self._settings.server.host):
            raise ApiError(403, f"this server is not called {host!r}", code="host_not_allowed")
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins and urlsplit(origin).netloc != host:
            raise ApiError(403, f"pages of {origin} may not ask this server", code="origin_not_allowed")
        address = str((scope.get("client") or ("unknown",))[0])
        if self._keyring is None:
            return address
        owner = self._keyring.owner(headers.get("authorization"))
        if owner is None and path not in OPEN:
            asked = 'Basic realm="tts-trt"' if _is_page(path) else 'Bearer realm="tts-trt"'
            found = (
                "Incorrect API key"
                if "authorization" in headers
                else "No API key: send Authorization: Bearer KEY"
            )
            raise ApiError(401, found, code="invalid_api_key", headers={"WWW-Authenticate": asked})
        scope.setdefault("state", {})["owner"] = owner
        return f"key {owner}" if owner else address

    def _most_bytes(self, scope: Scope) -> int:
        limits = self._settings.limits
        upload = scope["path"].rstrip("/") == UPLOAD
        # a character takes 12 bytes at most: an escaped surrogate pair
        return ENVELOPE + (limits.upload_bytes if upload else 12 * limits.text_characters)


def _limited(receive: Receive, most: int, settings: Settings) -> Receive:
    """``receive`` that stops a body which is too large or too slow; after its end, waiting for the client to go is free."""
    deadline = time.monotonic() + settings.server.body_seconds
    size, complete = 0, False

    async def limited() -> Message:
        nonlocal size, complete
        if complete:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), max(0.001, deadline - time.monotonic()))
        except TimeoutError:
            raise ApiError(
                408,
                f"the body took longer than {settings.server.body_seconds:g} s",
                headers={"Connection": "close"},
            ) from None
        size += len(message.get("body", b""))
        complete = not message.get("more_body", False)
        if size > most:
            raise ApiError(
                413,
                f"the body has more than {most} bytes, which is the limit",
                headers={"Connection": "close"},
            )
        return message

    return limited


def _is_work(scope: Scope) -> bool:
    return scope["method"] not in ("GET", "HEAD", "OPTIONS")


def _is_page(path: str) -> bool:
    return path == PAGES[0] or path.startswith(PAGES[1:])


def _is_local(host: str, bound: str) -> bool:
    name = urlsplit(f"//{host}").hostname if _plain(host) else None
    return name is not None and (is_loopback(name) or name == bound.lower())


def _plain(host: Iterable[str]) -> bool:
    return not set(host) & set("/?#@\\ \t")
