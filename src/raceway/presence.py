"""Presence: who is there, right across processes, tabs and crashes."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from threading import get_ident
from typing import Any, Final

from raceway.conf import get_settings
from raceway.consumers import Consumer
from raceway.consumers.handlers import handlers_of
from raceway.done import DONE
from raceway.errors import MessageTooLarge
from raceway.layers import ChannelLayer, channel_layers, presences
from raceway.layers.front import require_no_loop
from raceway.layers.handover import handover_of
from raceway.layers.roster import Meta, Roll, presence_group
from raceway.layers.spec import decode_event, encode_event, require_group_name
from raceway.signals import presence_joined, presence_left
from raceway.threads import enter_threads, leave_threads

__all__ = ["Presence"]

logger = logging.getLogger("raceway.presence")

META_BYTES: Final = 4096
"""The metadata of one connection, as MessagePack, is not larger."""

KEY_CHARACTERS: Final = 200
"""The key of a person is not longer."""

WAITING_SIGNALS: Final = 10_000
"""Changes that may wait in a loop for the receivers of earlier ones; more are dropped, and counted."""

HANDLER: Final = "presence_diff"


class Presence:
    """Who is there: ``people = Presence("documents")``, in a module; consumers join, and everybody may ask.

    A person, known by a key, is there as long as one of its connections is, and for ``grace_s`` seconds after the
    last has ended, which hides reconnects; ``None``: ``RACEWAY["PRESENCE_GRACE_S"]``. Connections of a process that
    died end with its lease. ``alias`` names the layer.

    Consumers with a method ``presence_diff(self, event)`` are told of changes; the event has ``presence`` (the name),
    and ``joined``, ``changed`` and ``left``: of each person, by key, the metadata of all its connections, as in
    ``alist()``; those of ``left`` are the last known ones. Changes that come fast are told together. In ``on_gap``
    ask for the whole list anew. The signals ``raceway.signals.presence_joined`` and ``presence_left`` are sent in one
    process.

    Raises ``TypeError`` for a name that no group can have, ``ValueError`` for a negative ``grace_s``. A layer without
    presence raises ``NotImplementedError`` from all methods.
    """

    def __init__(self, name: str, *, grace_s: float | None = None, alias: str = "default") -> None:
        require_group_name(name, "Presence")
        if grace_s is not None and not grace_s >= 0:
            raise ValueError(f"grace_s is a number of seconds, not {grace_s!r}.")
        self.name = sys.intern(name)  # signals know a sender by its identity
        self.alias = alias
        self._grace_s = grace_s
        self._group = presence_group(name)

    @property
    def grace_s(self) -> float:
        """How long a person without a connection stays, in seconds."""
        return get_settings().presence_grace_s if self._grace_s is None else self._grace_s

    # For consumers. All act when called, also from a def handler, and return what can be awaited.

    def join(self, consumer: Consumer, /, key: object = None, **meta: Any) -> Awaitable[None]:
        """Let the consumer's connection be there, until it leaves or ends; again, to replace ``meta``.

        ``key`` is who it is: a user, or whatever ``str`` makes a name of; ``None``: the user of the connection. A
        consumer with a method ``presence_diff`` gets the diffs from now on, also the one with itself. Awaiting waits
        until ``alist()`` has it. Raises ``ValueError`` for nobody (``AnonymousUser`` without ``key``), ``TypeError``
        with the key path of what no layer carries, and ``MessageTooLarge`` for metadata of more than 4096 bytes.
        """
        name = _key_of(consumer, key)
        checked = _checked(meta)
        layer = self._layer_of(consumer)
        watches = _can_be_told(consumer)

        def join() -> Awaitable[None]:
            watched = self._start_watch(consumer, layer, "join") if watches else DONE
            entered = layer.start_enter(self.name, name, consumer.channel_name, checked, self.grace_s)
            return _both(watched, entered)

        return _act(consumer, join)

    def leave(self, consumer: Consumer, /) -> Awaitable[None]:
        """Let the connection not be there any more; its person leaves at once, without grace, if it has no other. The
        consumer is not told of that, nor of what comes, unless it watches."""
        layer = self._layer_of(consumer)

        def leave() -> Awaitable[None]:
            unwatched = self._start_unwatch(consumer, layer, "join")
            return _both(unwatched, layer.start_exit(self.name, consumer.channel_name))

        return _act(consumer, leave)

    def watch(self, consumer: Consumer, /) -> Awaitable[None]:
        """Have the consumer told of changes in ``presence_diff`` without being there itself.

        Raises ``TypeError`` if it has no such method.
        """
        if not _can_be_told(consumer):
            raise TypeError(
                f"{type(consumer).__qualname__} cannot watch a presence: it has no method {HANDLER}(self, event)."
            )
        layer = self._layer_of(consumer)
        return _act(consumer, lambda: self._start_watch(consumer, layer, "watch"))

    def unwatch(self, consumer: Consumer, /) -> Awaitable[None]:
        """Take back ``watch``; a consumer that has joined is still told."""
        layer = self._layer_of(consumer)
        return _act(consumer, lambda: self._start_unwatch(consumer, layer, "watch"))

    # For everybody

    def list(self) -> Roll:
        """Who is there: by key, the metadata of each connection. For code without an event loop.

        Raises ``LayerUnavailable`` if the layer has no broker to ask, ``RuntimeError`` in an event loop's thread.
        """
        require_no_loop("alist()")
        return channel_layers[self.alias].roll_from_thread(self.name)

    async def alist(self) -> Roll:
        """``list`` for coroutines."""
        return await channel_layers[self.alias].roll(self.name)

    def count(self) -> int:
        """How many persons are there. For code without an event loop; raises as ``list`` does."""
        require_no_loop("acount()")
        return channel_layers[self.alias].roll_count_from_thread(self.name)

    async def acount(self) -> int:
        """``count`` for coroutines."""
        return await channel_layers[self.alias].roll_count(self.name)

    def _layer_of(self, consumer: Consumer) -> ChannelLayer:
        """The layer of both. Raises ``ValueError`` if they differ."""
        layer = consumer._require_layer()
        if layer is not channel_layers[self.alias]:
            raise ValueError(
                f"{self!r} is on the layer {self.alias!r}, and {type(consumer).__qualname__} on "
                f"{consumer.channel_layer_alias!r}: give the presence that alias."
            )
        return layer

    def _start_watch(self, consumer: Consumer, layer: ChannelLayer, why: str) -> Awaitable[None]:
        watched = _watched(consumer)
        if (self.name, why) in watched:
            return DONE
        watched.add((self.name, why))
        return layer.start_join(self._group, consumer.channel_name)

    def _start_unwatch(self, consumer: Consumer, layer: ChannelLayer, why: str) -> Awaitable[None]:
        watched = _watched(consumer)
        if (self.name, why) not in watched:
            return DONE
        watched.discard((self.name, why))
        return layer.start_leave(self._group, consumer.channel_name)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Presence({self.name!r})"


def _key_of(consumer: Consumer, key: object) -> str:
    if key is None:
        key = consumer.scope.get("user")
    pk = getattr(key, "pk", key)
    if pk is None:
        raise ValueError(
            "A presence is joined by somebody: this connection has no user that is signed in, so name the person: "
            "join(consumer, key=...)."
        )
    text = str(pk)
    if not 0 < len(text) <= KEY_CHARACTERS:
        raise ValueError(f"The key of a person has 1 to {KEY_CHARACTERS} characters, not {len(text)}.")
    return text


def _can_be_told(consumer: Consumer) -> bool:
    cls: Any = type(consumer)
    return HANDLER in handlers_of(cls).events


def _checked(meta: Meta) -> Meta:
    """The metadata as it will come out, of plain types. Raises ``TypeError`` and ``MessageTooLarge``."""
    encoded = encode_event(meta)
    encode_event({"": {"": [meta]}})  # as deep as a diff has it
    if len(encoded) > META_BYTES:
        raise MessageTooLarge(f"The metadata has {len(encoded)} bytes; at most {META_BYTES} can be given.")
    return decode_event(encoded)


def _watched(consumer: Consumer) -> set[tuple[str, str]]:
    """The presences that a consumer watches, with why; in its loop's thread."""
    watched: set[tuple[str, str]] = vars(consumer).setdefault("_watched_presences", set())
    return watched


def _act(consumer: Consumer, start: Callable[[], Awaitable[None]]) -> Awaitable[None]:
    """Call ``start`` in the loop's thread: now if this is it, soon if it is not; for a connection that has ended, not
    at all, as it is in no presence and no group any more."""
    runtime = consumer._runtime

    def start_if_open() -> Awaitable[None]:
        return DONE if consumer.closed else start()

    if get_ident() == runtime.thread:
        return start_if_open()
    handover_of(runtime._loop)(start_if_open)
    return DONE


class _Both:
    """Two things that have begun, to be waited for."""

    def __init__(self, first: Awaitable[None], second: Awaitable[None]) -> None:
        self._first = first
        self._second = second

    def __await__(self) -> Generator[Any, None, None]:
        yield from self._first.__await__()
        yield from self._second.__await__()


def _both(first: Awaitable[None], second: Awaitable[None]) -> Awaitable[None]:
    if second is DONE:
        return first
    return second if first is DONE else _Both(first, second)


# Signals


class _Signals:
    """Tell receivers of one loop's changes, in order: one task, as long as there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[str, str, str, list[Meta]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._dropped_count = 0

    def add(self, presence: str, kind: str, key: str, metas: list[Meta]) -> None:
        if len(self._waiting) >= WAITING_SIGNALS:
            self._dropped_count += 1
            if self._dropped_count == 1:
                logger.warning(
                    "Receivers of presence signals are too slow: %d changes wait, newer ones are dropped.",
                    WAITING_SIGNALS,
                )
            return
        self._waiting.append((presence, kind, key, metas))
        if self._task is None:
            self._task = self._loop.create_task(self._send_all())

    async def _send_all(self) -> None:
        threads = enter_threads()  # receivers that are def may use the database
        try:
            while self._waiting:
                presence, kind, key, metas = self._waiting.popleft()
                signal = presence_joined if kind == "joined" else presence_left
                await signal.asend_robust(presence, key=key, metas=metas)
            if self._dropped_count:
                logger.warning(
                    "%d changes of presences were dropped, and not signalled.", self._dropped_count
                )
                self._dropped_count = 0
        finally:
            self._task = None
            leave_threads(threads)


_signals: dict[asyncio.AbstractEventLoop, _Signals] = {}


def signal_change(presence: str, kind: str, key: str, metas: list[Meta]) -> None:
    """Send ``presence_joined`` or ``presence_left``; in a loop's thread, which does not wait for receivers."""
    presence = sys.intern(presence)
    signal = presence_joined if kind == "joined" else presence_left
    if not signal.has_listeners(presence):
        return
    loop = asyncio.get_running_loop()
    signals = _signals.get(loop)
    if signals is None:
        for old in [one for one in list(_signals) if one.is_closed()]:
            _signals.pop(old, None)
        signals = _signals[loop] = _Signals(loop)
    signals.add(presence, kind, key, metas)


presences.listener = signal_change
