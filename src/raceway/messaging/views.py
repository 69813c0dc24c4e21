"""Django's views as a consumer of ``http.request``: what requests go to if no route is for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any, Final, cast

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.http.response import HttpResponseBase

from raceway.messaging.message import Message
from raceway.types import Event, Scope

CONTENT_BYTES: Final = 512 * 1024
"""The most of a response's body in one message."""


async def ViewConsumer(message: Message, **kwargs: Any) -> None:
    """Have Django answer a request: middleware, URLconf and views, as without channels."""
    from raceway.asgi import get_asgi_application  # which is made of more than this

    assert message.reply_channel is not None
    exchange = Exchange(message)
    await get_asgi_application()(request_scope(message.content), exchange.receive, exchange.send)


class Exchange:
    """The two ends of an ASGI application: a message with the request, and a channel for the response."""

    def __init__(self, message: Message) -> None:
        assert message.reply_channel is not None
        self._reply_channel = message.reply_channel
        self._body: bytes | None = message["body"]
        self._start: dict[str, Any] = {}

    async def receive(self) -> Event:
        if self._body is None:
            await (
                asyncio.Future()
            )  # nobody tells when the client leaves; whoever waits is cancelled at the end
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, event: Event) -> None:
        if event["type"] == "http.response.start":
            headers = [[bytes(name), bytes(value)] for name, value in event.get("headers", ())]
            self._start = {"status": event["status"], "headers": headers}
        elif event["type"] == "http.response.body":
            for reply in replies(event.get("body", b""), event.get("more_body", False)):
                await self._reply_channel.asend({**self._start, **reply})
                self._start = {}


def replies(body: bytes, more: bool) -> Iterator[dict[str, Any]]:
    """A piece of a response's body as messages that a layer carries."""
    for begin in range(0, max(len(body), 1), CONTENT_BYTES):
        end = begin + CONTENT_BYTES
        yield {"content": body[begin:end], "more_content": more or end < len(body)}


def request_of(message: Message) -> ASGIRequest:
    """What ``http.request`` says as a request of Django's: ``GET``, ``POST``, ``FILES``, ``COOKIES``, ``META``."""
    return ASGIRequest(dict(request_scope(message.content)), BytesIO(message["body"]))


def encode_response(response: HttpResponseBase) -> Iterator[dict[str, Any]]:
    """A response of Django's, rendered, as messages for a reply channel, in order; also for a group of those.

    Raises ``TypeError`` for a stream that is asynchronous.
    """
    headers = [[name.lower().encode("ascii"), value.encode("latin-1")] for name, value in response.items()]
    headers += [[b"set-cookie", cookie.OutputString().encode()] for cookie in response.cookies.values()]
    start: dict[str, Any] = {"status": response.status_code, "headers": headers}
    if isinstance(response, HttpResponse):
        for reply in replies(response.content, more=False):
            yield {**start, **reply}
            start = {}
        return
    if getattr(response, "is_async", False):
        raise TypeError(
            "A response with an asynchronous stream cannot be encoded: collect it, or let a view send it."
        )
    for piece in cast("Iterable[bytes]", response):
        for reply in replies(piece, more=True):
            yield {**start, **reply}
            start = {}
    yield {**start, "content": b"", "more_content": False}


def request_scope(content: dict[str, Any]) -> Scope:
    """The scope (ASGI HTTP) of what ``http.request`` says."""
    root: str = content.get("root_path", "")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": content["http_version"],
        "method": content["method"],
        "scheme": content["scheme"],
        "path": root + content["path"],
        "raw_path": None,
        "query_string": content["query_string"],
        "root_path": root,
        "headers": [(bytes(name), bytes(value)) for name, value in content["headers"]],
        "client": content["client"],
        "server": content["server"],
        "extensions": {},
    }
