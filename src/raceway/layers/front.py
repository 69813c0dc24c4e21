"""The part of a channel layer that is the same for all: a backend adds what moves bytes between processes."""

from __future__ import annotations

import asyncio
import fnmatch
import logging
import re
import secrets
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple, NoReturn, Protocol, TypeAlias, TypeVar

from raceway.done import DONE
from raceway.errors import ChannelFull, ConfigurationError, MessageTooLarge
from raceway.layers.handover import handover_of
from raceway.layers.resilience import drop_some, require_share
from raceway.layers.spec import (
    as_event,
    decode_event,
    non_local_name,
    prepare,
    require_channel_name,
    require_group_name,
)
from raceway.layers.statistics import Statistics
from raceway.prepared import PreparedMessage
from raceway.registry import Close, Closing, Deliver, Gap, Message, Push, Registry
from raceway.registry.policy import Policy

logger = logging.getLogger("raceway.layers")

ChannelCapacity = Mapping[str | re.Pattern[str], int]
Number = TypeVar("Number", int, float)

PresenceChanged: TypeAlias = Callable[[str, str, str, list[dict[str, Any]]], object]
"""Takes a presence, ``joined`` or ``left``, the person's key, and the metadata of that person's connections."""


class Work(NamedTuple):
    """A message that a worker has in its hands until it calls ``done``, from the loop's thread."""

    encoded: bytes
    done: Callable[[], object]
    put_back: Callable[[], object] | None = None
    """Instead of ``done``: nothing was done with it, so it is the first again; ``None`` where that cannot be."""


class TransactionWriter(Protocol):
    """Write what is sent into the caller's open database transaction: it goes out if and only if that commits."""

    def send_from_thread(self, channel: str, message: Message) -> None: ...

    def send_later_from_thread(self, channel: str, message: Message, delay_s: float, token: str) -> None: ...

    def publish_from_thread(
        self, group: str, message: Message, exclude: str | None = None, policy: Policy = "close"
    ) -> None: ...


class LoopPart:
    """What a layer keeps for one event loop, and forgets with it: its channels and groups, who waits to receive,
    and the way in from other threads.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.registry = Registry(loop.call_soon, appeared=self.appeared, vanished=self.vanished)
        self.handover = handover_of(loop)
        self.receivers: dict[str, deque[asyncio.Future[None]]] = {}

    def appeared(self, group: str) -> None:
        """For backends: the group has its first member in this loop."""

    def vanished(self, group: str) -> None:
        """For backends: the group has lost its last member in this loop."""

    def forsake(self) -> None:
        """For backends: close file descriptors without a word, as the loop is closed, or another process's."""

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Run ``function(*args)`` in the loop's thread: now if this is it, soon if it is not."""
        if running_loop() is self.loop:
            function(*args)
        else:
            self.handover(function, *args)


class ChannelLayer(ABC):
    """Carry messages to channels and groups (channel layer specification), from any thread and any loop.

    ``capacity`` messages may wait in a channel (``channel_capacity`` overrides it by glob or compiled regular
    expression; the first that matches counts), each for ``expiry`` seconds. A connection's channel has its
    capacity for itself. A message larger than ``max_message_bytes`` raises ``MessageTooLarge``. A named channel
    is a member of a group until ``group_expiry`` seconds after it was last added; a connection is one until it
    leaves or ends. ``drop_share`` of all messages, 0.1 for one in ten, is lost on purpose, to test an application.
    The loop's part is made on first use. Raises ``ConfigurationError`` for an impossible number.
    """

    extensions: list[str] = ["groups", "flush"]
    """What it offers beyond sending and receiving; also ``members``, ``statistics``, ``delay`` and ``presence``."""
    ChannelFull = ChannelFull
    MessageTooLarge = MessageTooLarge

    def __init__(
        self,
        *,
        expiry: float = 60,
        group_expiry: float = 24 * 60 * 60,
        capacity: int = 100,
        channel_capacity: ChannelCapacity | None = None,
        max_message_bytes: int = 2 * 1024 * 1024,
        drop_share: float = 0,
    ) -> None:
        self.expiry = positive("expiry", expiry)
        self.group_expiry = positive("group_expiry", group_expiry)
        self.capacity = positive("capacity", capacity)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.max_message_bytes = positive("max_message_bytes", max_message_bytes)
        # Replaced, never changed: other threads may be looking through it.
        self._parts: dict[asyncio.AbstractEventLoop, LoopPart] = {}
        self._parts_lock = threading.Lock()
        self._full_count = 0  # but for what the registries have counted
        self.gap_count = 0
        """Stretches in which this process may have missed messages."""
        self.dropped_count = 0
        """Messages of this process that were lost on purpose."""
        self.presence_changed: PresenceChanged | None = None
        """Called in a loop's thread for each person who has joined or left, in one process of all."""
        self._process = secrets.token_hex(8)
        self._numbers = count(1)
        if require_share(drop_share):
            drop_some(self, drop_share)

    # The channel layer specification

    async def new_channel(self, prefix: str = "specific") -> str:
        """A name that no other channel has, for a listener in this process: it can be sent to from everywhere now."""
        return self.new_channel_name(prefix)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send to one listener of ``channel``. Raises ``ChannelFull`` and ``MessageTooLarge``."""
        require_channel_name(channel)
        await self.start_send(channel, self.prepare(message))

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for the next message of ``channel``; a cancelled wait loses none.

        A name that ends with ``!`` stands for all channels that begin with it, in the order in which their
        messages came; ``message["__asgi_channel__"]`` says to which. Raises ``RuntimeError`` if the channel is
        open: its messages are handed over already.
        """
        require_channel_name(channel, receive=True)
        if self._part_of(channel) is not None:
            raise RuntimeError(f"The channel {channel!r} is open: its messages go to its deliver function.")
        return decode_event(await self.take(channel))

    async def group_add(self, group: str, channel: str) -> None:
        """Make ``channel`` a member of ``group``. A connection that is added twice has to be discarded twice."""
        require_group_name(group)
        require_channel_name(channel)
        await self.start_join(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """End the membership of ``channel``; nothing happens if it has none."""
        require_group_name(group)
        require_channel_name(channel)
        await self.start_leave(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send to each member. Never raises ``ChannelFull``; raises ``MessageTooLarge``."""
        require_group_name(group)
        await self.start_publish(group, self.prepare(message))

    async def flush(self) -> None:
        """Forget all waiting messages and all groups; open channels stay open."""
        for part in self._live_parts():
            part.call(part.registry.clear)
        self.clear()

    async def aopen(self) -> None:  # noqa: B027
        """Connect in the running loop now, and not at the first use; a layer that cannot says so in the log."""

    async def aclose(self) -> None:
        """Let go of what the running loop holds: its open channels end, and who waits to receive is cancelled.

        A loop that closes does so by itself; the layer can be used again afterwards.
        """
        loop = asyncio.get_running_loop()
        part = self._parts.get(loop)
        if part is not None:
            self._forget_part(loop)
            for receivers in part.receivers.values():
                for woken in receivers:
                    woken.cancel()

    async def take_work(self, channel: str) -> Work:
        """``take`` for workers: until it is done, the message counts as in the hands of this process.

        A layer with ``statistics`` that can tell counts those that a process took with it when it was killed.
        """
        return Work(await self.take(channel), nothing)

    def in_transaction(self) -> TransactionWriter | None:
        """The way into this thread's open database transaction, for a layer that can; else what is sent waits for
        the commit.
        """
        return None

    # Extensions of a layer that can: ``members``, ``statistics``, ``delay`` and ``presence``. The twins without
    # ``async`` are for threads.

    async def group_channels(self, group: str) -> list[str]:
        """The channels in ``group``, in all processes. Raises ``NotImplementedError`` without ``members``."""
        self._lacks("members")

    async def group_count(self, group: str) -> int:
        """How many channels are in ``group``, in all processes."""
        self._lacks("members")

    def channels_from_thread(self, group: str) -> list[str]:
        self._lacks("members")

    def count_from_thread(self, group: str) -> int:
        self._lacks("members")

    async def global_statistics(self) -> Statistics:
        """What this process has sent, and what waits. Raises ``NotImplementedError`` without ``statistics``."""
        self._lacks("statistics")

    async def channel_statistics(self, channel: str) -> Statistics:
        """What has waited in a named channel since it was last unused for ``expiry`` seconds, and waits now.

        The mailbox of a connection is not the layer's: for an open channel everything is 0.
        """
        self._lacks("statistics")

    def start_send_later(self, channel: str, message: Message, delay_s: float, token: str) -> Awaitable[None]:
        """Send in ``delay_s`` seconds; ``token`` takes it back. Its expiry counts from then."""
        self._lacks("delay")

    def send_later_from_thread(self, channel: str, message: Message, delay_s: float, token: str) -> None:
        self._lacks("delay")

    async def cancel(self, channel: str, token: str) -> bool:
        """Take back what ``start_send_later`` was given; ``False`` if its time has come already."""
        self._lacks("delay")

    def cancel_from_thread(self, channel: str, token: str) -> bool:
        self._lacks("delay")

    def start_enter(
        self, presence: str, key: str, channel: str, meta: dict[str, Any], grace_s: float
    ) -> Awaitable[None]:
        """Let the open channel ``channel`` count for the person ``key`` in ``presence`` until it exits or closes;
        in its loop's thread. See ``raceway.layers.roster``.
        """
        self._lacks("presence")

    def start_exit(self, presence: str, channel: str) -> Awaitable[None]:
        self._lacks("presence")

    async def roll(self, presence: str) -> dict[str, list[dict[str, Any]]]:
        """Who is there, in all processes: by person, the metadata of each connection."""
        self._lacks("presence")

    async def roll_count(self, presence: str) -> int:
        self._lacks("presence")

    def roll_from_thread(self, presence: str) -> dict[str, list[dict[str, Any]]]:
        self._lacks("presence")

    def roll_count_from_thread(self, presence: str) -> int:
        self._lacks("presence")

    def _lacks(self, extension: str) -> NoReturn:
        raise NotImplementedError(
            f"{type(self).__qualname__} does not offer {extension!r}; its extensions are "
            f"{', '.join(self.extensions) or 'none'}."
        )

    # Push: a channel whose messages are handed over, not waited for

    def open(
        self,
        channel: str,
        deliver: Deliver,
        push: Push | None = None,
        close: Close | None = None,
        gap: Gap | None = None,
    ) -> None:
        """From now on call ``deliver(encoded)`` in this loop's thread for each event to ``channel``.

        ``deliver`` answers whether there was room. Client messages go to ``push`` and ``close``; without those
        they come as events of type ``websocket.send`` and ``websocket.close``. ``decode_event`` reads them.
        ``gap(reason)`` says that a member of a group may have missed messages. Raises
        ``ValueError`` if the channel is open, ``RuntimeError`` if somebody waits in ``receive`` for it.
        """
        require_channel_name(channel)
        for part in self._live_parts():
            if channel in part.registry:
                raise ValueError(f"The channel {channel!r} is open already.")
            if channel in part.receivers:
                raise RuntimeError(
                    f"Somebody waits in receive({channel!r}); a channel is received from or open."
                )

        def push_as_event(message: PreparedMessage, policy: Policy, key: object) -> object:
            return deliver(as_event(message))

        def close_as_event(closing: Closing) -> object:
            return deliver(as_event(closing))

        part = self._part_here()
        part.registry.open(channel, deliver, push or push_as_event, close or close_as_event, gap)
        self._listen(channel)

    def _listen(self, channel: str) -> None:  # noqa: B027
        """For backends: a channel was opened in this loop."""

    def leave_all(self, channel: str) -> None:
        """End every membership of an open channel; in its loop's thread."""
        part = self._part_of(channel)
        if part is not None:
            part.registry.leave_all(channel)

    def close(self, channel: str) -> None:
        """End ``open``: the channel leaves its groups and gets nothing more; in its loop's thread."""
        part = self._part_of(channel)
        if part is not None:
            part.registry.close(channel)

    # The same without waiting: what consumers, Group and Channel call

    def new_channel_name(self, prefix: str = "specific") -> str:
        name = f"{prefix}.{self._process}!{next(self._numbers):x}"
        require_channel_name(name)
        return name

    def prepare(self, message: object) -> Message:
        """Check and encode ``message``; see ``raceway.layers.spec.prepare``."""
        prepared = prepare(message)
        self.require_size(prepared)
        return prepared

    def require_size(self, message: Message) -> None:
        payload = message.payload if isinstance(message, PreparedMessage) else message
        if len(payload) > self.max_message_bytes:
            raise MessageTooLarge(
                f"The message has {len(payload)} bytes, more than max_message_bytes={self.max_message_bytes}."
            )

    def join(self, group: str, channel: str) -> None:
        part = self._connection_part(channel)
        if part is None:
            self.add_channel(group, channel)
        else:
            part.call(part.registry.join, group, channel)

    def leave(self, group: str, channel: str) -> None:
        part = self._connection_part(channel)
        if part is None:
            self.discard_channel(group, channel)
        else:
            part.call(part.registry.leave, group, channel)

    def start_join(self, group: str, channel: str) -> Awaitable[None]:
        """``join``, in a loop's thread; awaiting waits until nothing sent from now on is missed."""
        self.join(group, channel)
        return DONE

    def start_leave(self, group: str, channel: str) -> Awaitable[None]:
        self.leave(group, channel)
        return DONE

    def _connection_part(self, channel: str) -> LoopPart | None:
        """The part of a connection, whose memberships end with it; those of a named channel outlive listeners."""
        return self._part_of(channel) if "!" in channel else None

    def deliver_here(self, channel: str, message: Message) -> bool:
        """Hand ``message`` to ``channel`` if it is open in this process; ``False`` if it is not.

        Raises ``ChannelFull`` where that can be known, which is in the loop of the channel.
        """
        part = self._part_of(channel)
        if part is None:
            return False
        if running_loop() is not part.loop:
            part.handover(part.registry.send, channel, message)
        elif not part.registry.send(channel, message):
            raise ChannelFull(f"The channel {channel!r} holds {self.capacity_of(channel)} messages already.")
        return True

    def publish_here(self, group: str, message: Message, exclude: str | None, policy: Policy) -> None:
        """Hand ``message`` to the members of ``group`` that are open in this process."""
        for part in self._live_parts():
            if part.registry:  # a loop of a moment, as ``async_to_sync`` makes them, has nobody to hear it
                part.call(part.registry.publish, group, message, exclude, policy)

    def tell_gap(self, reason: str, missed_by: LoopPart | None = None, prefix: str = "") -> None:
        """Messages of other processes may have been missed, in one loop or in all: tell every member of a group there
        whose name begins with ``prefix``, once.
        """
        self.gap_count += 1
        logger.warning("Messages from other processes may have been missed: %s.", reason)
        for part in self._live_parts() if missed_by is None else (missed_by,):
            part.call(part.registry.gap, reason, prefix)

    @property
    def full_count(self) -> int:
        """Messages that found their channel, or the mailbox of their connection, full in this process."""
        # First those that live: to go through them also notes what has ended.
        live_count = sum(part.registry.full_count for part in self._live_parts())
        return self._full_count + live_count

    def capacity_of(self, channel: str) -> int:
        """How many messages may wait in ``channel``."""
        for pattern, limit in self.channel_capacity:
            if pattern.match(channel):
                return limit
        return self.capacity

    # Names of the base class of Channels 4, for code written for it

    def get_capacity(self, channel: str) -> int:
        return self.capacity_of(channel)

    def compile_capacities(self, channel_capacity: ChannelCapacity) -> list[tuple[re.Pattern[str], int]]:
        """Patterns in the order in which they are tried. Raises ``ConfigurationError`` for an impossible number."""
        return [
            (
                re.compile(fnmatch.translate(pattern)) if isinstance(pattern, str) else pattern,
                positive(f"channel_capacity[{pattern!r}]", limit),
            )
            for pattern, limit in channel_capacity.items()
        ]

    def require_valid_channel_name(self, name: str, receive: bool = False) -> bool:
        require_channel_name(name, receive)
        return True

    def require_valid_group_name(self, name: str) -> bool:
        require_group_name(name)
        return True

    def valid_channel_names(self, names: Iterable[str], receive: bool = False) -> bool:
        return all(self.require_valid_channel_name(name, receive) for name in names)

    def non_local_name(self, name: str) -> str:
        return non_local_name(name)

    # What a backend gives. ``start_`` begins when called, in a loop's thread, and returns what waits for the
    # end; its twin is for threads without a loop and makes none.

    @abstractmethod
    def start_send(self, channel: str, message: Message) -> Awaitable[None]:
        """Carry ``message`` to one listener of ``channel``, wherever it is."""

    @abstractmethod
    def send_from_thread(self, channel: str, message: Message) -> None: ...

    @abstractmethod
    def start_publish(
        self, group: str, message: Message, exclude: str | None = None, policy: Policy = "close"
    ) -> Awaitable[None]:
        """Carry ``message`` to every process, which calls ``publish_here``, and to the group's named channels."""

    @abstractmethod
    def publish_from_thread(
        self, group: str, message: Message, exclude: str | None = None, policy: Policy = "close"
    ) -> None: ...

    @abstractmethod
    async def take(self, channel: str) -> bytes:
        """Wait for the next event sent to a channel that is not open."""

    @abstractmethod
    def add_channel(self, group: str, channel: str) -> None:
        """Make a channel that is not open in this process a member."""

    @abstractmethod
    def discard_channel(self, group: str, channel: str) -> None:
        """End such a membership."""

    @abstractmethod
    def clear(self) -> None:
        """Forget what waits in the backend, and the memberships in it."""

    # Loops

    def _part_here(self) -> LoopPart:
        """The running loop's part, made on first use."""
        loop = asyncio.get_running_loop()
        part = self._parts.get(loop)
        if part is None:
            part = self._make_part(loop)
            with self._parts_lock:
                self._parts = {**self._parts, loop: part}
        return part

    def _make_part(self, loop: asyncio.AbstractEventLoop) -> LoopPart:
        """For backends that keep more for a loop."""
        return LoopPart(loop)

    def _part_of(self, channel: str) -> LoopPart | None:
        """The part in which ``channel`` is open."""
        for part in self._live_parts():
            if channel in part.registry:
                return part
        return None

    def _live_parts(self) -> Iterator[LoopPart]:
        for loop, part in self._parts.items():
            if not loop.is_closed():
                yield part
                continue
            self._forget_part(loop)

    def _forget_part(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._parts_lock:
            part = self._parts.get(loop)
            if part is not None:
                self._full_count += part.registry.full_count
                self._parts = {one: part for one, part in self._parts.items() if one is not loop}


def nothing() -> None:
    """Do nothing."""


def positive(option: str, number: Number) -> Number:
    """``number``, if it can bound anything. Raises ``ConfigurationError``."""
    if isinstance(number, bool) or not isinstance(number, int | float) or not number > 0:
        raise ConfigurationError(f"{option} is a number above 0, not {number!r}.")
    return number


def require_no_loop(twin: str) -> None:
    """For questions that wait for other processes, or for this very loop. Raises ``RuntimeError`` in a loop's thread,
    on every layer, so that tests on ``memory`` show the mistake; ``twin`` is what to await there.
    """
    if running_loop() is not None:
        raise RuntimeError(
            f"This waits for the answers of all processes, so it would stop the event loop: await {twin} instead."
        )


def running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
