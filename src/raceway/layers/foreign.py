"""Other people's layers under our consumers, through nothing but the channel layer specification."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Awaitable
from contextvars import Context
from functools import partial
from typing import Any, Final, NamedTuple

from raceway.clock import monotonic
from raceway.done import DONE
from raceway.errors import ChannelFull, LayerUnavailable, MessageTooLarge
from raceway.layers.front import ChannelLayer, running_loop
from raceway.layers.spec import as_event, client_event, decode_event, prepare
from raceway.layers.strand import Outcome, Start, Strand, background_loop
from raceway.registry import Message
from raceway.registry.policy import Policy

logger = logging.getLogger("raceway.layers")

NOTE: Final = "raceway.note"
"""The key under which a message carries what the specification has no place for."""

ANSWER_S: Final = 10.0
"""How long a thread waits for the layer to take its message."""

FIRST_RETRY_S: Final = 0.1
LONGEST_RETRY_S: Final = 5.0
"""Between these, about, a failed ``receive`` is tried again."""

QUIET_S: Final = 60.0
"""After the log told that receiving fails it is silent about that for so long."""

GROUPS_AND_FLUSH: Final = ("groups", "flush")
OUR_OPTIONS: Final = ("capacity", "expiry", "group_expiry")
OUR_ERRORS: Final = {"ChannelFull": ChannelFull, "MessageTooLarge": MessageTooLarge}


class ForeignLayer(ChannelLayer):
    """Have a layer that only keeps the published contract work like ours, slower.

    For each open channel a task waits in the layer's ``receive``. All calls of the layer are made in the event loop
    in which channels are open, one after another, so that a message follows the joins before it. A thread without an
    event loop waits for its call; in a process that has no event loop the calls run in a background thread.

    Client messages travel as ``websocket.send`` and ``websocket.close`` events and become pushes where they arrive;
    ``exclude`` and the policy for slow clients travel along. Memberships of connections are renewed before the layer's
    ``group_expiry`` ends them.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__(
            **{name: value for name in OUR_OPTIONS if (value := said_by(layer, name)) is not None}
        )
        self.layer = layer
        extensions = said_by(layer, "extensions")
        self.extensions = [name for name in GROUPS_AND_FLUSH if extensions is None or name in extensions]
        self._listeners: dict[str, Listener] = {}
        self._strands: dict[asyncio.AbstractEventLoop, Strand] = {}
        self._strands_lock = threading.Lock()
        self._quiet_until = 0.0

    def __repr__(self) -> str:
        return f"<ForeignLayer around {type(self.layer).__module__}.{type(self.layer).__qualname__}>"

    def capacity_of(self, channel: str) -> int:
        get_capacity = said_by(self.layer, "get_capacity")
        return super().capacity_of(channel) if get_capacity is None else int(get_capacity(channel))

    # Channels

    async def new_channel(self, prefix: str = "specific") -> str:
        name: str = await (
            self.layer.new_channel() if prefix == "specific" else self.layer.new_channel(prefix)
        )
        return name

    def new_channel_name(self, prefix: str = "specific") -> str:
        raise RuntimeError(
            "Only the layer itself knows which names it can serve: await new_channel() instead."
        )

    def _listen(self, channel: str) -> None:
        strand = self._strand_of(asyncio.get_running_loop())
        if strand.renewal is None:
            strand.renewal = strand.loop.call_later(self.group_expiry / 2, self._renew, strand)
        listener = self._listeners[channel] = Listener(channel, strand)
        strand.listeners += 1  # now, not when the task begins: a thread may look for the loop before
        listener.task = strand.loop.create_task(self._receive_all(listener), context=Context())
        listener.task.add_done_callback(partial(self._forget, listener))

    def close(self, channel: str) -> None:
        listener = self._listeners.get(channel)
        self.leave_all(channel)
        super().close(channel)
        if listener is not None and not listener.is_ending:
            listener.is_ending = True
            if not listener.strand.loop.is_closed():
                listener.strand.add(
                    listener.end, must=True
                )  # behind the leaves: receive may forget its groups

    async def aclose(self) -> None:
        loop = asyncio.get_running_loop()
        for listener in [one for one in self._listeners.values() if one.strand.loop is loop]:
            self.close(listener.channel)
        await self._strand_of(loop).add(_nothing, must=True)
        await super().aclose()

    async def take(self, channel: str) -> bytes:
        strand = self._strand_of(asyncio.get_running_loop())
        strand.listeners += 1
        try:
            while True:
                arrived = read(await self.layer.receive(channel))
                if arrived.exclude is None or arrived.exclude != channel:
                    return as_event(arrived.message)
        finally:
            strand.listeners -= 1

    async def _receive_all(self, listener: Listener) -> None:
        """The only pull in the house: hand over what comes to one open channel, until it is closed."""
        retry_s = FIRST_RETRY_S
        has_failed = False
        while True:
            try:
                if has_failed:
                    await self._rejoin(listener)
                    has_failed = False
                message = await self.layer.receive(listener.channel)
            except (Exception, asyncio.CancelledError):  # some layers cancel what they wait for themselves
                if listener.task.cancelling():
                    return  # it was on its way out
                has_failed = True
                self._tell_of_failure(listener.channel)
                await asyncio.sleep(retry_s * random.uniform(0.5, 1))
                retry_s = min(2 * retry_s, LONGEST_RETRY_S)
            else:
                retry_s = FIRST_RETRY_S
                self._deliver(listener.channel, message)

    def _forget(self, listener: Listener, task: asyncio.Task[None]) -> None:
        listener.strand.listeners -= 1
        if self._listeners.get(listener.channel) is listener:
            del self._listeners[listener.channel]

    async def _rejoin(self, listener: Listener) -> None:
        """The broker may have been started anew, and know nothing."""
        for group in list(listener.groups):
            await listener.strand.add(partial(self._group_add, group, listener.channel), must=True)

    def _deliver(self, channel: str, message: dict[str, Any]) -> None:
        part = self._part_of(channel)
        if part is None:
            return
        try:
            arrived = read(message)
            if arrived.exclude is None or arrived.exclude != channel:
                part.registry.send(channel, arrived.message, arrived.policy, arrived.group)
        except Exception:
            logger.exception("A message to %s could not be handed over.", channel)

    def _tell_of_failure(self, channel: str) -> None:
        now = monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_S
            logger.exception("Receiving from %s failed for %s; it is tried again.", self.layer, channel)

    # Groups. The joins of an open channel, whose name may not tell a connection's, are counted here; the layer hears of
    # the first join and the last leave.

    def start_join(self, group: str, channel: str) -> Awaitable[None]:
        return self._start(*self._joining(group, channel))

    def start_leave(self, group: str, channel: str) -> Awaitable[None]:
        return self._start(*self._leaving(group, channel))

    def join(self, group: str, channel: str) -> None:
        self._start_from_anywhere(*self._joining(group, channel))

    def leave(self, group: str, channel: str) -> None:
        self._start_from_anywhere(*self._leaving(group, channel))

    def leave_all(self, channel: str) -> None:
        listener = self._listeners.get(channel)
        if listener is not None and not listener.strand.loop.is_closed():
            for group in listener.groups:
                Outcome(
                    listener.strand.add(partial(self._group_discard, group, channel), must=True),
                    f"{channel} leaving {group}",
                )
            listener.groups.clear()

    def _renew(self, strand: Strand) -> None:
        """Join again, before the layer forgets."""
        strand.renewal = None
        listeners = [listener for listener in self._listeners.values() if listener.strand is strand]
        if listeners:
            strand.renewal = strand.loop.call_later(self.group_expiry / 2, self._renew, strand)
        for listener in listeners:
            for group in listener.groups:
                future = strand.add(partial(self._group_add, group, listener.channel), must=True)
                Outcome(future, f"{listener.channel} staying in {group}")

    def add_channel(self, group: str, channel: str) -> None:
        self.join(group, channel)

    def discard_channel(self, group: str, channel: str) -> None:
        self.leave(group, channel)

    def _joining(self, group: str, channel: str) -> tuple[Start, str, Strand | None]:
        listener = self._listeners.get(channel)
        call = partial(self._group_add, group, channel)

        def start(strand: Strand) -> asyncio.Future[None] | None:
            if listener is None:
                return strand.add(call)
            joined = listener.groups.get(group, 0)
            listener.groups[group] = joined + 1
            if joined:
                return None
            future = strand.add(call)
            future.add_done_callback(forget_if_failed)
            return future

        def forget_if_failed(joining: asyncio.Future[None]) -> None:
            if listener is not None and not joining.cancelled() and joining.exception():
                listener.groups.pop(group, None)

        return start, f"{channel} joining {group}", None if listener is None else listener.strand

    def _leaving(self, group: str, channel: str) -> tuple[Start, str, Strand | None]:
        listener = self._listeners.get(channel)
        call = partial(self._group_discard, group, channel)

        def start(strand: Strand) -> asyncio.Future[None] | None:
            if listener is None:
                return strand.add(call)
            joined = listener.groups.get(group, 0)
            if joined > 1:
                listener.groups[group] = joined - 1
            elif joined:
                del listener.groups[group]
                return strand.add(call, must=True)
            return None

        return start, f"{channel} leaving {group}", None if listener is None else listener.strand

    # Sending

    def start_send(self, channel: str, message: Message) -> Awaitable[None]:
        return self._start(*self._sending(channel, message))

    def send_from_thread(self, channel: str, message: Message) -> None:
        self._start_from_anywhere(*self._sending(channel, message))

    def start_publish(
        self, group: str, message: Message, exclude: str | None = None, policy: Policy = "close"
    ) -> Awaitable[None]:
        return self._start(*self._publishing(group, message, exclude, policy))

    def publish_from_thread(
        self, group: str, message: Message, exclude: str | None = None, policy: Policy = "close"
    ) -> None:
        self._start_from_anywhere(*self._publishing(group, message, exclude, policy))

    def _sending(self, channel: str, message: Message) -> tuple[Start, str]:
        call = partial(self._send, channel, written(message))
        return lambda strand: strand.add(call), f"Sending to {channel}"

    def _publishing(
        self, group: str, message: Message, exclude: str | None, policy: Policy
    ) -> tuple[Start, str]:
        event = written(message, group, exclude, policy)
        call = partial(self._group_send, group, event)
        return lambda strand: strand.add(call), f"Sending to the group {group}"

    # Flushing

    async def flush(self) -> None:
        await self._start(self._flushing, "Flushing")

    def clear(self) -> None:
        self._start_from_anywhere(self._flushing, "Flushing")

    def _flushing(self, strand: Strand) -> asyncio.Future[None]:
        for listener in list(self._listeners.values()):
            listener.groups.clear()
        return strand.add(self._flush)

    # The layer's own functions, looked up in the loop that calls them: some layers have others in each loop

    async def _send(self, channel: str, event: dict[str, Any]) -> None:
        """Send; their ``ChannelFull``, wherever it is defined, is raised as ours."""
        try:
            await self.layer.send(channel, event)
        except Exception as error:
            for cls in type(error).__mro__:
                if ours := OUR_ERRORS.get(cls.__name__):
                    self._full_count += ours is ChannelFull
                    raise ours(str(error) or f"{self!r} raised {cls.__name__}.") from error
            raise

    async def _group_send(self, group: str, event: dict[str, Any]) -> None:
        await self.layer.group_send(group, event)

    async def _group_add(self, group: str, channel: str) -> None:
        await self.layer.group_add(group, channel)

    async def _group_discard(self, group: str, channel: str) -> None:
        await self.layer.group_discard(group, channel)

    async def _flush(self) -> None:
        await self.layer.flush()

    # Which loop

    def _start(self, start: Start, what: str, strand: Strand | None = None) -> Awaitable[None]:
        """Begin a call, in an event loop; awaiting what is returned waits for its end."""
        strand = strand or self._strand_here()
        if strand.loop is not running_loop():
            return Outcome(asyncio.wrap_future(strand.hand(start)), what)
        future = start(strand)
        return DONE if future is None else Outcome(future, what)

    def _start_from_anywhere(self, start: Start, what: str, strand: Strand | None = None) -> None:
        """Begin a call; without an event loop in this thread wait for its end."""
        if running_loop() is not None:
            self._start(start, what, strand)
            return
        done = (strand or self._strand_here()).hand(start)
        try:
            done.result(ANSWER_S)
        except TimeoutError as error:
            if done.done():
                raise
            raise LayerUnavailable(f"{what}: {self!r} has not answered for {ANSWER_S:.0f} s.") from error

    def _strand_here(self) -> Strand:
        """The strand for calls from here: where somebody listens, at best in this loop, for layers that cannot reach
        another."""
        here = running_loop()
        listened = [
            strand for strand in self._strands.values() if strand.listeners and strand.loop.is_running()
        ]
        for strand in listened:
            if strand.loop is here:
                return strand
        return listened[0] if listened else self._strand_of(here or background_loop())

    def _strand_of(self, loop: asyncio.AbstractEventLoop) -> Strand:
        strand = self._strands.get(loop)
        if strand is None:
            with self._strands_lock:
                live = {one: strand for one, strand in self._strands.items() if not one.is_closed()}
                strand = live.setdefault(loop, Strand(loop))
                self._strands = live
        return strand


def said_by(layer: Any, name: str) -> Any:
    """An attribute of a layer; ``None`` if it has none, or only inside an event loop."""
    try:
        return getattr(layer, name, None)
    except RuntimeError:
        return None


class Listener:
    """One open channel: the task that receives for it, and how often it has joined which groups."""

    __slots__ = ("channel", "groups", "is_ending", "strand", "task")

    def __init__(self, channel: str, strand: Strand) -> None:
        self.channel = channel
        self.strand = strand
        self.groups: dict[str, int] = {}
        self.is_ending = False
        self.task: asyncio.Task[None]

    async def end(self) -> None:
        self.task.cancel()


# How messages look on their way


class Arrived(NamedTuple):
    """What came through a foreign layer, and what its sender said of it."""

    message: Message
    exclude: str | None = None
    policy: Policy = "close"
    group: str | None = None


def written(
    message: Message, group: str | None = None, exclude: str | None = None, policy: Policy = "close"
) -> dict[str, Any]:
    """A message as the event that a foreign layer carries, ``read`` reads, and other people's consumers handle."""
    note: dict[str, Any] = {}
    if isinstance(message, bytes):
        event = decode_event(message)
        if not has_text_keys(event):  # MessagePack readers refuse other keys, JSON makes them text
            event, note = {"type": event.get("type")}, {"event": message}
    else:
        event = dict(client_event(message))
    if exclude is not None:
        note["exclude"] = exclude
    if policy != "close":
        note |= {"policy": policy, "group": group}
    return {**event, NOTE: note} if note else event


def read(event: dict[str, Any]) -> Arrived:
    """A message from a foreign layer in our form. Raises ``TypeError`` and ``ValueError`` as ``prepare`` does."""
    note = event.get(NOTE)
    if not isinstance(note, dict):
        return Arrived(prepare(event))
    note = dict(note)
    packed: bytes | None = note.pop("event", None)
    message = packed or prepare({key: value for key, value in event.items() if key != NOTE})
    return Arrived(message, **note)


def has_text_keys(value: object) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and has_text_keys(item) for key, item in value.items())
    return not isinstance(value, list) or all(map(has_text_keys, value))


async def _nothing() -> None:
    """A call that only waits for its turn."""
