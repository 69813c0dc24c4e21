"""What waits in channels that nobody has opened, what waits for its time, and the named channels of groups: values,
without a clock or locks.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from itertools import takewhile
from typing import Final, Generic, NamedTuple, TypeVar

from raceway.layers.spec import non_local_name
from raceway.layers.statistics import Rate, Statistics

SWEPT: Final = 2
"""Queues and groups that each new entry looks at, for what has expired: more than it can leave behind."""

DELAYED: Final = 100_000
"""Messages that may wait for their time in one process, or in one broker; more are refused."""

NO_CAPACITY: Final = sys.maxsize
"""What has been accepted already is not refused when its time has come."""

Payload = TypeVar("Payload")


class Waiting(NamedTuple):
    """One message that nobody has received yet; times are seconds."""

    number: int
    """A lower one is received sooner, among all channels of a prefix."""
    channel: str
    encoded: bytes
    since: float
    expires_at: float


def is_put_back(waiting: Waiting) -> bool:
    return waiting.number < 0


class Queue:
    """What waits in one channel, and what has been counted since the queue was made."""

    __slots__ = (
        "full_count",
        "kept_s",
        "kept_until",
        "lost_count",
        "made_at",
        "messages",
        "rates",
        "sent_count",
    )

    def __init__(self, now: float) -> None:
        self.messages: deque[Waiting] = deque()
        self.sent_count = 0
        self.full_count = 0
        self.lost_count = 0
        self.rates: tuple[Rate, Rate] | None = None
        self.made_at = self.kept_until = now
        self.kept_s = 0.0

    def use(self, now: float, kept_s: float | None = None) -> None:
        """Keep the counts until nothing has come or gone for ``kept_s``."""
        if kept_s is not None:
            self.kept_s = kept_s
        self.kept_until = now + self.kept_s


class Queues:
    """Channels as first-in, first-out queues with capacity and expiry (channel layer specification).

    A name that ends with ``!`` stands for all channels that begin with it, in the order in which messages came.
    """

    def __init__(self, now: float) -> None:
        self._queues: OrderedDict[str, Queue] = OrderedDict()
        self._arrivals: dict[str, OrderedDict[int, str]] = {}
        """By ``prefix!``: which channel each waiting message is for, in the order in which they came."""
        self._last_number = 0
        self._first_number = 0
        self._sent_count = 0
        self._full_count = 0
        self._lost_count = 0
        self._rates = Rate(now), Rate(now)

    def __len__(self) -> int:
        """Queues that are kept; for tests that nothing is left behind."""
        return len(self._queues) + len(self._arrivals)

    def put(self, channel: str, encoded: bytes, now: float, expires_at: float, capacity: int) -> bool:
        """Let a message wait; ``False`` if ``capacity`` of them wait already."""
        self._sweep(now)
        queue = self._fresh(channel, now)
        if queue is None:
            queue = self._queues[channel] = Queue(now)
        queue.use(now, expires_at - now)
        if len(queue.messages) >= capacity:
            queue.full_count += 1
            self._full_count += 1
            return False
        queue.sent_count += 1
        self._sent_count += 1
        self._last_number += 1
        queue.messages.append(Waiting(self._last_number, channel, encoded, now, expires_at))
        if "!" in channel:
            self._arrivals.setdefault(non_local_name(channel), OrderedDict())[self._last_number] = channel
        return True

    def put_back(self, channel: str, encoded: bytes, now: float, expires_at: float) -> None:
        """Let a message that was taken, and not used, be the next one again; there is always room for it.

        Of several that are put back the first to expire is the next: most likely it has come first.
        """
        if expires_at <= now:
            return
        queue = self._fresh(channel, now)
        if queue is None:
            queue = self._queues[channel] = Queue(now)
        queue.use(now, expires_at - now)
        self._first_number -= 1
        put_back = takewhile(is_put_back, queue.messages)
        sooner_count = sum(one.expires_at <= expires_at for one in put_back)
        queue.messages.insert(sooner_count, Waiting(self._first_number, channel, encoded, now, expires_at))
        if "!" in channel:
            arrivals = self._arrivals.setdefault(non_local_name(channel), OrderedDict())
            numbers = list(takewhile(lambda number: number < 0, arrivals))
            ends = {
                one.number: one.expires_at
                for name in {arrivals[number] for number in numbers}
                for one in takewhile(is_put_back, self._queues[name].messages)
            }
            sooner = [number for number in numbers if ends[number] <= expires_at]
            arrivals[self._first_number] = channel
            for number in (self._first_number, *reversed(sooner)):
                arrivals.move_to_end(number, last=False)

    def pop(self, listened: str, now: float) -> Waiting | None:
        """Take the next message of a channel, or of all channels of a prefix."""
        if not listened.endswith("!"):
            return self._pop_from(listened, now)
        while listened in self._arrivals:
            channel = next(iter(self._arrivals[listened].values()))
            waiting = self._pop_from(channel, now)
            if waiting is not None:
                return waiting
        return None

    def take_all(self, channel: str, now: float) -> list[bytes]:
        """Take all that waits in one channel."""
        taken = []
        while (waiting := self._pop_from(channel, now)) is not None:
            taken.append(waiting.encoded)
        return taken

    def lose(self, channel: str, now: float, kept_s: float) -> None:
        """Count a message that was taken, and went with whoever had it; for ``kept_s`` under its channel too."""
        queue = self._fresh(channel, now)
        if queue is None:
            queue = self._queues[channel] = Queue(now)
        queue.use(now, max(kept_s, queue.kept_s))
        queue.lost_count += 1
        self._lost_count += 1

    def channels(self, prefix: str) -> set[str]:
        """The channels that begin with ``prefix!`` and in which something waits."""
        return set(self._arrivals.get(prefix, {}).values())

    def clear(self) -> None:
        self._queues.clear()
        self._arrivals.clear()

    def figures(self, channel: str | None, now: float) -> Statistics:
        """What has waited in one channel since it was last unused, or in all of them; and what waits now."""
        if channel is None:
            for name in list(self._queues):
                self._fresh(name, now)
            counts = self._sent_count, self._full_count, self._lost_count
            return _figures(now, counts, self._rates, self._queues.values())
        queue = self._fresh(channel, now)
        if queue is None:
            return _figures(now, (0, 0, 0), (Rate(now), Rate(now)), ())
        if queue.rates is None:  # few are asked for
            queue.rates = Rate(queue.made_at), Rate(queue.made_at)
        return _figures(now, (queue.sent_count, queue.full_count, queue.lost_count), queue.rates, (queue,))

    def _pop_from(self, channel: str, now: float) -> Waiting | None:
        queue = self._fresh(channel, now)
        if queue is None or not queue.messages:
            return None
        queue.use(now)
        waiting = self._pop_oldest(queue)
        self._forget(channel, queue, now)
        return waiting

    def _pop_oldest(self, queue: Queue) -> Waiting:
        waiting = queue.messages.popleft()
        if "!" in waiting.channel:
            prefix = non_local_name(waiting.channel)
            arrivals = self._arrivals[prefix]
            del arrivals[waiting.number]
            if not arrivals:
                del self._arrivals[prefix]
        return waiting

    def _fresh(self, channel: str, now: float) -> Queue | None:
        """The queue of a channel without what has expired, if there is one."""
        queue = self._queues.get(channel)
        if queue is not None:
            while queue.messages and queue.messages[0].expires_at <= now:
                self._pop_oldest(queue)
            if self._forget(channel, queue, now):
                return None
        return queue

    def _forget(self, channel: str, queue: Queue, now: float) -> bool:
        """Forget an empty queue: at once if its name is one of many, later if its counts may be asked for."""
        if queue.messages or ("!" not in channel and queue.kept_until > now):
            return False
        del self._queues[channel]
        return True

    def _sweep(self, now: float) -> None:
        """What nobody asks for any more goes too, at a fixed cost per new message."""
        for _ in range(min(SWEPT, len(self._queues))):
            channel = next(iter(self._queues))
            self._queues.move_to_end(channel)
            self._fresh(channel, now)


class Later(NamedTuple, Generic[Payload]):
    """A message that waits for its time; times are seconds."""

    number: int
    channel: str
    payload: Payload
    due_at: float
    expiry_s: float
    """How long it waits in its channel once it is due."""

    @property
    def expires_at(self) -> float:
        return self.due_at + self.expiry_s


class Delayed(Generic[Payload]):
    """Messages that are sent when their time has come: the first to be due first, then the first that came."""

    def __init__(self) -> None:
        self._messages: dict[tuple[str, str], Later[Payload]] = {}
        """By channel and token."""
        self._order: list[tuple[float, int, tuple[str, str]]] = []
        """A heap; what has been cancelled is in it still."""
        self._last_number = 0

    def __len__(self) -> int:
        """Messages that wait."""
        return len(self._messages)

    @property
    def deadline(self) -> float | None:
        """When the next is due."""
        order = self._order
        while order and not self._waits(order[0]):
            heappop(order)
        return order[0][0] if order else None

    def add(self, channel: str, token: str, payload: Payload, due_at: float, expiry_s: float) -> bool:
        """Let a message wait until ``due_at``; ``False`` if ``DELAYED`` of them wait already.

        ``token`` is one that no other message to ``channel`` has.
        """
        if len(self._messages) >= DELAYED:
            return False
        self._last_number += 1
        self._messages[channel, token] = Later(self._last_number, channel, payload, due_at, expiry_s)
        heappush(self._order, (due_at, self._last_number, (channel, token)))
        return True

    def cancel(self, channel: str, token: str) -> bool:
        """Forget a message; ``False`` if its time has come already."""
        if self._messages.pop((channel, token), None) is None:
            return False
        if len(self._order) > 2 * len(self._messages):
            self._order = [entry for entry in self._order if self._waits(entry)]
            heapify(self._order)
        return True

    def take_due(self, now: float) -> list[Later[Payload]]:
        """Those whose time has come, in their order; without those that have even expired since."""
        due = []
        while self._order and self._order[0][0] <= now:
            entry = heappop(self._order)
            if self._waits(entry):
                due.append(self._messages.pop(entry[2]))
        return [later for later in due if later.expires_at > now]

    def clear(self) -> None:
        self._messages.clear()
        self._order.clear()

    def _waits(self, entry: tuple[float, int, tuple[str, str]]) -> bool:
        later = self._messages.get(entry[2])
        return later is not None and later.number == entry[1]


class NamedMembers:
    """Channels that are members of groups by name, and not as connections: until when, and with what capacity."""

    def __init__(self) -> None:
        self._groups: OrderedDict[str, OrderedDict[str, tuple[float, int]]] = OrderedDict()
        """Of each group, the first to end comes first."""

    def __len__(self) -> int:
        """Groups that are kept."""
        return len(self._groups)

    def add(self, group: str, channel: str, until: float, capacity: int, now: float) -> None:
        """Make ``channel`` a member, or a member for longer."""
        for _ in range(min(SWEPT, len(self._groups))):
            name = next(iter(self._groups))
            self._groups.move_to_end(name)
            self._expire(name, now)
        channels = self._groups.setdefault(group, OrderedDict())
        channels[channel] = until, capacity
        channels.move_to_end(channel)

    def discard(self, group: str, channel: str) -> None:
        channels = self._groups.get(group)
        if channels is not None:
            channels.pop(channel, None)
            if not channels:
                del self._groups[group]

    def channels(self, group: str, now: float) -> dict[str, int]:
        """The members that a group has now, each with its capacity."""
        self._expire(group, now)
        return {channel: capacity for channel, (_, capacity) in self._groups.get(group, {}).items()}

    def _expire(self, group: str, now: float) -> None:
        channels = self._groups.get(group)
        while channels and next(iter(channels.values()))[0] <= now:
            channels.popitem(last=False)
        if channels is not None and not channels:
            del self._groups[group]

    def clear(self) -> None:
        self._groups.clear()


def _figures(
    now: float, counts: tuple[int, int, int], rates: tuple[Rate, Rate], queues: Iterable[Queue]
) -> Statistics:
    pending = 0
    oldest = now
    for queue in queues:
        if queue.messages:
            pending += len(queue.messages)
            oldest = min(oldest, queue.messages[0].since)
    sent_count, full_count, lost_count = counts
    sent_rate, full_rate = rates
    return {
        "messages_count": sent_count,
        "messages_count_per_second": sent_rate.per_second(now, sent_count),
        "messages_pending": pending,
        "messages_max_age": now - oldest,
        "channel_full_count": full_count,
        "channel_full_count_per_second": full_rate.per_second(now, full_count),
        "messages_lost_count": lost_count,
    }
