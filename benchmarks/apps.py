"""The raw ASGI applications that every server runs. No server's own conveniences, no framework."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

BROADCAST_BYTES = 128
SOCKETS_PER_PASS = 200

_members: set[Callable[[Any], Any]] = set()


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        await send({"type": event["type"] + ".complete"})
        if event["type"] == "lifespan.shutdown":
            return


async def own_passes(sockets: int) -> None:
    """Let the event loop write what was sent to so many sockets; a pass costs less than a microsecond."""
    for _ in range(1 + sockets // SOCKETS_PER_PASS):
        await asyncio.sleep(0)


async def hello(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer each request with five bytes."""
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/plain"), (b"content-length", b"5")],
        }
    )
    await send({"type": "http.response.body", "body": b"hello"})


async def echo(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Send each text message back."""
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})


async def broadcast(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Publish as many messages as a client's text asks for to every socket, by the fast lane.

    Writes to one socket in one pass of the event loop are joined, and a large fan-out is spread over several
    passes, so each broadcast gets enough of them to be written by itself.
    """
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    from raceway.prepared import PreparedMessage  # only Raceway's own server runs this application

    push = scope["extensions"]["raceway.push"]["push"]
    await receive()
    await send({"type": "websocket.accept"})
    _members.add(push)
    try:
        while (event := await receive())["type"] == "websocket.receive":
            for _ in range(int(event["text"])):
                message = PreparedMessage("x" * BROADCAST_BYTES)
                for member in _members:
                    member(message)
                await own_passes(len(_members))
    finally:
        _members.discard(push)
