"""The connection on which one place says what is cast to what this loop has subscribed to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from raceway.errors import LayerUnavailable
from raceway.layers.redis.connection import Connection, Reply, pack
from raceway.layers.redis.hosts import Server
from raceway.layers.redis.kept import PING, WAIT_S, Kept, Routes
from raceway.layers.redis.topology import Place, Refusal

SUBSCRIBED_AT_ONCE: Final = 1000
"""Topics in one command."""


class Subscription:
    """What is subscribed to, who waits until it is in force, and where it is."""

    __slots__ = ("address", "is_in_force", "place", "since", "topic", "waiters")

    def __init__(self, address: str, topic: bytes, since: float) -> None:
        self.address = address
        self.topic = topic
        self.since = since
        self.place: Place | None = None
        self.is_in_force = False
        self.waiters: list[asyncio.Future[None]] = []

    def end(self, error: LayerUnavailable | None = None) -> None:
        """Tell who waits."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
                waiter.exception()  # maybe nobody waits for it: it stands


class Owner(Protocol):
    """Who has the listeners."""

    def heard(self, address: str, frame: bytes) -> None: ...
    def came_into_force(self, subscription: Subscription) -> None: ...
    def lapsed(self, subscriptions: list[Subscription], why: str) -> None: ...
    def moved_away(self, subscription: Subscription) -> None: ...
    def refused(self, subscription: Subscription, refusal: Refusal) -> None: ...
    def waited_too_long(self, subscription: Subscription, error: LayerUnavailable) -> None: ...
    def replaced(self, old: Server) -> None: ...


class Said(NamedTuple):
    """A command whose answers have not all come."""

    is_subscribing: bool
    subscriptions: deque[Subscription]
    since: float


class Listener(Kept):
    """Say what is subscribed to, again on each new connection, and hand out what is heard.

    ``is_sharded``: the place is in a Cluster, whose nodes take one topic at a time (``SSUBSCRIBE``).
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        place: Place,
        routes: Routes,
        owner: Owner,
        *,
        is_sharded: bool,
    ) -> None:
        super().__init__(loop, place, routes)
        self._owner = owner
        self._at_once = 1 if is_sharded else SUBSCRIBED_AT_ONCE
        self._words = ("SSUBSCRIBE", "SUNSUBSCRIBE") if is_sharded else ("SUBSCRIBE", "UNSUBSCRIBE")
        self._subscriptions: dict[bytes, Subscription] = {}
        self._unsaid: list[tuple[bool, Subscription]] = []
        self._said: deque[Said] = deque()
        self._pinged_at: float | None = None
        self._server: Server | None = None

    def add(self, subscription: Subscription) -> None:
        self._subscriptions[subscription.topic] = subscription
        subscription.place = self.place
        self._say(True, subscription)
        if self.connection is None:
            self.want()

    def discard(self, subscription: Subscription) -> None:
        if self._subscriptions.get(subscription.topic) is subscription:
            del self._subscriptions[subscription.topic]
            self._say(False, subscription)

    def forget(self, subscription: Subscription) -> None:
        """The server has ended it already."""
        if self._subscriptions.get(subscription.topic) is subscription:
            del self._subscriptions[subscription.topic]

    def _say(self, is_subscribing: bool, subscription: Subscription) -> None:
        """Say it at the end of this pass of the loop; without a connection everything is said when there is one."""
        if self.connection is not None:
            if not self._unsaid:
                self.loop.call_soon(self._flush)
            self._unsaid.append((is_subscribing, subscription))

    def _flush(self) -> None:
        unsaid, self._unsaid = self._unsaid, []
        batch: list[Subscription] = []
        for n, (is_subscribing, subscription) in enumerate(unsaid):
            batch.append(subscription)
            is_last = n + 1 == len(unsaid) or unsaid[n + 1][0] != is_subscribing
            if is_last or len(batch) == self._at_once:
                self._write(is_subscribing, batch)
                batch = []

    def _write(self, is_subscribing: bool, subscriptions: Iterable[Subscription]) -> None:
        if self.connection is None:
            return
        said = Said(is_subscribing, deque(subscriptions), self.loop.time())
        self._said.append(said)
        word = self._words[0 if is_subscribing else 1]
        self.connection.write(pack(word, *[one.topic for one in said.subscriptions]))

    # Kept

    @property
    def is_wanted(self) -> bool:
        return bool(self._subscriptions)

    @property
    def waits_since(self) -> float | None:
        if self._said:
            return self._said[0].since
        return self._pinged_at

    def came(self, connection: Connection) -> None:
        old, self._server = self._server, connection.server
        if old is not None and old != connection.server:
            self._owner.replaced(old)
        self._unsaid = [(True, subscription) for subscription in self._subscriptions.values()]
        self._flush()

    def went(self, why: str, *, is_over: bool) -> None:
        self._unsaid = []
        self._said.clear()
        self._pinged_at = None
        if not is_over:
            self._owner.lapsed(list(self._subscriptions.values()), why)

    def roomy(self) -> None:
        """Subscribing is never held back: it is bounded by what there is to subscribe to."""

    def give_up(self, error: LayerUnavailable, now: float) -> None:
        for subscription in list(self._subscriptions.values()):
            if subscription.waiters and now - subscription.since >= WAIT_S * 0.9:
                self._owner.waited_too_long(subscription, error)

    def ping(self, connection: Connection) -> None:
        self._pinged_at = self.loop.time()
        connection.write(PING)

    def receive(self, reply: Reply) -> None:
        self._pinged_at = None
        if isinstance(reply, Refusal):
            self._refused(reply)
        elif isinstance(reply, list):
            kind = reply[0]
            if kind in (b"message", b"smessage"):
                subscription = self._subscriptions.get(reply[1])
                if subscription is not None:
                    self._owner.heard(subscription.address, reply[2])
            elif kind in (b"subscribe", b"ssubscribe"):
                self._subscribed()
            elif kind in (b"unsubscribe", b"sunsubscribe"):
                self._unsubscribed(reply[1])

    def _answered(self) -> Subscription:
        said = self._said[0]
        subscription = said.subscriptions.popleft()
        if not said.subscriptions:
            self._said.popleft()
        return subscription

    def _subscribed(self) -> None:
        subscription = self._answered()
        if self._subscriptions.get(subscription.topic) is subscription:
            self._owner.came_into_force(subscription)

    def _unsubscribed(self, topic: bytes) -> None:
        said = self._said[0] if self._said else None
        if said is not None and not said.is_subscribing and said.subscriptions[0].topic == topic:
            self._answered()
            return
        subscription = self._subscriptions.get(topic)
        if subscription is not None:  # nobody has asked for that: its slot is with another node now
            self._owner.moved_away(subscription)

    def _refused(self, refusal: Refusal) -> None:
        if self._said:
            for subscription in self._said.popleft().subscriptions:
                if self._subscriptions.get(subscription.topic) is subscription:
                    self._owner.refused(subscription, refusal)
