"""Consumers of a named channel that are one function: ``def thumbnail(message)``."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from typing import Any

from raceway.errors import StopConsumer
from raceway.threads import enter_threads, in_test, is_coroutine_callable, leave_threads, run_lent
from raceway.types import Event, Prepare, RacewayApplication, Receive, Scope, Send

logger = logging.getLogger("raceway.consumers")


async def serve_channel(
    scope: Scope,
    receive: Receive,
    prepares: tuple[Prepare, ...],
    handle: Callable[[str, Event], Awaitable[None]],
) -> None:
    """Have ``handle(channel, message)`` called with each message of a named channel, one at a time, for ever."""
    threads = enter_threads()
    try:
        for prepare in prepares:
            await prepare(scope)
        while True:
            await handle(scope["channel"], await receive())
    finally:
        leave_threads(threads)


class ChannelFunction(RacewayApplication):
    """The application of a function that is called with each message of a named channel, a dict, one at a time.

    ``async def`` runs in the event loop, ``def`` in a thread. What it raises is logged, and the next message is
    handled.
    """

    def __init__(self, function: Callable[[dict[str, Any]], object]) -> None:
        self.function = function
        self._call: Callable[[Any], Any] = (
            function if is_coroutine_callable(function) else partial(run_lent, function)
        )

    def raceway_begin(
        self, scope: Scope, receive: Receive, send: Send, prepares: tuple[Prepare, ...] = ()
    ) -> Awaitable[None]:
        if scope["type"] != "channel":
            raise ValueError(f"{self!r} is for a named channel, not for a scope of type {scope['type']!r}")
        return self._serve(dict(scope), receive, prepares)

    async def _serve(self, scope: Scope, receive: Receive, prepares: tuple[Prepare, ...]) -> None:
        with suppress(StopConsumer):
            await serve_channel(scope, receive, prepares, self._handle)

    async def _handle(self, channel: str, message: Event) -> None:
        try:
            result = await self._call(message)
            if isawaitable(result):  # a decorator hid an async def
                await result
        except StopConsumer:
            raise
        except Exception:
            if in_test.get():
                raise
            logger.exception("%s failed at a message in the channel %r.", self._name, channel)

    @property
    def _name(self) -> str:
        return getattr(self.function, "__qualname__", None) or repr(self.function)

    def __repr__(self) -> str:
        return f"<ChannelFunction of {self._name}>"
