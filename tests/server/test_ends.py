"""Ends at awkward moments."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from tests.server.rawhttp import request
from tests.server.rawws import TEXT, close_frame, frame
from tests.server.running import Gate, Seen, answering

PIECE = b"x" * 300_000


def test_a_response_in_pieces_reaches_a_client_that_has_ended_its_side(
    site: Any, port: int, raw: Any
) -> None:
    """What is written in this pass of the loop is not lost to the end that is read in it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    site.app = app
    for _ in range(20):
        client = raw(port)
        client.send(request())
        client.socket.shutdown(socket.SHUT_WR)
        assert client.response().body == b"one two"


def test_pipelined_requests_of_a_client_that_has_ended_its_side(site: Any, port: int, raw: Any) -> None:
    """Also those that had to wait because the client read slowly."""
    site.app = answering(PIECE)
    client = raw(port, receive_buffer=4096)
    client.send(request() * 30)
    client.socket.shutdown(socket.SHUT_WR)
    for _ in range(30):
        assert client.response().body == PIECE
    client.closed()


def test_a_cancelled_receive_leaves_nothing_behind(site: Any, port: int, raw: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for _ in range(500):
            waiting = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        seen.put(len(receive.__self__.receivers or ()))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    site.app = app
    client = raw(port)
    client.send(request())
    assert client.response().body == b"ok"
    assert seen.next() == 0


def test_the_close_of_a_client_whose_messages_nobody_takes_is_read(site: Any, port: int, ws: Any) -> None:
    """Reading had paused; when the application closes, it must go on for the client's close frame."""
    gate, seen = Gate(), Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await gate.wait()
        await send({"type": "websocket.close", "code": 4000})
        while (event := await receive())["type"] != "websocket.disconnect":
            pass
        seen.put(event["code"])

    site.app = app
    client = ws(port).open()
    client.send(frame(TEXT, b"x" * 100) * 2000)
    client.quiet(0.1)
    gate.open()
    assert client.frame().code == 4000
    client.send(close_frame(4000))
    assert seen.next() == 4000
