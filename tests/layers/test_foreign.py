"""Layers that only keep the published contract, behind our front."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import tests.project  # noqa: F401  Django's settings
from raceway.consumers import AsyncJsonWebsocketConsumer, WebsocketConsumer
from raceway.errors import ChannelFull, LayerUnavailable, MessageTooLarge
from raceway.layers import Channel, Group, channel_layers, decode_event, foreign, strand
from raceway.layers.configured import as_front
from raceway.layers.foreign import ForeignLayer
from raceway.prepared import PreparedMessage
from raceway.registry import Closing
from tests.consumers.driver import Socket
from tests.layers import contract
from tests.layers.contract import Contract
from tests.waiting import until


@pytest.fixture
async def theirs() -> Contract:
    return Contract()


@pytest.fixture
async def layer(theirs: Contract) -> AsyncIterator[ForeignLayer]:
    layer = ForeignLayer(theirs)
    channel_layers.set("default", layer)
    yield layer
    await layer.aclose()
    channel_layers.set("default", None)


class Listener:
    """An open channel, and what has come to it."""

    def __init__(self, layer: ForeignLayer, name: str) -> None:
        self.layer, self.name = layer, name
        self.came: list[Any] = []
        layer.open(name, self.deliver, self.push, self.close)

    @classmethod
    async def open(cls, layer: ForeignLayer) -> Listener:
        return cls(layer, await layer.new_channel())

    def deliver(self, encoded: bytes) -> bool:
        self.came.append(decode_event(encoded))
        return True

    def push(self, message: PreparedMessage, policy: str, key: object) -> None:
        self.came.append((message.payload.decode() if message.is_text else message.payload, policy, key))

    def close(self, closing: Closing) -> None:
        self.came.append(closing)

    async def next(self) -> Any:
        await until(lambda: self.came)
        return self.came.pop(0)


def made(theirs: Contract, *names: str) -> list[tuple[Any, ...]]:
    """The calls of these methods."""
    return [call for call in theirs.calls if call[0] in names]


async def in_thread(function: Any, *args: Any) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, function, *args)


def test_ours_stay_as_they_are() -> None:
    layer = as_front(Contract())
    assert isinstance(layer, ForeignLayer)
    assert as_front(layer) is layer
    assert layer.capacity_of("x") == 100


# Messages


async def test_an_event_arrives_as_an_event(layer: ForeignLayer) -> None:
    listener = await Listener.open(layer)
    await layer.send(listener.name, {"type": "a.b", "data": b"\0", "list": [1, None, {"x": 1.5}]})
    assert await listener.next() == {"type": "a.b", "data": b"\0", "list": [1, None, {"x": 1.5}]}


async def test_a_client_message_is_a_push_again(layer: ForeignLayer, theirs: Contract) -> None:
    listener = await Listener.open(layer)
    await layer.group_add("g", listener.name)
    for data in ("ä", b"\xff", ""):
        await Group("g").abroadcast(data)
        assert await listener.next() == (data, "close", None)
    await layer.group_send("g", {"type": "websocket.close", "code": 4000, "reason": "x"})
    assert await listener.next() == Closing(4000, "x")
    assert made(theirs, "group_send")[0][2] == {"type": "websocket.send", "text": "ä"}


async def test_the_policy_and_its_key_travel(layer: ForeignLayer) -> None:
    listener = await Listener.open(layer)
    await layer.group_add("g", listener.name)
    await Group("g").abroadcast("x", policy="latest")
    assert await listener.next() == ("x", "latest", "g")


async def test_who_is_excluded_gets_nothing(layer: ForeignLayer) -> None:
    first, second = await Listener.open(layer), await Listener.open(layer)
    for listener in (first, second):
        await layer.group_add("g", listener.name)
    await layer.group_add("g", "named")
    await Group("g").abroadcast("not you", exclude=first.name)
    await Group("g").abroadcast("nor you", exclude="named")
    assert [await first.next(), first.came] == [("nor you", "close", None), []]
    assert [(await second.next())[0], (await second.next())[0]] == ["not you", "nor you"]
    assert await layer.receive("named") == {"type": "websocket.send", "text": "not you"}
    await Group("g").abroadcast("all")
    assert (await layer.receive("named"))["text"] == "all"


async def test_keys_that_others_cannot_carry_arrive(layer: ForeignLayer, theirs: Contract) -> None:
    """V35"""
    listener = await Listener.open(layer)
    event = {"type": "scores", "scores": [{7: "bender"}]}
    await layer.send(listener.name, event)
    assert await listener.next() == event
    await layer.send("named", event)
    assert await layer.receive("named") == event
    for _, _, sent in made(theirs, "send"):
        assert sent["type"] == "scores"
        assert foreign.has_text_keys(sent)


async def test_a_message_that_cannot_be_read_is_logged_and_costs_no_other(
    layer: ForeignLayer, theirs: Contract, caplog: pytest.LogCaptureFixture
) -> None:
    listener = await Listener.open(layer)
    await theirs._memory.send(
        listener.name, {"type": "websocket.close", "code": 4000, "raceway.note": {"new": 1}}
    )
    await layer.send(listener.name, {"type": "good"})
    assert await listener.next() == {"type": "good"}
    assert "could not be handed over" in caplog.text


async def test_a_message_of_others_is_an_event(layer: ForeignLayer, theirs: Contract) -> None:
    listener = await Listener.open(layer)
    await theirs.send(listener.name, {"type": "from.them"})
    assert await listener.next() == {"type": "from.them"}


# Order and failures


async def test_nothing_waits_and_everything_is_in_order(layer: ForeignLayer, theirs: Contract) -> None:
    listener = await Listener.open(layer)
    layer.join("g", listener.name)
    for number in range(5):
        layer.start_publish("g", layer.prepare({"type": "n", "n": number}))
    layer.leave("g", listener.name)
    layer.start_publish("g", layer.prepare({"type": "n", "n": 5}))
    await layer.send(listener.name, {"type": "last"})
    assert [(await listener.next()).get("n") for _ in range(6)] == [0, 1, 2, 3, 4, None]
    assert not listener.came


async def test_channel_full_is_ours(layer: ForeignLayer) -> None:
    for _ in range(100):
        await layer.send("named", {"type": "x"})
    with pytest.raises(ChannelFull):
        await Channel("named").asend({"type": "x"})
    with pytest.raises(layer.ChannelFull):
        await in_thread(Channel("named").send, {"type": "x"})
    assert layer.full_count == 2


async def test_other_errors_are_theirs(
    layer: ForeignLayer, theirs: Contract, caplog: pytest.LogCaptureFixture
) -> None:
    theirs.failures["group_send"] = [ConnectionError("no broker"), ConnectionError("still none")]
    with pytest.raises(ConnectionError, match="no broker"):
        await layer.group_send("g", {"type": "x"})
    layer.start_publish("g", layer.prepare({"type": "x"}))
    await layer.send("named", {"type": "x"})
    assert "Sending to the group g failed" in caplog.text
    assert "still none" in caplog.text
    assert "no broker" not in caplog.text


async def test_too_large_is_ours_before_they_see_it(layer: ForeignLayer, theirs: Contract) -> None:
    layer.max_message_bytes = 10
    with pytest.raises(MessageTooLarge):
        await layer.send("named", {"type": "x" * 11})
    assert made(theirs, "send") == []


async def test_what_waits_for_the_layer_is_bounded(
    layer: ForeignLayer, theirs: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strand, "STRAND_CALLS", 2)
    theirs.gate.clear()
    listener = await Listener.open(layer)
    layer.join("g", listener.name)
    layer.start_send("named", b"\x80")
    with pytest.raises(LayerUnavailable, match="2 calls wait for the channel layer"):
        layer.start_send("named", b"\x80")
    layer.close(listener.name)  # ends are never refused
    theirs.gate.set()
    await until(lambda: made(theirs, "group_discard"))


@pytest.mark.parametrize("failure", [ConnectionError("no broker"), asyncio.CancelledError()], ids=repr)
async def test_a_failed_receive_is_tried_again(
    failure: BaseException,
    layer: ForeignLayer,
    theirs: Contract,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(foreign, "FIRST_RETRY_S", 0)
    theirs.failures["receive"] = [failure] * 5
    listener = await Listener.open(layer)
    await layer.send(listener.name, {"type": "after"})
    assert await listener.next() == {"type": "after"}
    assert caplog.text.count("is tried again") == 1


async def test_after_a_failure_a_channel_joins_its_groups_again(
    layer: ForeignLayer, theirs: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "FIRST_RETRY_S", 0)
    listener = await Listener.open(layer)
    await layer.group_add("g", listener.name)
    await theirs._memory.flush()  # a broker that was started anew ...
    theirs.failures["group_add"] = [ConnectionError("not yet")]
    theirs.failures["receive"] = [ConnectionError("gone")]
    await theirs._memory.send(listener.name, {"type": "wakes"})  # ... and says so when it is next asked
    await until(lambda: len(made(theirs, "group_add")) == 3)
    await layer.group_send("g", {"type": "back"})
    assert [await listener.next(), await listener.next()] == [{"type": "wakes"}, {"type": "back"}]


# Members


async def test_membership_is_counted(layer: ForeignLayer, theirs: Contract) -> None:
    listener = await Listener.open(layer)
    for _ in range(3):
        await layer.group_add("g", listener.name)
    for _ in range(2):
        await layer.group_discard("g", listener.name)
    await layer.group_send("g", {"type": "still"})
    assert await listener.next() == {"type": "still"}
    await layer.group_discard("g", listener.name)
    await layer.group_discard("g", listener.name)
    assert len(made(theirs, "group_add")) == len(made(theirs, "group_discard")) == 1


async def test_membership_of_a_connection_does_not_expire() -> None:
    """Row B54: the contract ends it ``group_expiry`` after the last ``group_add``."""
    theirs = Contract(group_expiry=0.002)
    layer = ForeignLayer(theirs)
    listener = await Listener.open(layer)
    await layer.group_add("g", listener.name)
    await until(lambda: len(made(theirs, "group_add")) > 3)
    layer.close(listener.name)
    await until(lambda: not layer._listeners)
    layer._renew(layer._strand_here())
    assert layer._strand_here().renewal is None
    await layer.aclose()


async def test_a_failed_join_is_none(layer: ForeignLayer, theirs: Contract) -> None:
    listener = await Listener.open(layer)
    theirs.failures["group_add"] = [ConnectionError("no broker")]
    with pytest.raises(ConnectionError):
        await layer.group_add("g", listener.name)
    await layer.group_add("g", listener.name)
    await layer.group_send("g", {"type": "x"})
    assert await listener.next() == {"type": "x"}


async def test_a_closed_channel_leaves_its_groups_and_then_stops_receiving(
    layer: ForeignLayer, theirs: Contract
) -> None:
    """V37: who receives no more must not stay a member."""
    listener = await Listener.open(layer)
    await until(lambda: theirs.receiving)
    for group in ("g", "h"):
        await layer.group_add(group, listener.name)
        layer.join(group, listener.name)
    layer.leave_all(listener.name)
    layer.close(listener.name)
    layer.close(listener.name)
    assert theirs.receiving
    await until(lambda: not theirs.receiving)
    assert {call[1] for call in made(theirs, "group_discard")} == {"g", "h"}
    await until(lambda: not layer._listeners)
    await layer.send(listener.name, {"type": "late"})
    assert listener.came == []


async def test_a_receive_that_fails_when_it_is_cancelled_has_ended(
    layer: ForeignLayer, theirs: Contract, caplog: pytest.LogCaptureFixture
) -> None:
    listener = await Listener.open(layer)
    await until(lambda: theirs.receiving)
    task = layer._listeners[listener.name].task
    theirs.failures["cancel"] = [ConnectionError("no broker to tell")]
    layer.close(listener.name)
    await until(task.done)
    assert task.exception() is None
    assert not theirs.failures["cancel"]
    assert caplog.text == ""


async def test_flush_forgets_memberships(layer: ForeignLayer, theirs: Contract) -> None:
    listener = await Listener.open(layer)
    await layer.group_add("g", listener.name)
    await layer.flush()
    await layer.group_add("g", listener.name)
    assert len(made(theirs, "group_add")) == 2
    layer.clear()
    await layer.send("x", {"type": "behind"})
    assert len(made(theirs, "flush")) == 2


async def test_members_are_not_the_contracts(layer: ForeignLayer) -> None:
    assert layer.extensions == ["groups", "flush"]
    with pytest.raises(NotImplementedError, match=r"ForeignLayer does not offer 'members'"):
        await layer.group_channels("g")
    with pytest.raises(RuntimeError, match="await new_channel"):
        layer.new_channel_name()


# Threads and loops


async def test_threads_reach_the_loop_that_listens(layer: ForeignLayer, theirs: Contract) -> None:
    listener = await Listener.open(layer)

    def work() -> None:
        Group("g").add(listener.name)
        Group("g").send({"type": "one"})
        Group("g").discard(listener.name)
        Group("g").send({"type": "none"})
        Channel(listener.name).send({"type": "two"})

    await in_thread(work)
    assert [await listener.next(), await listener.next()] == [{"type": "one"}, {"type": "two"}]
    assert theirs.loops == {asyncio.get_running_loop()}


async def test_a_thread_that_is_early_finds_the_loop_too(layer: ForeignLayer, theirs: Contract) -> None:
    """The names of some layers do not tell a connection's."""
    listener = Listener(layer, "specific.without.exclamation")
    assert not theirs.receiving
    with ThreadPoolExecutor(1) as pool:
        joined = pool.submit(Group("g").add, listener.name)
        await asyncio.wrap_future(joined)
    assert theirs.loops == {asyncio.get_running_loop()}
    layer.close(listener.name)
    await until(lambda: made(theirs, "group_discard"))


async def test_another_loop_sends_through_the_one_that_listens(layer: ForeignLayer, theirs: Contract) -> None:
    waiting = asyncio.ensure_future(layer.receive("named"))
    await until(lambda: theirs.receiving)
    await in_thread(asyncio.run, layer.send("named", {"type": "x"}))
    assert await waiting == {"type": "x"}
    assert theirs.loops == {asyncio.get_running_loop()}
    theirs.failures["send"] = [ConnectionError("no broker")]
    listener = await Listener.open(layer)
    with pytest.raises(ConnectionError):
        await in_thread(asyncio.run, layer.send(listener.name, {"type": "x"}))


def test_without_any_loop_there_is_one_in_the_background() -> None:
    theirs = Contract()
    layer = ForeignLayer(theirs)
    layer.send_from_thread("named", layer.prepare({"type": "x"}))
    layer.publish_from_thread("g", layer.prepare({"type": "x"}))
    theirs.failures["send"] = [contract.ChannelFull()]
    with pytest.raises(ChannelFull):
        layer.send_from_thread("named", layer.prepare({"type": "x"}))
    assert theirs.loops == {strand.background_loop()}
    assert strand.background_loop().is_running()
    assert [thread.name for thread in threading.enumerate()].count("raceway-layers") == 1


async def test_a_thread_does_not_wait_for_ever(
    layer: ForeignLayer, theirs: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "ANSWER_S", 0.01)
    await Listener.open(layer)
    theirs.gate.clear()
    with pytest.raises(LayerUnavailable, match=r"Sending to named: .* has not answered for"):
        await in_thread(Channel("named").send, {"type": "x"})
    theirs.gate.set()


def test_a_loop_that_ends_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    theirs = Contract()
    layer = ForeignLayer(theirs)

    async def visit() -> None:
        listener = await Listener.open(layer)
        theirs.gate = asyncio.Event()
        layer.start_send(listener.name, b"\x80")
        layer.start_send(listener.name, b"\x80")
        await until(lambda: theirs.receiving)

    with caplog.at_level(logging.WARNING):
        asyncio.run(visit())
        assert not layer._listeners
        assert "1 calls of the channel layer were lost" in caplog.text
        theirs.gate = asyncio.Event()
        theirs.gate.set()
        asyncio.run(layer.send("named", {"type": "x"}))
    assert len(layer._strands) == 1


# Consumers


class Chat(AsyncJsonWebsocketConsumer):
    groups = ["chat"]

    async def receive_json(self, content: Any) -> None:
        await self.group_send("chat", {"type": "chat.message", "text": content})

    async def chat_message(self, event: Any) -> None:
        await self.send_json(event["text"])


class SyncChat(WebsocketConsumer):
    def connect(self) -> None:
        Group("chat").add(self.channel_name)
        self.accept()

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        Group("chat").broadcast(text_data, exclude=self.channel_name)

    def chat_message(self, event: Any) -> None:
        self.send(f"sync {event['text']}")


@pytest.mark.parametrize("with_lane", [True, False])
async def test_consumers_work_over_it(layer: ForeignLayer, theirs: Contract, with_lane: bool) -> None:
    one, two = Socket(Chat.as_asgi(), lane=with_lane), Socket(SyncChat.as_asgi(), lane=with_lane)
    for socket in (one, two):
        assert await socket.connect() == {"type": "websocket.accept"}
    one.say('"hello"')
    assert [await one.text(), await two.text()] == ['"hello"', "sync hello"]
    two.say("hi")
    assert await one.text() == "hi"
    for socket in (one, two):
        await socket.goodbye()
    await until(lambda: not layer._listeners)
    assert len(made(theirs, "group_discard")) == 2
    assert two.sent == []


async def test_who_is_accepted_is_in_its_groups(layer: ForeignLayer, theirs: Contract) -> None:
    theirs.gate.clear()
    layer.start_send("other", b"\x80")  # the join waits behind it
    socket = Socket(Chat.as_asgi(), lane=True).start()
    await until(lambda: theirs.receiving)
    assert socket.sent == []
    theirs.gate.set()
    assert await socket.next() == {"type": "websocket.accept"}
    assert made(theirs, "group_add")
    await socket.goodbye()


async def test_a_layer_that_has_no_channel_to_give_fails_the_connection(
    layer: ForeignLayer, theirs: Contract
) -> None:
    theirs.failures["new_channel"] = [ConnectionError("no broker")]
    socket = Socket(Chat.as_asgi(), lane=False).start()
    with pytest.raises(ConnectionError, match="no broker"):
        await socket.end()
