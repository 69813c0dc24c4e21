"""One of the processes over which ``tests.conformance.spread`` spreads a layer: it does what it is told through a pipe.

Orders are ``(number, name, args)``; the answer is ``(number, value)`` or
``(number, exception)``. What an open channel is handed comes as ``(token, how, args)``, without being asked for.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from inspect import isawaitable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from django.utils.module_loading import import_string

from raceway import clock
from raceway.layers.local.serving import BrokerHost
from raceway.layers.spec import pack, unpack
from raceway.prepared import PreparedMessage
from raceway.registry import Closing

Token = tuple[str, str]
"""A layer and a channel that is open in it."""


class Served:
    """The layers and brokers of this process, and what it has been asked and has not answered."""

    def __init__(self, say: Callable[[Any], None]) -> None:
        self._say = say
        self._layers: dict[str, Any] = {}
        self._hosts: dict[str, BrokerHost] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def obey(self, number: int, name: str, args: tuple[Any, ...]) -> None:
        self._tasks[number] = asyncio.create_task(self._answer(number, getattr(self, name), args))

    async def _answer(self, number: int, order: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            value = order(*args)
            self._say((number, await value if isawaitable(value) else value))
        except asyncio.CancelledError:
            self._say((number, CancelledError()))
        except Exception as error:
            self._say((number, error))
        finally:
            del self._tasks[number]

    # Orders

    def cancel(self, number: int) -> None:
        if number in self._tasks:  # it may have been answered meanwhile
            self._tasks[number].cancel()

    def move_clock(self, seconds: float) -> None:
        clock.move(seconds)

    async def host(self, path: str) -> None:
        self._hosts[path] = host = BrokerHost(Path(path))
        host.start()
        while not host.is_owner:  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0)

    def end_host(self, path: str) -> None:
        self._hosts.pop(path).stop()

    def make(self, key: str, backend: str, options: dict[str, Any]) -> list[str]:
        """Make a layer; its extensions."""
        self._layers[key] = layer = import_string(backend)(**options)
        return list(layer.extensions)

    async def end(self, key: str) -> None:
        await self._layers.pop(key).aclose()

    def watch(self, key: str) -> None:
        """Tell whoever asked which persons come and go."""
        self._layers[key].presence_changed = lambda *change: self._say(((key, ""), "changed", change))

    def in_loop(self, key: str, name: str, args: tuple[Any, ...]) -> Any:
        """What a method of the layer gives in the event loop."""
        return getattr(self._layers[key], name)(*map(unpacked, args))

    async def in_thread(self, key: str, name: str, args: tuple[Any, ...]) -> Any:
        """What a method of the layer gives in a thread without one."""
        return await asyncio.to_thread(getattr(self._layers[key], name), *map(unpacked, args))

    def open(self, key: str, channel: str, takes_pushes: bool) -> None:
        token = key, channel

        def deliver(encoded: bytes) -> bool:
            self._say((token, "deliver", (encoded,)))
            return True

        def push(message: PreparedMessage, policy: str, key: object) -> None:
            self._say((token, "push", (Packed(message), policy, key)))

        def close(closing: Closing) -> None:
            self._say((token, "close", (Packed(closing),)))

        def gap(reason: str) -> None:
            self._say((token, "gap", (reason,)))

        layer = self._layers[key]
        layer.open(channel, deliver, push if takes_pushes else None, close if takes_pushes else None, gap)


class Packed:
    """A message on its way through a pipe."""

    def __init__(self, message: Any) -> None:
        self.packed = pack(message)


def unpacked(value: Any) -> Any:
    return unpack(value.packed) if isinstance(value, Packed) else value


async def serve(pipe: Connection) -> None:
    """Obey until the other end of ``pipe`` is closed."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    served = Served(pipe.send)

    def read() -> None:
        try:
            while True:
                loop.call_soon_threadsafe(served.obey, *pipe.recv())
        except (EOFError, OSError):
            loop.call_soon_threadsafe(ended.set)

    reader = threading.Thread(target=read)
    reader.start()
    await ended.wait()
    reader.join()


def main(fd: int) -> None:
    logging.getLogger("raceway.layers").setLevel(logging.ERROR)  # of gaps the suite asks otherwise
    with Connection(fd) as pipe:
        asyncio.run(serve(pipe))
