"""What the tests of a layer are made of: the hooks, and ways to send, receive and wait."""

# ruff: noqa: PT009  (pytest is not needed to run it)
from __future__ import annotations

import asyncio
import unittest
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from asgiref.sync import async_to_sync

if TYPE_CHECKING:
    TestCase = unittest.IsolatedAsyncioTestCase
else:
    TestCase = object

T = TypeVar("T")

TURNS = 10
"""Turns of the event loop after which a task that needs no I/O has begun to wait."""


class sent_both_ways:
    """Make two tests of one: in ``test_name`` what is sent is sent by coroutines, in ``test_name_from_a_thread`` by a
    thread without an event loop.
    """

    def __init__(self, test: Callable[[Any], Awaitable[None]]) -> None:
        self._test = test

    def __set_name__(self, owner: type[Suite], name: str) -> None:
        test = self._test

        @wraps(test)
        async def from_a_thread(suite: Suite) -> None:
            suite.need(suite.crosses_loops, "to serve several loops")
            suite.sends_from_thread = True
            await test(suite)

        for made in (name, f"{name}_from_a_thread"):
            setattr(owner, made, test if made == name else from_a_thread)


class Suite(TestCase):
    """The hooks of the conformance suite.

    Override ``make_layer``; the other hooks as the layer can do what they are for. The attributes say how long things
    may take, in seconds, and what the layer does not claim to do: those tests are skipped, as are those of
    ``extensions`` that the layer lacks.
    """

    arrival_s: ClassVar[float] = 5.0
    """A message that was sent arrives in this time."""
    quiet_s: ClassVar[float] = 0.2
    """A message that has not arrived in this time never will."""
    expiry_s: ClassVar[float] = 1
    """The shortest expiry that the layer can keep."""

    refuses_at_capacity: ClassVar[bool] = True
    """``ChannelFull`` is raised when ``capacity`` messages wait."""
    expires_messages: ClassVar[bool] = True
    """A message that nobody receives goes after ``expiry``, a membership after ``group_expiry``."""
    receives_by_prefix: ClassVar[bool] = True
    """``receive("prefix!")`` receives for all channels with that prefix."""
    crosses_loops: ClassVar[bool] = True
    """One layer object serves several event loops, in several threads."""

    # Hooks

    def make_layer(self, **options: Any) -> Any:
        """A new, empty layer. ``options``: ``capacity``, ``channel_capacity``, ``expiry``, ``group_expiry``."""
        raise NotImplementedError(
            f"{type(self).__name__} needs make_layer(self, **options), which returns a layer."
        )

    def make_neighbour(self, **options: Any) -> Any:
        """Another object on the same network as the test's layer, as another process or machine has it; by default,
        ``None``: the layer stays inside one process.
        """
        return None

    def make_stranger(self, **options: Any) -> Any:
        """One with the same servers and another network (prefix, database, path), which hears nothing of the test's
        layer; by default, ``None``: there is one network only.
        """
        return None

    async def end_layer(self, layer: Any) -> None:
        """Leave nothing of ``layer`` behind."""
        if "flush" in layer.extensions:
            await layer.flush()
        close = getattr(layer, "aclose", None) or getattr(layer, "close", None)
        if close is not None:
            await close()

    async def pass_time(self, seconds: float) -> None:
        """Let so much time pass for the layer."""
        await asyncio.sleep(seconds)

    # Layers

    def layer(self, *extensions: str, **options: Any) -> Any:
        """A layer for this test; skips the test if it lacks one of ``extensions``."""
        layer = self._kept(self.make_layer(**options))
        for extension in extensions:
            self.need(extension in layer.extensions, f"the extension {extension!r}")
        return layer

    def neighbour(self, **options: Any) -> Any:
        """A layer of another machine on the test's network."""
        neighbour = self.make_neighbour(**options)
        self.need(neighbour is not None, "to reach other processes (make_neighbour)")
        return self._kept(neighbour)

    def stranger(self, **options: Any) -> Any:
        """A layer of another machine on a network of its own."""
        stranger = self.make_stranger(**options)
        self.need(stranger is not None, "to keep networks apart (make_stranger)")
        return self._kept(stranger)

    def _kept(self, layer: Any) -> Any:
        self.addAsyncCleanup(self.end_layer, layer)
        return layer

    def need(self, has_it: bool, what: str) -> None:
        if not has_it:
            self.skipTest(f"The layer does not claim {what}.")

    # Sending, by coroutines or by a thread

    sends_from_thread = False

    async def send(self, layer: Any, channel: str, message: dict[str, Any]) -> None:
        if self.sends_from_thread:
            await self.in_sender(self.send_from_thread, layer, channel, message)
        else:
            await layer.send(channel, message)

    async def group_send(self, layer: Any, group: str, message: dict[str, Any]) -> None:
        if self.sends_from_thread:
            await self.in_sender(self.group_send_from_thread, layer, group, message)
        else:
            await layer.group_send(group, message)

    def send_from_thread(self, layer: Any, channel: str, message: dict[str, Any]) -> None:
        async_to_sync(layer.send)(channel, message)

    def group_send_from_thread(self, layer: Any, group: str, message: dict[str, Any]) -> None:
        async_to_sync(layer.group_send)(group, message)

    async def in_sender(self, function: Callable[..., T], *args: Any) -> T:
        """What ``function(*args)`` returns in the test's one thread without an event loop."""
        if not hasattr(self, "_sender"):
            self._sender = ThreadPoolExecutor(1)
            self.addCleanup(self._sender.shutdown)
        return await asyncio.get_running_loop().run_in_executor(self._sender, partial(function, *args))

    async def in_thread(self, function: Callable[..., T], *args: Any) -> T:
        """What ``function(*args)`` returns in a new thread that has no event loop."""
        with ThreadPoolExecutor(1) as pool:
            return await asyncio.get_running_loop().run_in_executor(pool, partial(function, *args))

    # Receiving

    async def soon(self, awaitable: Awaitable[T]) -> T:
        """What ``awaitable`` gives, within ``arrival_s``."""
        return await asyncio.wait_for(awaitable, self.arrival_s)

    async def received(self, layer: Any, channel: str, count: int) -> list[Any]:
        """The next ``count`` messages of a channel."""
        return [await self.soon(layer.receive(channel)) for _ in range(count)]

    async def numbers(self, layer: Any, channel: str, count: int) -> list[int]:
        """The numbers of the next ``count`` messages of a channel."""
        return [message["n"] for message in await self.received(layer, channel, count)]

    async def assert_nothing_waits(self, layer: Any, *channels: str) -> None:
        tasks = [asyncio.ensure_future(layer.receive(channel)) for channel in channels]
        await self.turn()
        done, waiting = await asyncio.wait(tasks, timeout=self.quiet_s)
        await self.cancel(waiting)
        self.assertEqual([task.result() for task in done], [], "nothing should have been received")

    # Waiting

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until ``condition()`` holds, at most ``arrival_s``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.arrival_s
        while not condition():
            if loop.time() > deadline:
                self.fail(f"In {self.arrival_s} seconds: {what}")
            await asyncio.sleep(0)

    async def turn(self) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def cancel(self, tasks: Iterable[asyncio.Future[Any]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def join(self, layer: Any, *channels: str) -> None:
        """Add ``channels`` to the group called "group"."""
        for channel in channels:
            await layer.group_add("group", channel)
