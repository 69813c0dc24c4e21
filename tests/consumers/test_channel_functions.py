"""Functions that are the consumers of named channels."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest

import tests.project  # noqa: F401  Django's settings
from raceway.consumers.channel_functions import ChannelFunction
from raceway.errors import StopConsumer
from raceway.threads import in_test

SCOPE = {"type": "channel", "channel": "work"}


async def feed(function: Callable[..., Any], *messages: Any) -> asyncio.Queue[Any]:
    """Have ``function`` called with each message."""
    queue: asyncio.Queue[Any] = asyncio.Queue()
    for message in messages:
        queue.put_nowait(message)
    served = asyncio.Event()

    async def receive() -> Any:
        if queue.empty():
            served.set()
        return await queue.get()

    async def send(event: Any) -> None:
        raise AssertionError(event)

    task = asyncio.ensure_future(ChannelFunction(function)(SCOPE, receive, send))
    await asyncio.wait(
        [task, asyncio.ensure_future(served.wait())], return_when="FIRST_COMPLETED", timeout=10
    )
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return queue


async def test_a_coroutine_function_runs_in_the_loop() -> None:
    heard: list[Any] = []

    async def work(message: dict[str, Any]) -> None:
        heard.append((message, threading.current_thread() is threading.main_thread()))

    await feed(work, {"n": 1}, {"type": "x"})
    assert heard == [({"n": 1}, True), ({"type": "x"}, True)]


async def test_any_other_function_runs_in_a_thread_that_is_lent() -> None:
    heard: list[str] = []

    def work(message: dict[str, Any]) -> None:
        heard.append(threading.current_thread().name)

    await feed(work, {}, {})
    assert len(heard) == 2
    assert all(name.startswith("raceway-sync") for name in heard)


async def test_what_hides_a_coroutine_function_is_awaited() -> None:
    heard: list[Any] = []

    async def work(message: dict[str, Any]) -> None:
        heard.append(message)

    @wraps(work)
    def hidden(message: dict[str, Any]) -> Any:
        return work(message)

    class Instance:
        async def __call__(self, message: dict[str, Any]) -> None:
            heard.append(message)

    await feed(hidden, {"n": 1})
    await feed(Instance(), {"n": 2})
    assert heard == [{"n": 1}, {"n": 2}]


async def test_what_it_raises_is_logged_and_the_next_is_handled(caplog: pytest.LogCaptureFixture) -> None:
    def work(message: dict[str, Any]) -> None:
        raise ValueError(message["n"])

    queue = await feed(work, {"n": 1}, {"n": 2})
    assert queue.empty()
    assert caplog.text.count("work failed at a message in the channel 'work'") == 2


async def test_in_a_test_it_is_raised() -> None:
    def work(message: dict[str, Any]) -> None:
        raise ValueError(message["n"])

    token = in_test.set(True)
    try:
        with pytest.raises(ValueError, match="1"):
            await feed(work, {"n": 1})
    finally:
        in_test.reset(token)


async def test_it_can_stop() -> None:
    async def work(message: dict[str, Any]) -> None:
        raise StopConsumer

    queue = await feed(work, {"n": 1}, {"n": 2})
    assert queue.qsize() == 1


async def test_it_is_for_named_channels() -> None:
    async def receive() -> Any: ...
    async def send(event: Any) -> None: ...

    with pytest.raises(ValueError, match="not for a scope of type 'websocket'"):
        await ChannelFunction(print)({"type": "websocket"}, receive, send)
