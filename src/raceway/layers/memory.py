"""The layer inside one process: for development with one process, and for tests."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from raceway.done import DONE
from raceway.errors import ChannelFull
from raceway.layers.front import ChannelLayer
from raceway.layers.spec import as_event
from raceway.registry import Message
from raceway.registry.policy import Policy


class MemoryLayer(ChannelLayer):
    """Carry messages between the threads and loops of one process; other processes are never reached.

    ``clock`` is in seconds and only measures expiry.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, **options: Any) -> None:
        super().__init__(**options)
        self._clock = clock
        self._lock = threading.Lock()
        self._queues: OrderedDict[str, deque[tuple[float, bytes]]] = OrderedDict()
        self._receivers: dict[str, deque[asyncio.Future[None]]] = {}
        self._groups: dict[str, dict[str, None]] = {}

    def start_send(self, channel: str, message: Message) -> Awaitable[None]:
        self.send_from_thread(channel, message)
        return DONE

    def send_from_thread(self, channel: str, message: Message) -> None:
        if not self.deliver_here(channel, message):
            self._put(channel, as_event(message))

    def start_publish(
        self, group: str, message: Message, exclude: str | None = None, policy: Policy = "close"
    ) -> Awaitable[None]:
        self.publish_from_thread(group, message, exclude, policy)
        return DONE

    def publish_from_thread(
        self, group: str, message: Message, exclude: str | None = None, policy: Policy = "close"
    ) -> None:
        self.publish_here(group, message, exclude, policy)
        if group not in self._groups:
            return
        with self._lock:
            channels = list(self._groups.get(group, ()))
        for channel in channels:
            if channel != exclude:
                with suppress(ChannelFull):  # each member gets what it has room for
                    self.send_from_thread(channel, message)

    async def take(self, channel: str) -> bytes:
        while True:
            with self._lock:
                encoded = self._pop(channel)
                if encoded is not None:
                    return encoded
                woken = asyncio.get_running_loop().create_future()
                self._receivers.setdefault(channel, deque()).append(woken)
            try:
                await woken
            except asyncio.CancelledError:
                with self._lock:
                    if not self._forget_receiver(channel, woken):
                        self._wake(channel)  # it was woken for a message that it will not take
                raise

    def add_channel(self, group: str, channel: str) -> None:
        with self._lock:
            self._groups.setdefault(group, {})[channel] = None

    def discard_channel(self, group: str, channel: str) -> None:
        with self._lock:
            channels = self._groups.get(group, {})
            channels.pop(channel, None)
            if not channels:
                self._groups.pop(group, None)

    def clear(self) -> None:
        with self._lock:
            self._queues.clear()
            self._groups.clear()

    # Queues of the channels that nobody has opened; the lock is held in all but _put

    def _put(self, channel: str, encoded: bytes) -> None:
        now = self._clock()
        with self._lock:
            self._sweep(now)
            self._expire(channel, now)
            queue = self._queues.setdefault(channel, deque())
            if len(queue) >= self.capacity_of(channel):
                raise ChannelFull(f"The channel {channel!r} holds {len(queue)} messages already.")
            queue.append((now + self.expiry, encoded))
            self._wake(channel)

    def _pop(self, channel: str) -> bytes | None:
        self._expire(channel, self._clock())
        queue = self._queues.get(channel)
        if queue is None:
            return None
        _, encoded = queue.popleft()
        if not queue:
            del self._queues[channel]
        return encoded

    def _expire(self, channel: str, now: float) -> None:
        queue = self._queues.get(channel)
        while queue and queue[0][0] <= now:
            queue.popleft()
        if queue is not None and not queue:
            del self._queues[channel]

    def _sweep(self, now: float) -> None:
        """Look at two more queues, so that those nobody reads go too, at a fixed cost per message."""
        for _ in range(2):
            channel = next(iter(self._queues), None)
            if channel is None:
                return
            self._queues.move_to_end(channel)
            self._expire(channel, now)

    def _wake(self, channel: str) -> None:
        """Let one receiver look; one whose loop has gone is passed over."""
        while receivers := self._receivers.get(channel):
            woken = receivers[0]
            self._forget_receiver(channel, woken)
            with suppress(RuntimeError):
                woken.get_loop().call_soon_threadsafe(_set, woken)
                return

    def _forget_receiver(self, channel: str, woken: asyncio.Future[None]) -> bool:
        receivers = self._receivers.get(channel)
        if receivers is None or woken not in receivers:
            return False
        receivers.remove(woken)
        if not receivers:
            del self._receivers[channel]
        return True


def _set(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
