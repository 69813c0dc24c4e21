"""What follows from how a consumer ends, without sockets."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from raceway.errors import (
    ChannelSocketException,
    ConsumeLater,
    DenyConnection,
    MalformedMessage,
    WebsocketCloseException,
)
from raceway.layers.memory import MemoryLayer
from raceway.messaging import (
    Message,
    Router,
)
from raceway.messaging.dispatch import (
    FAILED,
    LONGEST_WAIT_S,
    RETRIES,
    Dispatcher,
    answer_to,
    send_again,
    wait_s,
)
from raceway.signals import consumer_finished, consumer_started


class Dispatched:
    """One consumer, and what its client is told."""

    def __init__(self, layer: MemoryLayer, consumer: Any, channel: str = "websocket.receive") -> None:
        self.layer = layer
        self.reply_channel = layer.new_channel_name()
        self.waits: list[float] = []
        self.dispatcher = Dispatcher(Router({channel: consumer}), self._again)
        self.message = Message({"reply_channel": self.reply_channel}, channel)

    async def _again(self, message: Message, wait_s: float) -> bool:
        self.waits.append(wait_s)
        return True

    async def consume(self) -> Any:
        await self.dispatcher.consume(self.message)
        try:
            return await asyncio.wait_for(self.layer.receive(self.reply_channel), 0.01)
        except TimeoutError:
            return None


def raising(error: Any) -> Any:
    def consumer(message):
        raise error

    return consumer


@pytest.mark.pure
@pytest.mark.parametrize(
    ("channel", "error", "answer"),
    [
        ("websocket.connect", None, {"accept": True}),
        ("websocket.connect", DenyConnection(), {"close": True}),
        ("websocket.connect", KeyError("x"), {"close": True}),
        ("websocket.connect", ConsumeLater(), {"close": True}),
        ("websocket.receive", None, None),
        ("websocket.receive", KeyError("x"), None),
        ("websocket.disconnect", KeyError("x"), None),
        ("http.request", None, None),
        ("http.request", KeyError("x"), FAILED),
        ("thumbnail", KeyError("x"), None),
    ],
)
def test_what_a_client_is_told(channel: str, error: Exception | None, answer: Any) -> None:
    assert answer_to(channel, error) == answer


@pytest.mark.pure
def test_each_wait_is_twice_the_last_up_to_a_bound() -> None:
    waits = [wait_s(tries) for tries in range(RETRIES)]
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[-1] == LONGEST_WAIT_S
    assert sum(waits) < 60


async def test_connect_that_returns_has_accepted(layer: MemoryLayer) -> None:
    accepted = {"type": "raceway.reply", "accept": True}
    assert await Dispatched(layer, lambda message: None, "websocket.connect").consume() == accepted


async def test_connect_that_denies(layer: MemoryLayer, caplog: pytest.LogCaptureFixture) -> None:
    told = await Dispatched(layer, raising(DenyConnection()), "websocket.connect").consume()
    assert told == {"type": "websocket.close", "code": 1000, "reason": ""}
    assert not caplog.records


async def test_denying_anywhere_else_is_a_mistake(
    layer: MemoryLayer, caplog: pytest.LogCaptureFixture
) -> None:
    assert await Dispatched(layer, raising(DenyConnection())).consume() is None
    assert "only a consumer of websocket.connect can refuse" in caplog.text


async def test_an_exception_is_logged(layer: MemoryLayer, caplog: pytest.LogCaptureFixture) -> None:
    assert await Dispatched(layer, raising(KeyError("lost"))).consume() is None
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.message.startswith("Error processing message with consumer raising.<locals>.consumer")
    assert record.exc_info is not None


async def test_what_a_client_got_wrong_is_no_error(
    layer: MemoryLayer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert await Dispatched(layer, raising(MalformedMessage("What?", 1007))).consume() is None
    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (logging.INFO, None)


async def test_what_is_not_routed_is_logged_and_dropped(
    layer: MemoryLayer, caplog: pytest.LogCaptureFixture
) -> None:
    await Dispatcher(Router({})).consume(Message({}, "thumbnail"))
    assert caplog.messages == ["Could not find match for message on thumbnail! Check your routing."]


@pytest.mark.parametrize(("code", "said"), [(None, 1000), (1000, 1000), (3000, 3000), (4999, 4999)])
async def test_closing_by_an_exception(layer: MemoryLayer, code: int | None, said: int) -> None:
    told = await Dispatched(layer, raising(WebsocketCloseException(code))).consume()
    assert told == {"type": "websocket.close", "code": said, "reason": ""}


@pytest.mark.pure
@pytest.mark.parametrize("code", [0, 999, 1001, 1005, 2999, 5000])
def test_codes_that_no_application_closes_with(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        WebsocketCloseException(code)


async def test_an_exception_of_ones_own(layer: MemoryLayer) -> None:
    class SayGoodbye(ChannelSocketException):
        def run(self, message):
            message.reply_channel.send({"text": "Goodbye"})

    told = await Dispatched(layer, raising(SayGoodbye())).consume()
    assert told == {"type": "websocket.send", "text": "Goodbye"}


async def test_an_exception_of_ones_own_that_does_nothing_is_an_error(
    layer: MemoryLayer, caplog: pytest.LogCaptureFixture
) -> None:
    class Nothing(ChannelSocketException):
        pass

    assert await Dispatched(layer, raising(Nothing())).consume() is None
    assert "Nothing needs a method run(self, message)" in caplog.text


class Later:
    """Wants its message later, a number of times."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.seen: list[tuple[int, bool]] = []

    def __call__(self, message):
        self.seen.append((message.get("__retries__", 0), message.__doomed__))
        if len(self.seen) <= self.times:
            raise ConsumeLater


async def test_a_message_comes_again(layer: MemoryLayer, caplog: pytest.LogCaptureFixture) -> None:
    later = Later(2)
    dispatched = Dispatched(layer, later)
    await dispatched.consume()
    assert later.seen == [(0, False), (1, False), (2, False)]
    assert dispatched.waits == [0.1, 0.2]
    assert not caplog.records


async def test_a_message_comes_again_so_often_and_is_dropped(
    layer: MemoryLayer, caplog: pytest.LogCaptureFixture
) -> None:
    later = Later(100)
    await Dispatched(layer, later).consume()
    assert later.seen == [(tries, tries == RETRIES) for tries in range(RETRIES + 1)]
    assert len(caplog.records) == 1
    assert "is dropped" in caplog.text


async def test_a_message_of_a_named_channel_waits_in_the_layer(layer: MemoryLayer) -> None:
    later = Later(1)
    dispatcher = Dispatcher(Router({"thumbnail": later}), send_again)
    await dispatcher.consume(Message({"id": 5}, "thumbnail"))
    assert later.seen == [(0, False)]
    again = await asyncio.wait_for(layer.receive("thumbnail"), 2)
    assert again == {"id": 5, "__retries__": 1}
    await dispatcher.consume(Message(again, "thumbnail"))
    assert later.seen == [(0, False), (1, False)]


async def test_kinds_of_consumers(layer: MemoryLayer) -> None:
    threads: dict[str, int] = {}

    def plain(message, **kwargs):
        threads["plain"] = threading.get_ident()

    async def coroutine(message, **kwargs):
        threads["coroutine"] = threading.get_ident()

    class Called:
        async def __call__(self, message, **kwargs):
            threads["called"] = threading.get_ident()

    def hidden(message, **kwargs):
        return coroutine(message)

    for consumer in (plain, coroutine, Called(), hidden):
        await Dispatcher(Router({"x": consumer})).consume(Message({}, "x"))
    here = threading.get_ident()
    assert (threads["coroutine"], threads["called"]) == (here, here)
    assert threads["plain"] != here


async def test_signals(layer: MemoryLayer) -> None:
    seen: list[tuple[str, Any, str]] = []

    def started(sender, message, **kwargs):
        seen.append(("started", sender, message.channel.name))

    async def finished(sender, message, **kwargs):
        seen.append(("finished", sender, message.channel.name))

    consumer = raising(KeyError())
    consumer_started.connect(started)
    consumer_finished.connect(finished)
    try:
        await Dispatched(layer, consumer, "x").consume()
    finally:
        consumer_started.disconnect(started)
        consumer_finished.disconnect(finished)
    assert seen == [("started", consumer, "x"), ("finished", consumer, "x")]
