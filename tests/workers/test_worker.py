"""The runtime of a worker over the memory layer; processes are in ``tests/topology/test_workers.py``."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import tests.project  # noqa: F401  Django's settings
from raceway.consumers import AsyncConsumer
from raceway.errors import LayerUnavailable, StopConsumer
from raceway.layers.configured import channel_layers
from raceway.layers.foreign import ForeignLayer
from raceway.layers.front import Work
from raceway.layers.memory import MemoryLayer
from raceway.layers.spec import encode_event
from raceway.routing import ChannelNameRouter, ProtocolTypeRouter
from raceway.signals import worker_ready
from raceway.testing import Clock, fresh_channel_layers
from raceway.types import Receive, Scope, Send
from raceway.workers import Worker
from tests.waiting import until

WAIT_S = 10.0


@pytest.fixture
async def layer() -> AsyncIterator[MemoryLayer]:
    with fresh_channel_layers():
        yield MemoryLayer()


Start = Callable[..., Worker]


@pytest.fixture
async def start(layer: MemoryLayer) -> AsyncIterator[Start]:
    """Start a worker for channels and what handles them; it is stopped after the test."""
    workers: list[Worker] = []

    def start(routes: dict[str, Any], on: Any = None, **options: Any) -> Worker:
        application = ProtocolTypeRouter({"channel": ChannelNameRouter(routes)})
        worker = Worker(application, routes, on or layer, **options)
        worker.start()
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        await worker.stop(0)


async def test_messages_go_to_the_consumer_of_their_channel_in_order(
    layer: MemoryLayer, start: Start
) -> None:
    heard: list[Any] = []

    class Mail(AsyncConsumer):
        async def mail_send(self, event: Any) -> None:
            heard.append(("mail", event["n"], self.scope["channel"]))

    async def thumbnail(message: dict[str, Any]) -> None:
        heard.append(("thumbnail", message))

    for n in range(3):
        await layer.send("mail", {"type": "mail.send", "n": n})
    worker = start({"mail": Mail.as_asgi(), "thumbnails": thumbnail})
    await until(lambda: worker.handled_count == 3)
    await layer.send("thumbnails", {"id": 3})
    await until(lambda: worker.handled_count == 4)
    assert heard == [("mail", 0, "mail"), ("mail", 1, "mail"), ("mail", 2, "mail"), ("thumbnail", {"id": 3})]
    assert worker.channels == ["mail", "thumbnails"]


async def test_receivers_are_told_that_it_is_ready(start: Start) -> None:
    told: list[Any] = []

    def receiver(sender: Worker, **kwargs: Any) -> None:
        told.append(sender)

    worker_ready.connect(receiver)
    try:
        worker = start({"work": print})
    finally:
        worker_ready.disconnect(receiver)
    assert told == [worker]


async def test_only_so_many_are_taken_as_are_handled_at_once(layer: MemoryLayer, start: Start) -> None:
    go_on = asyncio.Event()

    async def slow(message: dict[str, Any]) -> None:
        await go_on.wait()

    worker = start({"work": slow}, concurrency=2)
    for _ in range(5):
        await layer.send("work", {})
    await until(lambda: worker.in_hand == {"work": 2})
    assert (await layer.channel_statistics("work"))["messages_pending"] == 3
    go_on.set()
    await until(lambda: worker.handled_count == 5)


async def test_a_busy_channel_does_not_keep_a_quiet_one_waiting(layer: MemoryLayer, start: Start) -> None:
    handled: list[str] = []
    rest = asyncio.Event()

    async def busy(message: dict[str, Any]) -> None:
        handled.append("busy")
        await asyncio.sleep(0)
        if len(handled) > 50:
            await rest.wait()

    async def quiet(message: dict[str, Any]) -> None:
        handled.append("quiet")

    for _ in range(100):
        await layer.send("busy", {})
    await layer.send("quiet", {})
    start({"busy": busy, "quiet": quiet})
    await until(lambda: "quiet" in handled)
    assert handled.index("quiet") < 10
    rest.set()


async def test_a_handler_that_raises_is_logged_with_its_channel_and_the_next_message_is_taken(
    layer: MemoryLayer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    handled: list[int] = []

    async def fragile(message: dict[str, Any]) -> None:
        if message["n"] == 0:
            raise ValueError("broken")
        handled.append(message["n"])

    worker = start({"work": fragile})
    for n in range(2):
        await layer.send("work", {"n": n})
    await until(lambda: worker.handled_count == 2)
    assert handled == [1]
    assert "fragile failed at a message in the channel 'work'" in caplog.text
    assert "ValueError: broken" in caplog.text


async def test_an_application_that_ends_begins_anew(
    layer: MemoryLayer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    begun: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(scope["channel"])
        message = await receive()
        if message["n"] == 0:
            raise RuntimeError("no more")

    worker = start({"work": application})
    for n in range(3):
        await layer.send("work", {"n": n})
    await until(lambda: worker.handled_count == 3)
    assert len(begun) >= 3
    assert caplog.text.count("The application of the channel 'work' has ended with an error") == 1


class Odd(BaseException):
    """What ``except Exception`` does not see."""


@pytest.mark.parametrize("error", [Odd, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_no_exception_of_a_handler_ends_the_service_of_its_channel(
    layer: MemoryLayer, start: Start, caplog: pytest.LogCaptureFixture, kind: str, error: type[BaseException]
) -> None:
    """A task that had been cancelled and was waited for, or ``sys.exit()`` in a library."""
    handled: list[int] = []

    def fragile(message: dict[str, Any]) -> None:
        if message["n"] == 0:
            raise error("broken")
        handled.append(message["n"])

    async def fragile_too(message: dict[str, Any]) -> None:
        fragile(message)

    worker = start({"work": fragile if kind == "def" else fragile_too})
    for n in range(2):
        await layer.send("work", {"n": n})
    await until(lambda: handled == [1])
    assert worker.handled_count >= 1
    assert "The application of the channel 'work' has ended with an error" in caplog.text
    assert error.__name__ in caplog.text


async def test_a_service_that_somebody_cancels_is_told_of(
    layer: MemoryLayer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async def suicidal(message: dict[str, Any]) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(3600)

    start({"work": suicidal})
    await layer.send("work", {})
    await until(lambda: "raceway-worker-work was ended, and not by this worker" in caplog.text)


async def test_a_consumer_that_stops_itself_begins_anew(layer: MemoryLayer, start: Start) -> None:
    made: list[object] = []

    class Once(AsyncConsumer):
        async def work_do(self, event: Any) -> None:
            made.append(self)
            raise StopConsumer

    worker = start({"work": Once.as_asgi()})
    for _ in range(2):
        await layer.send("work", {"type": "work.do"})
    await until(lambda: worker.handled_count == 2)
    assert made[0] is not made[1]


async def test_nobody_can_be_sent_to(
    layer: MemoryLayer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.send", "text": "?"})

    worker = start({"work": application})
    await layer.send("work", {})
    await until(lambda: worker.handled_count == 1)
    assert "The channel 'work' has no client to send to" in caplog.text


# Threads


async def test_sync_handlers_run_in_so_many_threads_of_their_own(layer: MemoryLayer, start: Start) -> None:
    running = threading.Barrier(3)
    names: set[str] = set()

    def work(message: dict[str, Any]) -> None:
        names.add(threading.current_thread().name.rpartition("_")[0])
        running.wait(0.5 if message["n"] else WAIT_S)

    worker = start({"work": work}, concurrency=4, threads=2)
    for _ in range(4):
        await layer.send("work", {"n": 1})
    await until(lambda: worker.handled_count == 4)  # never three at once, so the barrier breaks
    assert names == {"raceway-worker"}
    assert running.broken


async def test_sync_handlers_share_the_threads_of_all_consumers_otherwise(
    layer: MemoryLayer, start: Start
) -> None:
    running = threading.Barrier(3)
    names: set[str] = set()

    def work(message: dict[str, Any]) -> None:
        names.add(threading.current_thread().name.rpartition("_")[0])
        running.wait(WAIT_S)

    worker = start({"work": work}, concurrency=3)
    for _ in range(3):
        await layer.send("work", {})
    await until(lambda: worker.handled_count == 3)
    assert names == {"raceway-sync"}


# Stopping


async def test_a_stop_finishes_what_is_in_hand_and_takes_nothing_more(
    layer: MemoryLayer, start: Start
) -> None:
    go_on = asyncio.Event()
    finished: list[int] = []

    async def slow(message: dict[str, Any]) -> None:
        await go_on.wait()
        finished.append(message["n"])

    worker = start({"work": slow, "idle": slow})
    for n in range(3):
        await layer.send("work", {"n": n})
    await until(lambda: worker.in_hand.total())
    stopping = asyncio.ensure_future(worker.stop(WAIT_S))
    await asyncio.sleep(0)
    go_on.set()
    assert await stopping == 0
    assert finished == [0]
    assert [await layer.receive("work") for _ in range(2)] == [{"n": 1}, {"n": 2}]


async def test_a_stop_of_an_idle_worker_takes_no_time_and_leaves_nobody_waiting(
    layer: MemoryLayer, start: Start
) -> None:
    async def handle(message: dict[str, Any]) -> None:
        raise AssertionError(message)

    worker = start({"work": handle}, concurrency=3)
    await until(lambda: sum(len(part.receivers.get("work", ())) for part in layer._parts.values()) == 3)
    async with asyncio.timeout(WAIT_S):
        assert await worker.stop(3600) == 0
    await layer.send("work", {"n": 1})
    assert await layer.receive("work") == {"n": 1}


async def test_what_lasts_longer_than_the_drain_is_cut_off_and_said(
    layer: MemoryLayer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    cut: list[int] = []

    async def stubborn(message: dict[str, Any]) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cut.append(message["n"])
            raise

    worker = start({"work": stubborn})
    await layer.send("work", {"n": 1})
    await until(lambda: worker.in_hand.total())
    assert await worker.stop(0) == 1
    assert cut == [1]
    assert worker.handled_count == 0
    assert "1 messages of the channel 'work' were cut off within their handlers" in caplog.text


async def test_a_stop_can_be_hurried(layer: MemoryLayer, start: Start) -> None:
    async def stubborn(message: dict[str, Any]) -> None:
        await asyncio.sleep(3600)

    worker = start({"work": stubborn})
    await layer.send("work", {})
    await until(lambda: worker.in_hand.total())
    stopping = asyncio.ensure_future(worker.stop(3600))
    await asyncio.sleep(0)
    worker.hurry()
    assert await asyncio.wait_for(stopping, WAIT_S) == 1


async def test_what_was_cut_off_is_not_called_done() -> None:
    layer = Handing()

    async def stubborn(message: dict[str, Any]) -> None:
        await asyncio.sleep(3600)

    worker = Worker(ChannelNameRouter({"work": stubborn}), ["work"], layer)
    worker.start()
    await until(lambda: layer.wanted)
    layer.hand("a")
    await until(lambda: worker.in_hand.total())
    await worker.stop(0)
    assert layer.log == ["a taken"]


async def test_what_comes_while_the_application_ends_is_put_back() -> None:
    """Its ``receive`` is cancelled in the very pass of the loop in which the message is there."""
    layer = Handing()

    async def impatient(scope: Scope, receive: Receive, send: Send) -> None:
        receiving = asyncio.ensure_future(receive())
        while not layer.wanted:  # noqa: ASYNC110
            await asyncio.sleep(0)
        layer.hand("a")
        await asyncio.sleep(0)  # the layer's part of it is done
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
        await asyncio.sleep(3600)

    worker = Worker(impatient, ["work"], layer)
    worker.start()
    await until(lambda: layer.log)
    await worker.stop(0)
    assert layer.log == ["a taken", "a put back"]


class Handing(MemoryLayer):
    """A layer that hands out what it is told to, when it is told to, and notes what becomes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []
        self.wanted: list[asyncio.Future[str]] = []

    def hand(self, name: str) -> None:
        self.wanted.pop().set_result(name)

    async def take_work(self, channel: str) -> Work:
        wanted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.wanted.append(wanted)
        try:
            name = await wanted
        except asyncio.CancelledError:
            if wanted.done() and not wanted.cancelled():
                self.log.append(f"{wanted.result()} never taken")
            raise
        self.log.append(f"{name} taken")
        return Work(
            encode_event({"name": name}),
            lambda: self.log.append(f"{name} done"),
            lambda: self.log.append(f"{name} put back"),
        )


# A layer that fails


async def test_a_layer_that_cannot_be_reached_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    class Down(MemoryLayer):
        is_down = True
        tries = 0

        async def take(self, channel: str) -> bytes:
            self.tries += 1
            if self.is_down:
                raise LayerUnavailable("there is no broker")
            return await super().take(channel)

    with Clock() as clock, caplog.at_level(logging.WARNING, "raceway.workers"):
        layer = Down()
        handled: list[Any] = []
        worker = Worker(
            ChannelNameRouter({"work": handled.append, "play": handled.append}), ["work", "play"], layer
        )
        worker.start()
        await clock.advance(30)
        assert 10 < layer.tries < 60  # two channels, at first often, then every five seconds
        layer.is_down = False
        await layer.send("work", {"n": 1})
        await clock.advance(10)
        await until(lambda: worker.handled_count == 1)
        assert caplog.messages == [
            "Messages cannot be received; it is tried again: there is no broker",
            "The channel layer can be reached again.",
        ]
        await worker.stop(0)


async def test_a_consumer_that_cannot_have_a_channel_of_its_own_waits_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A class has one, for groups."""
    is_down = True
    handled: list[Any] = []

    class Down(MemoryLayer):
        async def new_channel(self, prefix: str = "specific") -> str:
            if is_down:
                raise LayerUnavailable("there is no broker")
            return await super().new_channel(prefix)

    class Working(AsyncConsumer):
        async def work_do(self, event: Any) -> None:
            handled.append(event)

    with (
        Clock() as clock,
        caplog.at_level(logging.WARNING, "raceway.workers"),
        fresh_channel_layers(),
    ):
        layer = Down()
        channel_layers.set("default", layer)
        worker = Worker(ChannelNameRouter({"work": Working.as_asgi()}), ["work"], layer)
        worker.start()
        await clock.advance(30)
        is_down = False
        await layer.send("work", {"type": "work.do"})
        await clock.advance(10)
        await until(lambda: worker.handled_count == 1)
        assert handled == [{"type": "work.do"}]
        assert caplog.messages == [
            "Messages cannot be received; it is tried again: there is no broker",
            "The channel layer can be reached again.",
        ]
        await worker.stop(0)


async def test_a_foreign_layer_that_fails_in_its_own_ways_is_waited_for() -> None:
    class Theirs:
        fails = [ConnectionError("gone"), asyncio.CancelledError()]

        def __init__(self) -> None:
            self.queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        async def receive(self, channel: str) -> dict[str, Any]:
            if self.fails:
                raise self.fails.pop()
            return await self.queue.get()

    theirs = Theirs()
    handled: list[Any] = []

    async def handle(message: dict[str, Any]) -> None:
        handled.append(message)

    with Clock() as clock:
        worker = Worker(ChannelNameRouter({"work": handle}), ["work"], ForeignLayer(theirs))
        worker.start()
        theirs.queue.put_nowait({"type": "work.do", "n": 1})
        await clock.advance(2)
        await until(lambda: worker.handled_count == 1)
        assert handled == [{"type": "work.do", "n": 1}]
        await worker.stop(0)
