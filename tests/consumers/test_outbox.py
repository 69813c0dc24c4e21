"""What stands in for the fast lane where it is missing."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from raceway.consumers import outbox as outbox_module
from raceway.consumers.outbox import BURST_BYTES, ENTRY_BYTES, OWN_BYTES, PUSHED_BYTES, Outbox
from raceway.errors import ClientDisconnected, InvalidMessage
from raceway.prepared import PreparedMessage, Pushed
from tests.consumers.driver import settle

ACCEPT = {"type": "websocket.accept"}
CLOSE = {"type": "websocket.close"}
LARGE = {"type": "websocket.send", "text": "x" * 1024 * 1024}


def text(what: str) -> dict[str, Any]:
    return {"type": "websocket.send", "text": what}


def of_size(size_bytes: int, letter: str = "x") -> PreparedMessage:
    return PreparedMessage(letter * (size_bytes - ENTRY_BYTES))


class Server:
    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.errors: list[Exception] = []
        self.may_send = asyncio.Event()
        self.may_send.set()
        self.error: Exception | None = None
        self.overloaded = 0
        self.outbox = Outbox(self.send, self.errors.append, self.give_up)

    def give_up(self) -> None:
        self.overloaded += 1

    async def slow(self) -> Server:
        """Accept, and get stuck in the next send."""
        await self.outbox.add(ACCEPT)
        self.may_send.clear()
        self.outbox.add(text("stuck"))
        await settle()
        self.sent.clear()
        return self

    async def recover(self) -> list[Any]:
        self.may_send.set()
        await settle()
        return self.sent

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
    assert server.outbox.push(of_size(PUSHED_BYTES)) is Pushed.ACCEPTED
    assert server.outbox.push(of_size(PUSHED_BYTES)) is Pushed.DROPPED
    assert not server.overloaded


async def test_a_burst_or_a_large_push_harms_nobody_who_is_not_slow() -> None:
    server = Server()
    await server.outbox.add(ACCEPT)
    assert [server.outbox.push(of_size(PUSHED_BYTES * 2)) for _ in range(3)] == [Pushed.ACCEPTED] * 3
    await settle()
    assert len(server.sent) == 4


async def test_a_slow_client_is_closed() -> None:
    server = await Server().slow()
    half = of_size(PUSHED_BYTES // 2)
    results = [server.outbox.push(half) for _ in range(3)]
    assert results == [Pushed.ACCEPTED, Pushed.ACCEPTED, Pushed.CLOSED]
    assert server.overloaded == 1
    assert await server.recover() == ["stuck", "websocket.close"]


async def test_an_overflow_keeps_the_consumers_own_sends() -> None:
    server = await Server().slow()
    own = server.outbox.add(text("own"))
    server.outbox.push(of_size(PUSHED_BYTES))
    assert server.outbox.push(PreparedMessage("x")) is Pushed.CLOSED
    assert await server.recover() == ["stuck", "own", "websocket.close"]
    assert own.result() is None


async def test_nothing_is_sent_behind_a_close() -> None:
    server = await Server().slow()
    server.outbox.push(of_size(PUSHED_BYTES))
    assert [server.outbox.push(PreparedMessage("x")) for _ in range(2)] == [Pushed.CLOSED] * 2
    with pytest.raises(ClientDisconnected):
        server.outbox.add(text("late"))
    assert server.overloaded == 1
    assert await server.recover() == ["stuck", "websocket.close"]


async def test_nothing_is_sent_behind_the_consumers_own_close() -> None:
    server = Server()
    await server.outbox.add(ACCEPT)
    server.outbox.push(PreparedMessage("before"))
    server.outbox.add(CLOSE)
    assert server.outbox.push(PreparedMessage("after")) is Pushed.CLOSED
    with pytest.raises(ClientDisconnected):
        server.outbox.add(text("after"))
    await settle()
    assert server.sent == ["websocket.accept", "before", "websocket.close"]


async def test_drop_newest_drops_the_push_at_hand(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server = await Server().slow()
    assert server.outbox.push(of_size(PUSHED_BYTES, "a"), "drop_newest") is Pushed.ACCEPTED
    assert server.outbox.push(PreparedMessage("b"), "drop_newest") is Pushed.DROPPED
    assert server.outbox.push(PreparedMessage("c"), "drop_newest") is Pushed.DROPPED
    assert server.outbox.dropped == 2
    assert len(caplog.records) == 1
    assert [item[0] for item in await server.recover()] == ["s", "a"]
    assert server.outbox.push(PreparedMessage("d"), "drop_newest") is Pushed.ACCEPTED


async def test_drop_oldest_makes_room() -> None:
    server = await Server().slow()
    for letter in "abc":
        assert server.outbox.push(of_size(PUSHED_BYTES // 2, letter), "drop_oldest") is Pushed.ACCEPTED
    assert server.outbox.dropped == 1
    assert [item[0] for item in await server.recover()] == ["s", "b", "c"]


async def test_latest_replaces_the_waiting_push_of_its_key() -> None:
    server = await Server().slow()
    for number in range(3):
        server.outbox.push(PreparedMessage(f"a{number}"), "latest", "a")
        server.outbox.push(PreparedMessage(f"b{number}"), "latest", "b")
    server.outbox.add(text("own"))
    assert await server.recover() == ["stuck", "a2", "b2", "own"]
    assert server.outbox.dropped == 0


async def test_own_sends_that_nobody_awaits_are_bounded() -> None:
    server = await Server().slow()
    quarter = text("x" * (OWN_BYTES // 4))
    for _ in range(4):
        server.outbox.add(quarter)
    with pytest.raises(ClientDisconnected, match="too slow"):
        server.outbox.add(quarter)
    assert server.overloaded == 1
    assert len(await server.recover()) == 1 + 4 + 1
    assert server.sent[-1] == "websocket.close"


async def test_a_burst_of_own_sends_harms_nobody_who_is_not_slow() -> None:
    server = Server()
    await server.outbox.add(ACCEPT)
    for _ in range(40):
        server.outbox.add(text("x" * (OWN_BYTES // 10)))
    await settle()
    assert len(server.sent) == 41
    for _ in range(BURST_BYTES // OWN_BYTES):
        server.outbox.add(LARGE)
    with pytest.raises(ClientDisconnected, match="too slow"):
        server.outbox.add(LARGE)
    assert server.overloaded == 1


async def test_a_message_of_any_size_may_be_sent_and_awaited() -> None:
    server = Server()
    await server.outbox.add(ACCEPT)
    for _ in range(3):
        await server.outbox.add(text("x" * OWN_BYTES * 2))
    assert not server.overloaded


async def test_a_client_that_was_given_up_has_little_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "SLOW_CLIENT_S", 0)
    server = await Server().slow()
    own = server.outbox.add(text("own"))
    for _ in range(2):
        server.outbox.push(of_size(PUSHED_BYTES))
    await server.outbox.finish(True)
    with pytest.raises(ClientDisconnected):
        await own


async def test_what_is_no_message_is_refused_at_the_call() -> None:
    server = Server()
    await server.outbox.add(ACCEPT)
    for wrong in ({"text": "\ud800"}, {"text": "a", "bytes": b"a"}, {}):
        with pytest.raises(InvalidMessage):
            server.outbox.add({"type": "websocket.send", **wrong})
    data = bytearray(b"first")
    sent = server.outbox.add({"type": "websocket.send", "bytes": data})
    data[:] = b"other"
    await sent
    assert server.sent == ["websocket.accept", b"first"]


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
    for future in (sent, waiting):
        assert isinstance(future.exception(), ClientDisconnected)


async def test_an_unused_outbox_has_nothing_to_finish() -> None:
    await Server().outbox.finish(True)
