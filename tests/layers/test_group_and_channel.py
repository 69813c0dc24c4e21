"""``Group`` and ``Channel``, from coroutines, threads and transactions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.db import transaction

import tests.project  # noqa: F401  Django's settings
from raceway import Channel, Group
from raceway.errors import ChannelFull, InvalidChannelLayerError, InvalidMessage, MessageTooLarge
from raceway.layers import channel_layers
from raceway.layers.memory import MemoryLayer
from raceway.layers.spec import decode_event
from raceway.prepared import PreparedMessage


class Socket:
    """A member with a fast lane."""

    def __init__(self, layer: MemoryLayer, *groups: str) -> None:
        self.events: list[Any] = []
        self.pushed: list[tuple[bytes, bool, str]] = []
        self.name = layer.new_channel_name()
        layer.open(self.name, self.deliver, self.push)
        for group in groups:
            Group(group).add(self.name)

    def deliver(self, encoded: bytes) -> bool:
        self.events.append(decode_event(encoded))
        return True

    def push(self, message: PreparedMessage, policy: str, key: object) -> None:
        self.pushed.append((message.payload, message.is_text, policy))


async def test_events_and_client_messages(layer: MemoryLayer) -> None:
    socket = Socket(layer, "g")
    await Group("g").asend({"type": "chat.message", "body": "hi"})
    await Group("g").asend({"type": "websocket.send", "text": "final"})
    await Group("g").asend({"text": "short form"})
    await Group("g").asend({"bytes": b"\x00"})
    assert socket.events == [{"type": "chat.message", "body": "hi"}]
    assert socket.pushed == [
        (b"final", True, "close"),
        (b"short form", True, "close"),
        (b"\x00", False, "close"),
    ]


async def test_broadcast_is_text_binary_or_json(layer: MemoryLayer) -> None:
    socket, other = Socket(layer, "g"), Socket(layer, "g")
    group = Group("g")
    await group.abroadcast("text")
    await group.abroadcast(b"data", policy="latest")
    await group.abroadcast({"a": [1]}, exclude=other.name)
    await group.abroadcast(None, exclude=Channel(other.name))
    assert socket.pushed == [
        (b"text", True, "close"),
        (b"data", False, "latest"),
        (b'{"a":[1]}', True, "close"),
        (b"null", True, "close"),
    ]
    assert len(other.pushed) == 2


def test_channel_send_waits_in_a_queue(layer: MemoryLayer) -> None:
    Channel("thumbnails").send({"image": 1})
    assert asyncio.run(layer.receive("thumbnails")) == {"image": 1}


async def test_channel_asend(layer: MemoryLayer) -> None:
    socket = Socket(layer)
    await Channel(socket.name).asend({"type": "x"})
    await Channel(socket.name).asend({"text": "y"})
    assert (socket.events, socket.pushed) == ([{"type": "x"}], [(b"y", True, "close")])


async def test_add_and_discard(layer: MemoryLayer) -> None:
    socket = Socket(layer)
    group = Group("g")
    group.add(Channel(socket.name))
    await group.asend({"type": "x"})
    group.discard(socket.name)
    await group.asend({"type": "y"})
    assert socket.events == [{"type": "x"}]


def test_mistakes_are_raised_where_they_are_made(layer: MemoryLayer) -> None:
    layer.max_message_bytes = 50
    layer.capacity = 1
    with pytest.raises(TypeError, match="Group name"):
        Group("a b")
    with pytest.raises(TypeError, match="Channel name"):
        Channel("a b")
    with pytest.raises(TypeError, match=r"message\['x'\] is of type object"):
        Group("g").send({"x": object()})
    with pytest.raises(MessageTooLarge):
        Group("g").broadcast("x" * 51)
    with pytest.raises(InvalidMessage, match="not a close code"):
        Group("g").send({"type": "websocket.close", "code": 5})
    with pytest.raises(InvalidMessage, match="UTF-8"):
        Group("g").broadcast("\ud800")
    with pytest.raises(ValueError, match="did you mean 'latest'"):
        Group("g").broadcast("x", policy="lattest")  # type: ignore[arg-type]
    Channel("work").send({})
    with pytest.raises(ChannelFull):
        Channel("work").send({})
    with pytest.raises(InvalidChannelLayerError):
        Group("g", alias="missing").send({})


def test_they_read_well(layer: MemoryLayer) -> None:
    assert (str(Group("g")), repr(Group("g"))) == ("g", "Group('g')")
    assert (str(Channel("c")), repr(Channel("c"))) == ("c", "Channel('c')")


# Transactions


@pytest.fixture
def sent(layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    sent: list[Any] = []
    monkeypatch.setattr(layer, "publish_from_thread", lambda *args: sent.append(args[:2]))
    monkeypatch.setattr(layer, "send_from_thread", lambda *args: sent.append(args))
    return sent


def test_a_send_waits_for_the_commit(sent: list[Any]) -> None:
    with transaction.atomic():
        with transaction.atomic():
            Group("g").send({"type": "x"})
            Channel("c").send({"type": "x"})
            Group("now").send({"type": "x"}, immediate=True)
        assert [name for name, _ in sent] == ["now"]
    assert [name for name, _ in sent] == ["now", "g", "c"]


def test_what_is_rolled_back_is_not_sent(sent: list[Any]) -> None:
    with transaction.atomic():
        Group("g").broadcast("x")
        transaction.set_rollback(True)
    assert sent == []


def test_the_message_is_taken_as_it_is_now(sent: list[Any]) -> None:
    message = {"list": [1]}
    with transaction.atomic():
        Group("g").send(message)
        message["list"].append(2)
    assert decode_event(sent[0][1]) == {"list": [1]}


def test_outside_a_transaction_it_goes_at_once(sent: list[Any]) -> None:
    Group("g").send({"type": "x"})
    assert len(sent) == 1


def test_the_transaction_of_a_test_case_does_not_count(sent: list[Any]) -> None:
    around_test = transaction.atomic()
    around_test._from_testcase = True  # as django.test.TestCase marks its own
    with around_test:
        Group("g").send({"type": "x"})
        assert len(sent) == 1
        with transaction.atomic():
            Group("h").send({"type": "x"})
            assert len(sent) == 1


def test_aliases_have_their_own_layers() -> None:
    other = MemoryLayer()
    channel_layers.set("other", other)
    try:
        Channel("work", alias="other").send({"n": 1})
        assert asyncio.run(other.receive("work")) == {"n": 1}
    finally:
        channel_layers.set("other", None)
