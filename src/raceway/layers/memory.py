"""The layer inside one process: for development with one process, and for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

import msgspec

from raceway import clock as raceway_clock
from raceway.done import DONE
from raceway.errors import ChannelFull
from raceway.layers.front import running_loop
from raceway.layers.mailroom import QueueLayer
from raceway.layers.presences import Presences, tell_listener
from raceway.layers.queues import NamedMembers
from raceway.layers.roster import Change, Diff, Effect, Roll, presence_group
from raceway.layers.spec import decode_event, require_group_name
from raceway.registry import Message
from raceway.registry.policy import Policy

T = TypeVar("T")


class MemoryLayer(QueueLayer):
    """Carry messages between the threads and loops of one process; other processes are never reached.

    ``clock`` is in seconds and measures expiry and ages.
    """

    extensions = [*QueueLayer.extensions, "members", "presence"]

    def __init__(self, *, clock: Callable[[], float] = raceway_clock.monotonic, **options: Any) -> None:
        super().__init__(clock=clock, **options)
        self._named = NamedMembers()
        self._presences = Presences(self._act, clock)
        self.presence_changed = tell_listener

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
        super().clear()
        with self._lock:
            self._named.clear()

    # Members. What other threads have asked for may still be on its way to the loop.

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


def fresh(value: T) -> T:
    """A copy, as it would come from another process."""
    return cast(T, decode_event(msgspec.msgpack.encode(value)))
