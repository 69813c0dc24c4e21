"""Calling the consumer of a message, and what follows from how it ends.

This is the half that may run anywhere: it sees messages and channels, never a socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from inspect import isawaitable
from typing import Any, Final, TypeAlias

from asgiref.sync import sync_to_async

from raceway.errors import (
    ChannelSocketException,
    ConsumeLater,
    DenyConnection,
    FlowControl,
    MalformedMessage,
    StopConsumer,
)
from raceway.messaging.message import Message
from raceway.messaging.routing import CONNECT, HTTP_REQUEST, OF_CONNECTIONS, Consumer, Routes
from raceway.messaging.sessions import LAST_MESSAGES, end_channel_session, has_channel_session
from raceway.signals import consumer_finished, consumer_started
from raceway.threads import in_test, is_coroutine_callable

logger = logging.getLogger("raceway.messaging")

RETRIES: Final = 10
"""How often a message is tried again whose consumer raises ``ConsumeLater``."""

FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 5.0
"""How long a message waits for its next try: twice as long each time, in seconds."""

TRIES: Final = "__retries__"
"""Where a message says how often it was tried again."""

ACCEPTED: Final[dict[str, Any]] = {"accept": True}
REFUSED: Final[dict[str, Any]] = {"close": True}
FAILED: Final[dict[str, Any]] = {
    "status": 500,
    "headers": [[b"content-type", b"text/plain; charset=utf-8"]],
    "content": b"Internal Server Error\n",
}

Guard: TypeAlias = Callable[[], AbstractContextManager[object]]
"""Makes what is around a call that runs in a thread, where it cannot be cancelled."""


Again: TypeAlias = Callable[[Message, float], Awaitable[bool]]
"""Has a message come again in so many seconds: ``True`` if it is here again, ``False`` if it comes as a new one."""


async def wait_here(message: Message, wait_s: float) -> bool:
    """For a client's messages, which are consumed in order: the later ones wait too."""
    await asyncio.sleep(wait_s)
    return True


async def send_again(message: Message, wait_s: float) -> bool:
    """For a named channel's messages: others go before it, and it is in nobody's hands meanwhile."""
    if "delay" not in message.channel_layer.extensions:
        return await wait_here(message, wait_s)
    await message.channel.asend(message.content, delay=wait_s)
    return False


class Dispatcher:
    """Have each message consumed as a routing says, and answer its client as the consumer's end says.

    An exception is logged, and the socket stays open; at ``websocket.connect`` it refuses the client. A consumer of
    ``websocket.connect`` that returns without an answer has accepted.
    """

    def __init__(self, router: Routes, again: Again = wait_here) -> None:
        self.router = router
        self._again = again

    async def consume(self, message: Message, guard: Guard = nullcontext) -> None:
        """Call the consumer of ``message``, again and again if it asks for that."""
        match = self.router.match(message)
        if match is None:
            logger.error("Could not find match for message on %s! Check your routing.", message.channel)
        else:
            await self._try(message, *match, guard)
        if message.channel_name in LAST_MESSAGES:
            await self._end_session(message)

    async def _try(self, message: Message, consumer: Consumer, kwargs: dict[str, Any], guard: Guard) -> None:
        while True:
            tries: int = message.content.get(TRIES, 0)
            message.__doomed__ = tries >= RETRIES
            error = await outcome(call_consumer(consumer, message, kwargs, guard))
            if not isinstance(error, ConsumeLater) or message.__doomed__:
                if error is not None or message.channel_name == CONNECT:
                    await self._follow(message, consumer, error)
                return
            message[TRIES] = tries + 1
            if not await self._again(message, wait_s(tries)):
                return

    async def _follow(self, message: Message, consumer: Consumer, error: Exception | None) -> None:
        if isinstance(error, ChannelSocketException):
            error = await outcome(run_exception(error, message))
        if error is not None and in_test.get() and is_for_the_test(message, error):
            raise error
        log_outcome(message, consumer, error)
        answer = answer_to(message.channel_name, error)
        if answer is not None and message.reply_channel is not None:
            error = await outcome(message.reply_channel.asend(answer))
            if error is not None:
                logger.error("%s could not be answered.", message.reply_channel, exc_info=error)

    async def _end_session(self, message: Message) -> None:
        if message.reply_channel is not None and has_channel_session(message.reply_channel.name):
            await sync_to_async(end_channel_session)(message.reply_channel.name)


async def call_consumer(
    consumer: Consumer, message: Message, kwargs: dict[str, Any], guard: Guard = nullcontext
) -> None:
    """Call ``consumer`` as its kind wants: ``async def`` here, ``def`` in a thread."""
    if consumer_started.receivers:
        await consumer_started.asend_robust(consumer, message=message)
    try:
        if is_coroutine_callable(consumer):
            await consumer(message, **kwargs)
            return
        with guard():
            result = await sync_to_async(run_consumer)(consumer, message, kwargs)
        if isawaitable(result):
            await result
    finally:
        if consumer_finished.receivers:
            await consumer_finished.asend_robust(consumer, message=message)


def run_consumer(consumer: Consumer, message: Message, kwargs: dict[str, Any]) -> Any:
    """Call ``consumer``, a function or a class, in this thread; what it returns may have to be awaited."""
    called = consumer(message, **kwargs)
    dispatch = getattr(called, "dispatch", None) if isinstance(consumer, type) else None
    return called if dispatch is None else dispatch(message, **kwargs)


async def outcome(call: Awaitable[object]) -> Exception | None:
    """What ``call`` raised, if it did."""
    try:
        await call
    except Exception as error:
        return error
    return None


async def run_exception(error: ChannelSocketException, message: Message) -> None:
    """Do what a consumer has raised ``error`` for."""
    result = error.run(message)
    if isawaitable(result):
        await result


# Decisions


def wait_s(tries: int) -> float:
    """How long a message waits that was tried ``tries`` times again already, in seconds."""
    return min(FIRST_WAIT_S * 2.0**tries, LONGEST_WAIT_S)


def answer_to(channel: str, error: Exception | None) -> dict[str, Any] | None:
    """What a client is told whose message was consumed, with ``error`` or without."""
    if channel == CONNECT:
        return ACCEPTED if error is None else REFUSED
    return FAILED if channel == HTTP_REQUEST and error is not None else None


def is_for_the_test(message: Message, error: Exception) -> bool:
    """Whether a test is to see it: of a named channel there is no client that shows what became of a message."""
    return message.channel_name not in OF_CONNECTIONS and not isinstance(error, FlowControl)


def log_outcome(message: Message, consumer: Consumer, error: Exception | None) -> None:
    name = getattr(consumer, "__qualname__", repr(consumer))
    if error is None or isinstance(error, StopConsumer):
        return
    if isinstance(error, ConsumeLater):
        logger.warning("A message on %s is dropped: %s wanted it later too often.", message.channel, name)
    elif isinstance(error, DenyConnection):
        if message.channel_name != CONNECT:
            logger.error(
                "%s raised DenyConnection at %s: only a consumer of %s can refuse; raise WebsocketCloseException.",
                name,
                message.channel,
                CONNECT,
            )
    elif isinstance(error, MalformedMessage):
        logger.info("%s cannot read a message on %s: %s", name, message.channel, error)
    else:
        logger.error("Error processing message with consumer %s:", name, exc_info=error)
