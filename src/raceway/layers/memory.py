"""The layer inside one process: for development with one process, and for tests."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

import msgspec

from raceway import clock as raceway_clock
from raceway.done import DONE
from raceway.errors import ChannelFull
from raceway.layers.front import ChannelLayer, LoopPart, running_loop
from raceway.layers.presences import Presences, tell_listener
from raceway.layers.queues import NamedMembers, Queues, Waiting
from raceway.layers.roster import Change, Diff, Effect, Roll, presence_group
from raceway.layers.spec import (
    as_event,
    decode_event,
    encode_event,
    non_local_name,
    require_channel_name,
    require_group_name,
)
from raceway.layers.statistics import Rate, Statistics
from raceway.registry import Close, Deliver, Gap, Message, Push
from raceway.registry.policy import Policy

T = TypeVar("T")


class MemoryLayer(ChannelLayer):
    """Carry messages between the threads and loops of one process; other processes are never reached.

    ``clock`` is in seconds and measures expiry and ages.
    """

    extensions = [*ChannelLayer.extensions, "members", "statistics", "presence"]

    def __init__(self, *, clock: Callable[[], float] = raceway_clock.monotonic, **options: Any) -> None:
        super().__init__(**options)
        self._clock = clock
        self._lock = threading.Lock()
        self._queues = Queues(clock())
        self._named = NamedMembers()
        self._presences = Presences(self._act, clock)
        self.presence_changed = tell_listener
        self._sent_count = 0
        self._rates = Rate(clock()), Rate(clock())

    # Sending

    def start_send(self, channel: str, message: Message) -> Awaitable[None]:
        self.send_from_thread(channel, message)
        return DONE

    def send_from_thread(self, channel: str, message: Message) -> None:
        self._sent_count += 1
        self._send(channel, message)

    def start_publish(
        self, group: str, message: Message, exclude: str | None = None, policy: Policy = "close"
    ) -> Awaitable[None]:
        self.publish_from_thread(group, message, exclude, policy)
        return DONE

    def publish_from_thread(
        self, group: str, message: Message, exclude: str | None = None, policy: Policy = "close"
    ) -> None:
        self._sent_count += 1
        self.publish_here(group, message, exclude, policy)
        if not self._named:
            return
        for channel in self._named_channels(group):
            if channel != exclude:
                with suppress(ChannelFull):  # each member gets what it has room for
                    self._send(channel, message)

    def _send(self, channel: str, message: Message) -> None:
        while not self.deliver_here(channel, message):
            if self._put(channel, as_event(message)):
                return

    # Receiving

    def open(
        self,
        channel: str,
        deliver: Deliver,
        push: Push | None = None,
        close: Close | None = None,
        gap: Gap | None = None,
    ) -> None:
        with self._lock:
            super().open(channel, deliver, push, close, gap)
            waiting = self._queues.take_all(channel, self._clock())
        for encoded in waiting:
            with suppress(ChannelFull):
                self.deliver_here(channel, encoded)

    async def take(self, channel: str) -> bytes:
        part = self._part_here()
        while True:
            with self._lock:
                waiting = self._queues.pop(channel, self._clock())
                if waiting is not None:
                    return waiting.encoded if waiting.channel == channel else said_for(waiting)
                woken = part.loop.create_future()
                part.receivers.setdefault(channel, deque()).append(woken)
            try:
                await woken
            except asyncio.CancelledError:
                with self._lock:
                    if not forget_receiver(part, channel, woken):
                        self._wake_for_all(channel)  # it was woken for a message that it will not take
                raise

    # Groups of named channels

    def add_channel(self, group: str, channel: str) -> None:
        now = self._clock()
        with self._lock:
            self._named.add(group, channel, now + self.group_expiry, self.capacity_of(channel), now)

    def discard_channel(self, group: str, channel: str) -> None:
        with self._lock:
            self._named.discard(group, channel)

    def _named_channels(self, group: str) -> list[str]:
        with self._lock:
            return list(self._named.channels(group, self._clock()))

    def clear(self) -> None:
        with self._lock:
            self._queues.clear()
            self._named.clear()

    # Members and statistics. What other threads have asked for may still be on its way to the loop.

    async def group_channels(self, group: str) -> list[str]:
        return self.channels_from_thread(group)

    async def group_count(self, group: str) -> int:
        return self.count_from_thread(group)

    def channels_from_thread(self, group: str) -> list[str]:
        require_group_name(group)
        channels = [channel for part in self._live_parts() for channel in part.registry.channels(group)]
        return channels + self._named_channels(group)

    def count_from_thread(self, group: str) -> int:
        require_group_name(group)
        count_here = sum(part.registry.count(group) for part in self._live_parts())
        return count_here + len(self._named_channels(group))

    async def global_statistics(self) -> Statistics:
        with self._lock:
            now = self._clock()
            return {
                **self._queues.figures(None, now),  # which counts neither groups nor open channels
                "messages_count": self._sent_count,
                "messages_count_per_second": self._rates[0].per_second(now, self._sent_count),
                "channel_full_count": self.full_count,
                "channel_full_count_per_second": self._rates[1].per_second(now, self.full_count),
            }

    async def channel_statistics(self, channel: str) -> Statistics:
        require_channel_name(channel)
        with self._lock:
            return self._queues.figures(channel, self._clock())

    # Presence. Each loop owns its channels: one that is gone takes their persons' connections with it.

    def start_enter(
        self, presence: str, key: str, channel: str, meta: dict[str, Any], grace_s: float
    ) -> Awaitable[None]:
        part = self._part_of(channel)
        if part is not None:
            self._presences.enter(presence, key, channel, meta, grace_s, part.loop)
        return DONE

    def start_exit(self, presence: str, channel: str) -> Awaitable[None]:
        self._presences.exit(presence, channel)
        return DONE

    async def roll(self, presence: str) -> Roll:
        return self.roll_from_thread(presence)

    async def roll_count(self, presence: str) -> int:
        return self.roll_count_from_thread(presence)

    def roll_from_thread(self, presence: str) -> Roll:
        self._forget_ended()
        return fresh(self._presences.roll(presence))

    def roll_count_from_thread(self, presence: str) -> int:
        self._forget_ended()
        return self._presences.count(presence)

    def leave_all(self, channel: str) -> None:
        super().leave_all(channel)
        self._presences.exit(None, channel)

    def close(self, channel: str) -> None:
        super().close(channel)
        self._presences.exit(None, channel)

    def _forget_ended(self) -> None:
        for _ in self._live_parts():
            """Each loop is looked at, and forgotten if it is closed."""

    def _forget_part(self, loop: asyncio.AbstractEventLoop) -> None:
        super()._forget_part(loop)
        self._presences.forget_owner(loop)

    def _act(self, effect: Effect) -> None:
        """Tell a presence's members, or those who listen to signals, from a loop's thread."""
        if isinstance(effect, Diff):
            self.publish_here(presence_group(effect.presence), effect.encoded, None, "close")
        elif running_loop() is not None:
            self._tell_change(effect)
        else:
            for part in self._live_parts():
                part.handover(self._tell_change, effect)
                break

    def _tell_change(self, change: Change) -> None:
        if self.presence_changed is not None:
            self.presence_changed(change.presence, change.kind, change.key, fresh(change.metas))

    def _put(self, channel: str, encoded: bytes) -> bool:
        """Let a message wait; ``False`` if the channel has been opened meanwhile."""
        with self._lock:
            if self._part_of(channel) is not None:
                return False
            now, capacity = self._clock(), self.capacity_of(channel)
            if not self._queues.put(channel, encoded, now, now + self.expiry, capacity):
                self._full_count += 1
                raise ChannelFull(f"The channel {channel!r} holds {capacity} messages already.")
            self._wake(channel)
            return True

    # Receivers

    def _wake(self, channel: str) -> None:
        """Let one receiver look: one of this channel, else one of its prefix."""
        if not self._wake_one(channel) and "!" in channel:
            self._wake_one(non_local_name(channel))

    def _wake_for_all(self, listened: str) -> None:
        """Let as many look as there may be messages for that only the one who goes was told of."""
        if listened.endswith("!"):
            for channel in self._queues.channels(listened):
                self._wake(channel)
        else:
            self._wake(listened)

    def _wake_one(self, listened: str) -> bool:
        for part in self._live_parts():
            while receivers := part.receivers.get(listened):
                woken = receivers[0]
                forget_receiver(part, listened, woken)
                if woken.done():  # cancelled, and does not know yet
                    continue
                if running_loop() is part.loop:
                    woken.set_result(None)
                    return True
                with suppress(RuntimeError):  # the loop was closed this instant
                    part.loop.call_soon_threadsafe(wake, woken)
                    return True
        return False


def forget_receiver(part: LoopPart, listened: str, woken: asyncio.Future[None]) -> bool:
    """Take a receiver out of those that wait; ``False`` if it was woken already."""
    receivers = part.receivers.get(listened)
    if receivers is None or woken not in receivers:
        return False
    receivers.remove(woken)
    if not receivers:
        del part.receivers[listened]
    return True


def wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def said_for(waiting: Waiting) -> bytes:
    """A message that was received by prefix, with the name of its channel."""
    return encode_event({**decode_event(waiting.encoded), "__asgi_channel__": waiting.channel})


def fresh(value: T) -> T:
    """A copy, as it would come from another process."""
    return cast(T, decode_event(msgspec.msgpack.encode(value)))
