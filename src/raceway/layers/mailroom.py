"""What every layer of Raceway keeps in one process: the channels whose messages wait in it, and who waits for them."""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import Any

from raceway import clock as raceway_clock
from raceway.done import DONE
from raceway.errors import ChannelFull, LayerUnavailable
from raceway.layers.front import ChannelLayer, LoopPart, running_loop
from raceway.layers.queues import DELAYED, NO_CAPACITY, Delayed, Later, Queues, Waiting
from raceway.layers.spec import as_event, decode_event, encode_event, non_local_name, require_channel_name
from raceway.layers.statistics import Rate, Statistics
from raceway.registry import Message


class QueueLayer(ChannelLayer):
    """A layer with the queues of this process: an open channel is handed its messages, any other's wait here.

    For backends; ``clock`` is in seconds and measures expiry and ages.
    """

    extensions = [*ChannelLayer.extensions, "statistics", "delay"]

    def __init__(self, *, clock: Callable[[], float] = raceway_clock.monotonic, **options: Any) -> None:
        super().__init__(**options)
        self._clock = clock
        self._lock = threading.Lock()
        self._queues = Queues(clock())
        self._delayed: Delayed[Message] = Delayed()
        self._timers: dict[asyncio.AbstractEventLoop, float] = {}
        """When each loop looks for what is due next; entries belong to their loop's thread."""
        self._sent_count = 0
        self._rates = Rate(clock()), Rate(clock())

    # Sending

    def _send(self, channel: str, message: Message) -> None:
        while not self.deliver_here(channel, message):
            if self._put(channel, as_event(message)):
                return

    def _count_full(self, sent: asyncio.Future[Any]) -> None:
        """Once it is known what became of a message to another process."""
        if not sent.cancelled() and isinstance(sent.exception(), ChannelFull):
            self._full_count += 1

    # Delay: a message waits in this process, and ends with it

    def start_send_later(self, channel: str, message: Message, delay_s: float, token: str) -> Awaitable[None]:
        self.send_later_from_thread(channel, message, delay_s, token)
        return DONE

    def send_later_from_thread(self, channel: str, message: Message, delay_s: float, token: str) -> None:
        self._sent_count += 1
        with self._lock:
            if not self._delayed.add(channel, token, message, self._clock() + delay_s, self.expiry):
                raise LayerUnavailable(
                    f"{DELAYED} delayed messages wait in this process already; this one was not sent."
                )
        self._set_timers()

    async def cancel(self, channel: str, token: str) -> bool:
        return self.cancel_from_thread(channel, token)

    def cancel_from_thread(self, channel: str, token: str) -> bool:
        self._send_due()
        with self._lock:
            return self._delayed.cancel(channel, token)

    def _send_due(self) -> None:
        """Send what is due; whoever comes by does it, as a timer may have gone with its loop."""
        if not self._delayed:
            return
        with self._lock:
            due = self._delayed.take_due(self._clock())
        for later in due:
            with suppress(ChannelFull):  # of an open channel, which counts it
                while not self.deliver_here(later.channel, later.payload):
                    if self._put_due(later):
                        break
        self._set_timers()

    def _put_due(self, later: Later[Message]) -> bool:
        """``_put`` for what has been accepted already."""
        with self._lock:
            if self._part_of(later.channel) is not None:
                return False
            encoded = as_event(later.payload)
            self._queues.put(later.channel, encoded, self._clock(), later.expires_at, NO_CAPACITY)
            self._wake(later.channel)
            return True

    def _set_timers(self) -> None:
        """Have every loop look for what is due when it is: any of them may end before."""
        if self._delayed:
            for part in self._live_parts():
                part.call(self._set_timer, part.loop)

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            deadline = self._delayed.deadline
        if deadline is not None and deadline < self._timers.get(loop, math.inf):
            self._timers[loop] = deadline
            loop.call_later(max(0.0, deadline - self._clock()), self._timer_is_up, loop, deadline)

    def _timer_is_up(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        if self._timers.get(loop) == at:
            del self._timers[loop]
        self._send_due()

    def _forget_part(self, loop: asyncio.AbstractEventLoop) -> None:
        super()._forget_part(loop)
        self._timers.pop(loop, None)

    # Receiving

    def _listen(self, channel: str) -> None:
        with self._lock:
            waiting = self._queues.take_all(channel, self._clock())
        for encoded in waiting:
            with suppress(ChannelFull):
                self.deliver_here(channel, encoded)
        self._send_due()

    async def take(self, channel: str) -> bytes:
        part = self._part_here()
        self._send_due()
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

    def clear(self) -> None:
        with self._lock:
            self._queues.clear()
            self._delayed.clear()

    # Statistics

    async def global_statistics(self) -> Statistics:
        self._send_due()
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
        self._send_due()
        with self._lock:
            return self._queues.figures(channel, self._clock())

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

    def _begin_again(self) -> None:
        """In the child of a fork: what the parent holds is not ours, and another process needs another name."""
        for part in self._parts.values():
            part.forsake()
        self._parts = {}
        self._parts_lock = threading.Lock()
        self._lock = threading.Lock()
        self.clear()
        self._process = secrets.token_hex(8)
        self._numbers = count(1)


_forked_layers: weakref.WeakSet[QueueLayer] = weakref.WeakSet()


def begin_again_after_fork(layer: QueueLayer) -> None:
    """For backends that reach other processes."""
    _forked_layers.add(layer)


def _after_fork_in_child() -> None:
    for layer in list(_forked_layers):
        layer._begin_again()


os.register_at_fork(after_in_child=_after_fork_in_child)


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
