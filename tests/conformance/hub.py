"""A carrier inside one process, with which ``DistributedLayer`` is tested without a server."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable
from typing import Any

from raceway import clock
from raceway.errors import ChannelFull, LayerUnavailable
from raceway.layers.distributed import DistributedLayer
from raceway.layers.distributed.carrier import (
    Carrier,
    Ears,
    Popped,
    ThreadCarrier,
    channel_address,
    group_address,
)
from raceway.layers.queues import NamedMembers, Queues
from raceway.layers.statistics import Statistics


class Hub:
    """What all carriers meet at; ``is_down`` refuses everything."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.queues = Queues(clock.monotonic())
        self.named = NamedMembers()
        self.later: dict[tuple[str, str], tuple[float, bytes, float]] = {}
        self.heard: dict[str, list[Callable[[str, bytes], object]]] = {}
        self.roles: dict[str, tuple[object, float]] = {}
        self.is_down = False

    def check(self) -> None:
        if self.is_down:
            raise LayerUnavailable("The hub is down.")

    def cast(self, address: str, frame: bytes) -> int:
        with self.lock:
            self.check()
            hearers = self.heard.get(address, ())
            for hear in hearers:
                hear(address, frame)
            return len(hearers)

    def publish(self, group: str, frame: bytes) -> list[str]:
        with self.lock:
            self.cast(group_address(group), frame)
            return self.members(group)

    def put(self, channel: str, entry: bytes, capacity: int, expiry_s: float) -> None:
        with self.lock:
            self.check()
            now = clock.monotonic()
            self.move_due(now)
            if not self.queues.put(channel, entry, now, now + expiry_s, capacity):
                raise ChannelFull(f"The channel {channel!r} holds {capacity} messages already.")
            self.cast(channel_address(channel), b"")

    def put_later(self, channel: str, entry: bytes, expiry_s: float, delay_s: float, token: str) -> None:
        with self.lock:
            self.check()
            self.later[channel, token] = clock.monotonic() + delay_s, entry, expiry_s
            self.cast(channel_address(channel), b"")

    def move_due(self, now: float) -> None:
        for (channel, token), (due, entry, expiry_s) in sorted(self.later.items(), key=lambda one: one[1]):
            if due <= now:
                del self.later[channel, token]
                self.queues.put(channel, entry, now, due + expiry_s, 10**9)

    def cancel(self, channel: str, token: str) -> bool:
        with self.lock:
            self.check()
            self.move_due(clock.monotonic())
            return self.later.pop((channel, token), None) is not None

    def pop(self, channel: str) -> Popped:
        with self.lock:
            self.check()
            now = clock.monotonic()
            self.move_due(now)
            waiting = self.queues.pop(channel, now)
            if waiting is None:
                dues = [due for (name, _), (due, _, _) in self.later.items() if name == channel]
                return Popped(None, wait_s=min(dues) - now if dues else None)
            return Popped(waiting.encoded, waiting.channel, handle=waiting.expires_at)

    def put_back(self, popped: Popped) -> None:
        assert popped.entry is not None
        with self.lock:
            self.queues.put_back(popped.channel, popped.entry, clock.monotonic(), popped.handle)
            self.cast(channel_address(popped.channel), b"")

    def add_named(self, group: str, channel: str, expiry_s: float) -> None:
        with self.lock:
            self.check()
            self.named.add(group, channel, clock.monotonic() + expiry_s, 0, clock.monotonic())

    def discard_named(self, group: str, channel: str) -> None:
        with self.lock:
            self.check()
            self.named.discard(group, channel)

    def members(self, group: str) -> list[str]:
        with self.lock:
            self.check()
            return list(self.named.channels(group, clock.monotonic()))

    def elect(self, role: str, lease_s: float, who: object) -> bool:
        with self.lock:
            self.check()
            holder, until = self.roles.get(role, (who, 0.0))
            if holder is not who and until > clock.monotonic():
                return False
            self.roles[role] = who, clock.monotonic() + lease_s
            return True

    def resign(self, role: str, who: object) -> None:
        with self.lock:
            self.check()
            if self.roles.get(role, (None,))[0] is who:
                del self.roles[role]

    def flush(self) -> None:
        with self.lock:
            self.check()
            self.queues.clear()
            self.later.clear()
            self.named.clear()

    def figures(self, channel: str | None) -> Statistics:
        with self.lock:
            self.check()
            return self.queues.figures(channel, clock.monotonic())


class HubCarrier(Carrier):
    def __init__(self, hub: Hub, loop: asyncio.AbstractEventLoop, ears: Ears) -> None:
        self.hub = hub
        self.loop = loop
        self.ears = ears
        self.addresses: set[str] = set()
        self.held: list[Popped] = []

    def hear(self, address: str, frame: bytes) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.heard, address, frame)

    def heard(self, address: str, frame: bytes) -> None:
        if address in self.addresses:
            self.ears.heard(address, frame)

    def begin(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future = self.loop.create_future()
        try:
            future.set_result(function(*args))
        except (ChannelFull, LayerUnavailable) as error:
            future.set_exception(error)
        return future

    def subscribe(self, address: str) -> asyncio.Future[None]:
        return self.begin(self.add, address)

    def add(self, address: str) -> None:
        self.addresses.add(address)
        with self.hub.lock:
            self.hub.heard.setdefault(address, []).append(self.hear)
        self.hub.check()

    def unsubscribe(self, address: str) -> None:
        self.addresses.discard(address)
        with self.hub.lock:
            if self.hear in self.hub.heard.get(address, ()):
                self.hub.heard[address].remove(self.hear)

    def cast(self, address: str, frame: bytes) -> asyncio.Future[int]:
        return self.begin(self.hub.cast, address, frame)

    def publish(self, group: str, frame: bytes) -> asyncio.Future[list[str]]:
        return self.begin(self.hub.publish, group, frame)

    def put(self, channel: str, entry: bytes, capacity: int, expiry_s: float) -> asyncio.Future[None]:
        return self.begin(self.hub.put, channel, entry, capacity, expiry_s)

    def put_later(
        self, channel: str, entry: bytes, expiry_s: float, delay_s: float, token: str
    ) -> asyncio.Future[None]:
        return self.begin(self.hub.put_later, channel, entry, expiry_s, delay_s, token)

    def cancel(self, channel: str, token: str) -> asyncio.Future[bool]:
        return self.begin(self.hub.cancel, channel, token)

    def pop(self, channel: str, hold: bool) -> asyncio.Future[Popped]:
        return self.begin(self.hub.pop, channel)

    def release(self, popped: Popped) -> None: ...

    def put_back(self, popped: Popped) -> None:
        self.hub.put_back(popped)

    def add_named(self, group: str, channel: str, expiry_s: float) -> asyncio.Future[None]:
        return self.begin(self.hub.add_named, group, channel, expiry_s)

    def discard_named(self, group: str, channel: str) -> asyncio.Future[None]:
        return self.begin(self.hub.discard_named, group, channel)

    def named(self, group: str) -> asyncio.Future[list[str]]:
        return self.begin(self.hub.members, group)

    def figures(self, channel: str | None) -> asyncio.Future[Statistics]:
        return self.begin(self.hub.figures, channel)

    def elect(self, role: str, lease_s: float) -> asyncio.Future[bool]:
        return self.begin(self.hub.elect, role, lease_s, self)

    def resign(self, role: str) -> asyncio.Future[None]:
        return self.begin(self.hub.resign, role, self)

    def flush(self) -> asyncio.Future[None]:
        return self.begin(self.hub.flush)

    async def aclose(self) -> None:
        self.forsake()

    def forsake(self) -> None:
        for address in list(self.addresses):
            self.unsubscribe(address)

    def break_down(self, reason: str) -> None:
        """As if the connection were lost and found again."""
        self.ears.lost(reason)
        self.ears.missed(reason)


class HubThreadCarrier(ThreadCarrier):
    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def cast(self, address: str, frame: bytes) -> int:
        return self.hub.cast(address, frame)

    def publish(self, group: str, frame: bytes) -> list[str]:
        return self.hub.publish(group, frame)

    def put(self, channel: str, entry: bytes, capacity: int, expiry_s: float) -> None:
        self.hub.put(channel, entry, capacity, expiry_s)

    def put_later(self, channel: str, entry: bytes, expiry_s: float, delay_s: float, token: str) -> None:
        self.hub.put_later(channel, entry, expiry_s, delay_s, token)

    def cancel(self, channel: str, token: str) -> bool:
        return self.hub.cancel(channel, token)

    def add_named(self, group: str, channel: str, expiry_s: float) -> None:
        self.hub.add_named(group, channel, expiry_s)

    def discard_named(self, group: str, channel: str) -> None:
        self.hub.discard_named(group, channel)

    def named(self, group: str) -> list[str]:
        return self.hub.members(group)

    def gather(
        self, address: str, make_frame: Callable[[str], bytes], wait_s: float
    ) -> tuple[list[bytes], int]:
        reply_to, frames, arrived = f"r:{secrets.token_hex(4)}", [], threading.Condition()

        def hear(_: str, frame: bytes) -> None:
            with arrived:
                frames.append(frame)
                arrived.notify()

        with self.hub.lock:
            self.hub.heard[reply_to] = [hear]
        expected = self.hub.cast(address, make_frame(reply_to))
        with arrived:
            arrived.wait_for(lambda: len(frames) >= expected, wait_s)
        with self.hub.lock:
            del self.hub.heard[reply_to]
        return frames, expected - len(frames)

    def close(self) -> None: ...

    def forsake(self) -> None: ...


class HubLayer(DistributedLayer):
    """A distributed layer over a hub."""

    def __init__(self, *, hub: Hub, **options: Any) -> None:
        super().__init__(**options)
        self.hub = hub

    def make_carrier(self, loop: asyncio.AbstractEventLoop, ears: Ears) -> HubCarrier:
        return HubCarrier(self.hub, loop, ears)

    def make_thread_carrier(self) -> HubThreadCarrier:
        return HubThreadCarrier(self.hub)
