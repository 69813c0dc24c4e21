"""``run_workers``."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import tests.project  # noqa: F401  Django's settings
from raceway import Channel
from raceway.consumers import AsyncConsumer, SyncConsumer
from raceway.errors import ConfigurationError
from raceway.layers import channel_layers
from raceway.messaging import Message, MessageApplication
from raceway.routing import ChannelNameRouter, ProtocolTypeRouter
from raceway.testing import Clock, fresh_channel_layers, run_workers

heard: list[Any] = []


@pytest.fixture(autouse=True)
def layers() -> Any:
    heard.clear()
    with fresh_channel_layers():
        yield


class Counting(SyncConsumer):
    def count_down(self, event: Any) -> None:
        heard.append((event["n"], threading.current_thread()))
        if event["n"]:
            Channel("count").send({"type": "count.down", "n": event["n"] - 1})


class Fragile(AsyncConsumer):
    async def break_now(self, event: Any) -> None:
        raise ValueError("broken")


async def note(message: dict[str, Any]) -> None:
    heard.append(message)


APPLICATION = ProtocolTypeRouter(
    {"channel": ChannelNameRouter({"count": Counting.as_asgi(), "fragile": Fragile.as_asgi(), "note": note})}
)


def test_it_handles_what_waits_and_what_that_sends_in_the_thread_of_the_test() -> None:
    Channel("count").send({"type": "count.down", "n": 3})
    run_workers(application=APPLICATION)
    assert heard == [(n, threading.current_thread()) for n in (3, 2, 1, 0)]


async def test_it_can_be_awaited() -> None:
    await Channel("note").asend({"n": 1})
    await Channel("note").asend({"n": 2})
    await run_workers(application=APPLICATION)
    assert heard == [{"n": 1}, {"n": 2}]


def test_it_raises_what_a_handler_raises() -> None:
    Channel("fragile").send({"type": "break.now"})
    with pytest.raises(ValueError, match="broken"):
        run_workers(application=APPLICATION)


def test_it_raises_what_a_message_consumer_raises() -> None:
    def broken(message: Message) -> None:
        raise ValueError("broken")

    Channel("thumbnail").send({"id": 3})
    with pytest.raises(ValueError, match="broken"):
        run_workers(application=MessageApplication({"thumbnail": broken}))


async def test_only_the_named_channels_are_served() -> None:
    await Channel("note").asend({"n": 1})
    await Channel("fragile").asend({"type": "break.now"})
    await run_workers("note", application=APPLICATION)
    assert heard == [{"n": 1}]
    assert (await channel_layers["default"].channel_statistics("fragile"))["messages_pending"] == 1
    with pytest.raises(ConfigurationError, match="the channel 'not': did you mean 'note'"):
        await run_workers("not", application=APPLICATION)


async def test_what_is_for_later_is_handled_when_the_clock_says_so() -> None:
    with Clock() as clock:
        await Channel("note").asend({"n": 1}, delay=60)
        await run_workers(application=APPLICATION)
        assert heard == []
        await clock.advance(60)
        await run_workers(application=APPLICATION)
        assert heard == [{"n": 1}]


def test_without_routes_there_is_nothing_to_run() -> None:
    with pytest.raises(ConfigurationError, match="routes no named channels"):
        run_workers()
