"""What stands in for the fast lane where it is missing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from raceway.consumers.outbox import PUSHED_BYTES, Outbox
from raceway.errors import ClientDisconnected
from raceway.prepared import PreparedMessage, Pushed
from tests.consumers.driver import settle

ACCEPT = {"type": "websocket.accept"}


class Server:
    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.errors: list[Exception] = []
        self.may_send = asyncio.Event()
        self.may_send.set()
        self.error: Exception | None = None
        self.outbox = Outbox(self.send, self.errors.append)

    async def send(self, event: Any) -> None:
        await self.may_send.wait()
        if self.error is not None:
            raise self.error
        self.sent.append(event.get("text", event.get("bytes", event["type"])))


async def test_own_sends_and_pushes_keep_their_order() -> None:
    server = Server()
    await server.outbox.add(ACCEPT)
    server.outbox.add({"type": "websocket.send", "text": "1"})
    assert server.outbox.push(PreparedMessage("2")) is Pushed.ACCEPTED
    server.outbox.push(PreparedMessage(b"3"))
    await server.outbox.add({"type": "websocket.send", "text": "4"})
    assert server.sent == ["websocket.accept", "1", "2", b"3", "4"]


async def test_pushes_wait_for_accept() -> None:
    server = Server()
    server.outbox.push(PreparedMessage("early"))
    await settle()
    assert server.sent == []
    await server.outbox.add(ACCEPT)
    await settle()
    assert server.sent == ["websocket.accept", "early"]


async def test_pushes_are_discarded_on_refusal() -> None:
    server = Server()
    server.outbox.push(PreparedMessage("early"))
    await server.outbox.add({"type": "websocket.close"})
    await settle()
    assert server.sent == ["websocket.close"]


async def test_early_pushes_are_bounded() -> None:
    server = Server()
    big = PreparedMessage(b"x" * PUSHED_BYTES)
    assert server.outbox.push(big) is Pushed.ACCEPTED
    assert server.outbox.push(big) is Pushed.DROPPED


async def test_a_slow_client_is_closed() -> None:
    server = Server()
    await server.outbox.add(ACCEPT)
    server.may_send.clear()
    half = PreparedMessage("x" * (PUSHED_BYTES // 2))
    results = [server.outbox.push(half) for _ in range(3)]
    assert results == [Pushed.ACCEPTED, Pushed.ACCEPTED, Pushed.CLOSED]
    server.may_send.set()
    await settle()
    assert server.sent[-1] == "websocket.close"
    assert len(server.sent) <= 3


async def test_other_policies_drop() -> None:
    server = Server()
    await server.outbox.add(ACCEPT)
    server.may_send.clear()
    big = PreparedMessage("x" * PUSHED_BYTES)
    assert server.outbox.push(big, "drop_newest") is Pushed.ACCEPTED
    assert server.outbox.push(big, "drop_newest") is Pushed.DROPPED
    server.may_send.set()
    await settle()
    assert server.outbox.push(big, "drop_newest") is Pushed.ACCEPTED
    await server.outbox.finish(False)
    assert len(server.sent) == 3


async def test_awaiting_a_send_waits_for_room_and_hears_of_errors() -> None:
    server = Server()
    server.error = OSError("reset by peer")
    with pytest.raises(ClientDisconnected, match="reset by peer"):
        await server.outbox.add(ACCEPT)
    server.error = ZeroDivisionError()
    server.outbox.add(ACCEPT)  # nobody awaits it
    await settle()
    assert [type(error) for error in server.errors] == [ClientDisconnected, ZeroDivisionError]


async def test_finishing_sends_the_rest_or_drops_it() -> None:
    server = Server()
    server.outbox.add(ACCEPT)
    await server.outbox.finish(False)
    assert server.sent == ["websocket.accept"]
    server.may_send.clear()
    sent = server.outbox.add({"type": "websocket.send", "text": "x"})
    waiting = server.outbox.add({"type": "websocket.send", "text": "y"})
    await settle()
    await server.outbox.finish(True)
    assert server.sent == ["websocket.accept"]
    assert waiting.cancelled()  # type: ignore[attr-defined]
    del sent


async def test_an_unused_outbox_has_nothing_to_finish() -> None:
    await Server().outbox.finish(True)
