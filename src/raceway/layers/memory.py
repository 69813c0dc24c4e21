"""The layer inside one process: for development with one process, and for tests."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import suppress
from itertools import count
from typing import Any, Final, NamedTuple

from raceway import clock as raceway_clock
from raceway.done import DONE
from raceway.errors import ChannelFull
from raceway.layers.front import ChannelLayer, LoopPart, running_loop
from raceway.layers.spec import (
    as_event,
    decode_event,
    encode_event,
    non_local_name,
    require_channel_name,
    require_group_name,
)
from raceway.layers.statistics import Rate, Statistics
from raceway.registry import Close, Deliver, Message, Push
from raceway.registry.policy import Policy

SWEPT: Final = 2
"""Queues and groups that each new entry looks at, for what has expired: more than it can leave behind."""


class Waiting(NamedTuple):
    """One message that nobody has received yet."""

    number: int
    sent_at: float
    encoded: bytes


class Queue:
    """What waits in one channel that is not open, and what has been counted since the queue was made."""

    __slots__ = ("full_count", "made_at", "messages", "rates", "sent_count", "used_at")

    def __init__(self, now: float) -> None:
        self.messages: deque[Waiting] = deque()
        self.sent_count = 0
        self.full_count = 0
        self.rates: tuple[Rate, Rate] | None = None
        self.made_at = self.used_at = now


class MemoryLayer(ChannelLayer):
    """Carry messages between the threads and loops of one process; other processes are never reached.

    ``clock`` is in seconds and measures expiry and ages.
    """

    extensions = [*ChannelLayer.extensions, "members", "statistics"]

    def __init__(self, *, clock: Callable[[], float] = raceway_clock.monotonic, **options: Any) -> None:
        super().__init__(**options)
        self._clock = clock
        self._lock = threading.Lock()
        self._arrival_numbers = count()
        self._queues: OrderedDict[str, Queue] = OrderedDict()
        self._arrivals: dict[str, OrderedDict[int, str]] = {}
        """By ``prefix!``: which channel each waiting message is for, in the order in which they came."""
        self._groups: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()
        """Named channels, each with when its membership ends; the first to end comes first."""
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
        if group not in self._groups:
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
        self, channel: str, deliver: Deliver, push: Push | None = None, close: Close | None = None
    ) -> None:
        with self._lock:
            super().open(channel, deliver, push, close)
            waiting = list(self._take_all(channel))
        for encoded in waiting:
            with suppress(ChannelFull):
                self.deliver_here(channel, encoded)

    async def take(self, channel: str) -> bytes:
        part = self._part_here()
        while True:
            with self._lock:
                encoded = self._pop(channel)
                if encoded is not None:
                    return encoded
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
            self._sweep_groups(now)
            channels = self._groups.setdefault(group, OrderedDict())
            channels[channel] = now + self.group_expiry
            channels.move_to_end(channel)

    def discard_channel(self, group: str, channel: str) -> None:
        with self._lock:
            channels = self._groups.get(group)
            if channels is not None:
                channels.pop(channel, None)
                if not channels:
                    del self._groups[group]

    def _named_channels(self, group: str) -> list[str]:
        with self._lock:
            self._expire_group(group, self._clock())
            return list(self._groups.get(group, ()))

    def clear(self) -> None:
        with self._lock:
            self._queues.clear()
            self._arrivals.clear()
            self._groups.clear()

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
            for channel in list(self._queues):
                self._expire(channel, now)
            return figures(now, self._sent_count, self.full_count, self._rates, self._queues.values())

    async def channel_statistics(self, channel: str) -> Statistics:
        require_channel_name(channel)
        with self._lock:
            now = self._clock()
            self._expire(channel, now)
            queue = self._queues.get(channel)
            if queue is None:
                return figures(now, 0, 0, (Rate(now), Rate(now)), ())
            if queue.rates is None:
                queue.rates = Rate(queue.made_at), Rate(queue.made_at)
            return figures(now, queue.sent_count, queue.full_count, queue.rates, (queue,))

    # Queues of the channels that nobody has opened; the lock is held in all but _put

    def _put(self, channel: str, encoded: bytes) -> bool:
        """Let a message wait; ``False`` if the channel has been opened meanwhile."""
        with self._lock:
            if self._part_of(channel) is not None:
                return False
            now = self._clock()
            self._sweep_queues(now)
            self._expire(channel, now)
            queue = self._queues.get(channel)
            if queue is None:
                queue = self._queues[channel] = Queue(now)
            queue.used_at = now
            if len(queue.messages) >= self.capacity_of(channel):
                queue.full_count += 1
                self._full_count += 1
                raise ChannelFull(f"The channel {channel!r} holds {len(queue.messages)} messages already.")
            queue.sent_count += 1
            waiting = Waiting(next(self._arrival_numbers), now, encoded)
            queue.messages.append(waiting)
            if "!" in channel:
                prefix = non_local_name(channel)
                self._arrivals.setdefault(prefix, OrderedDict())[waiting.number] = channel
            self._wake(channel)
            return True

    def _pop(self, listened: str) -> bytes | None:
        """Take the next message of a channel, or of all channels of a prefix."""
        now = self._clock()
        if not listened.endswith("!"):
            return self._pop_from(listened, now)
        while listened in self._arrivals:
            channel = next(iter(self._arrivals[listened].values()))
            encoded = self._pop_from(channel, now)
            if encoded is not None:
                return encode_event({**decode_event(encoded), "__asgi_channel__": channel})
        return None

    def _pop_from(self, channel: str, now: float) -> bytes | None:
        self._expire(channel, now)
        queue = self._queues.get(channel)
        if queue is None or not queue.messages:
            return None
        queue.used_at = now
        encoded = self._pop_oldest(channel, queue)
        self._forget_queue(channel, queue, now)
        return encoded

    def _take_all(self, channel: str) -> Iterator[bytes]:
        now = self._clock()
        while (encoded := self._pop_from(channel, now)) is not None:
            yield encoded

    def _pop_oldest(self, channel: str, queue: Queue) -> bytes:
        waiting = queue.messages.popleft()
        if "!" in channel:
            prefix = non_local_name(channel)
            arrivals = self._arrivals[prefix]
            del arrivals[waiting.number]
            if not arrivals:
                del self._arrivals[prefix]
        return waiting.encoded

    def _expire(self, channel: str, now: float) -> None:
        queue = self._queues.get(channel)
        if queue is not None:
            while queue.messages and queue.messages[0].sent_at + self.expiry <= now:
                self._pop_oldest(channel, queue)
            self._forget_queue(channel, queue, now)

    def _forget_queue(self, channel: str, queue: Queue, now: float) -> None:
        """Forget an empty queue: at once if its name is one of many, later if its counts may be asked for."""
        if not queue.messages and ("!" in channel or queue.used_at + self.expiry <= now):
            del self._queues[channel]

    def _expire_group(self, group: str, now: float) -> None:
        channels = self._groups.get(group)
        while channels and next(iter(channels.values())) <= now:
            channels.popitem(last=False)
        if channels is not None and not channels:
            del self._groups[group]

    # What nobody asks for any more goes too, at a fixed cost per new entry.

    def _sweep_queues(self, now: float) -> None:
        for _ in range(min(SWEPT, len(self._queues))):
            channel = next(iter(self._queues))
            self._queues.move_to_end(channel)
            self._expire(channel, now)

    def _sweep_groups(self, now: float) -> None:
        for _ in range(min(SWEPT, len(self._groups))):
            group = next(iter(self._groups))
            self._groups.move_to_end(group)
            self._expire_group(group, now)

    # Receivers

    def _wake(self, channel: str) -> None:
        """Let one receiver look: one of this channel, else one of its prefix."""
        if not self._wake_one(channel) and "!" in channel:
            self._wake_one(non_local_name(channel))

    def _wake_for_all(self, listened: str) -> None:
        """Let as many look as there may be messages for that only the one who goes was told of."""
        if listened.endswith("!"):
            for channel in set(self._arrivals.get(listened, {}).values()):
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


def figures(
    now: float, sent_count: int, full_count: int, rates: tuple[Rate, Rate], queues: Collection[Queue]
) -> Statistics:
    sent_rate, full_rate = rates
    oldest = min((queue.messages[0].sent_at for queue in queues if queue.messages), default=now)
    return {
        "messages_count": sent_count,
        "messages_count_per_second": sent_rate.per_second(now, sent_count),
        "messages_pending": sum(len(queue.messages) for queue in queues),
        "messages_max_age": now - oldest,
        "channel_full_count": full_count,
        "channel_full_count_per_second": full_rate.per_second(now, full_count),
    }
