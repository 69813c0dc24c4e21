"""What carriers have PostgreSQL do, as values: which statement does it, and what its rows say.

Commands of one kind that stand next to each other are one statement.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

from raceway.errors import ChannelFull
from raceway.layers.distributed.carrier import Popped, channel_address, group_address
from raceway.layers.postgres.limits import WRITE_BYTES, WRITE_ROWS
from raceway.layers.statistics import Statistics

Rows: TypeAlias = Sequence[tuple[Any, ...]]
Parameters: TypeAlias = dict[str, Any]


class Names:
    """Names as they are in the tables, where layers of several prefixes live side by side."""

    def __init__(self, prefix: str, carrier: str) -> None:
        self.prefix = f"{prefix}:"
        self.carrier = carrier
        """The id of the carrier that asks."""

    def key(self, name: str) -> str:
        return self.prefix + name

    def name(self, key: str) -> str:
        return key.removeprefix(self.prefix)

    def wake(self, channel: str) -> str:
        return self.key(channel_address(channel))


class Command:
    """Something to be done, in its turn."""

    query: ClassVar[str]
    wakes: ClassVar[bool] = False
    """Whether it leaves something in the outbox."""
    merges: ClassVar[bool] = False
    """Whether it can share a statement with what is ``like`` it."""
    size = 0
    """How many bytes of messages it brings."""

    def like(self, other: Command) -> bool:
        return self.merges and type(other) is type(self)

    @classmethod
    def parameters(cls, batch: Sequence[Self], names: Names) -> Parameters:
        """What the statement for a batch is given."""
        raise NotImplementedError

    @classmethod
    def results(cls, batch: Sequence[Self], rows: Rows, names: Names) -> list[Any]:
        """What each command of the batch ends with; an exception is to be raised."""
        return [None] * len(batch)


def next_batch(waiting: deque[Command]) -> list[Command]:
    """Take the commands that can be done together from the front."""
    batch = [waiting.popleft()]
    size = batch[0].size
    while waiting and len(batch) < WRITE_ROWS and size < WRITE_BYTES and batch[0].like(waiting[0]):
        batch.append(waiting.popleft())
        size += batch[-1].size
    return batch


# Frames


@dataclass(slots=True)
class Cast(Command):
    """Ends with how many carriers hear it; ``publishes``: with the names of the members by name."""

    query = "send"
    wakes = True
    merges = True

    address: str
    frame: bytes
    publishes: bool = False

    @property
    def size(self) -> int:  # type: ignore[override]
        return len(self.frame)

    @classmethod
    def parameters(cls, batch: Sequence[Self], names: Names) -> Parameters:
        addresses = [names.key(one.address) for one in batch]
        return {
            "addresses": addresses,
            "frames": [one.frame for one in batch],
            "counted": list({key for key, one in zip(addresses, batch, strict=True) if not one.publishes}),
            "groups": list({key for key, one in zip(addresses, batch, strict=True) if one.publishes}),
        }

    @classmethod
    def results(cls, batch: Sequence[Self], rows: Rows, names: Names) -> list[Any]:
        counts: dict[str, int] = {}
        members: dict[str, list[str]] = {}
        for key, count, channel in rows:
            if channel is None:
                counts[names.name(key)] = count
            else:
                members.setdefault(names.name(key), []).append(channel)
        return [
            list(members.get(one.address, ())) if one.publishes else counts.get(one.address, 0)
            for one in batch
        ]


# Queues


@dataclass(slots=True)
class Put(Command):
    query = "put"
    wakes = True
    merges = True

    channel: str
    entry: bytes
    capacity: int
    expiry_s: float

    @property
    def size(self) -> int:  # type: ignore[override]
        return len(self.entry)

    @classmethod
    def parameters(cls, batch: Sequence[Self], names: Names) -> Parameters:
        return {
            "channels": [names.key(one.channel) for one in batch],
            "entries": [one.entry for one in batch],
            "capacities": [one.capacity for one in batch],
            "expiries_s": [float(one.expiry_s) for one in batch],
            "wakes": list({names.wake(one.channel) for one in batch}),
            "carrier": names.carrier,
        }

    @classmethod
    def results(cls, batch: Sequence[Self], rows: Rows, names: Names) -> list[Any]:
        return [None if fits else one.full() for one, (fits,) in zip(batch, rows, strict=True)]

    def full(self) -> ChannelFull:
        return ChannelFull(f"The channel {self.channel!r} holds {self.capacity} messages already.")


@dataclass(slots=True)
class PutLater(Command):
    query = "put_later"
    wakes = True

    channel: str
    entry: bytes
    expiry_s: float
    delay_s: float
    token: str

    @classmethod
    def parameters(cls, batch: Sequence[Self], names: Names) -> Parameters:
        (one,) = batch
        return {
            "channel": names.key(one.channel),
            "entry": one.entry,
            "expiry_s": one.expiry_s,
            "delay_s": one.delay_s,
            "token": one.token,
            "wake": names.wake(one.channel),
        }


@dataclass(slots=True)
class Cancel(Command):
    """Ends with whether it was still to come."""

    query = "cancel"

    channel: str
    token: str

    @classmethod
    def parameters(cls, batch: Sequence[Self], names: Names) -> Parameters:
        (one,) = batch
        return {"channel": names.key(one.channel), "token": one.token}

    @classmethod
    def results(cls, batch: Sequence[Self], rows: Rows, names: Names) -> list[Any]:
        return [bool(rows)]


class Handle(NamedTuple):
    """What was popped: enough to put it back."""

    id: int
    channel: str
    entry: bytes
    ready_at: datetime
    expires_at: datetime
    hold: bool


def as_handle(popped: Popped) -> Handle:
    handle: Handle = popped.handle
    return handle


@dataclass(slots=True)
class Pop(Command):
    """Ends with a ``Popped``."""

    merges = True

    channel: str
    hold: bool

    @property
    def query(self) -> str:  # type: ignore[override]
        return "pop_by_prefix" if self.channel.endswith("!") else "pop"

    def like(self, other: Command) -> bool:
        return other == self

    @classmethod
    def parameters(cls, batch: Sequence[Self], names: Names) -> Parameters:
        first = batch[0]
        return {
            **channels_named(names.key(first.channel)),
            "count": len(batch),
            "hold": first.hold,
            "carrier": names.carrier,
        }

    @classmethod
    def results(cls, batch: Sequence[Self], rows: Rows, names: Names) -> list[Any]:
        hold = batch[0].hold
        results: list[Popped] = []
        wait_s: float | None = None
        for number, key, entry, ready_at, expires_at, due_s in rows:
            if number is None:
                wait_s = due_s
            else:
                channel = names.name(key)
                handle = Handle(number, channel, entry, ready_at, expires_at, hold)
                results.append(Popped(entry, channel, None, handle))
        nothing = Popped(None, batch[0].channel, wait_s)
        return results + [nothing] * (len(batch) - len(results))


def channels_named(key: str) -> Parameters:
    """One channel, or all that begin with ``name!``."""
    return {"channel": key} if not key.endswith("!") else {"low": key, "high": key[:-1] + chr(ord("!") + 1)}


@dataclass(slots=True)
class Release(Command):
    query = "release"
    merges = True

    id: int

    @classmethod
    def parameters(cls, batch: Sequence[Self], names: Names) -> Parameters:
        return {"ids": [one.id for one in batch]}


@dataclass(slots=True)
class PutBack(Command):
    query = "put_back"
    wakes = True

    handle: Handle

    @classmethod
    def parameters(cls, batch: Sequence[Self], names: Names) -> Parameters:
        (one,) = batch
        return {
            **one.handle._asdict(),
            "channel": names.key(one.handle.channel),
            "wake": names.wake(one.handle.channel),
            "carrier": names.carrier,
        }


@dataclass(slots=True)
class Figures(Command):
    """Ends with the ``Statistics`` of one channel, or of all."""

    channel: str | None

    @property
    def query(self) -> str:  # type: ignore[override]
        return "figures_by_prefix" if self.channel is None else "figures"

    @classmethod
    def parameters(cls, batch: Sequence[Self], names: Names) -> Parameters:
        (one,) = batch
        if one.channel is not None:
            return {"channel": names.key(one.channel)}
        return {"low": names.prefix, "high": names.prefix[:-1] + chr(ord(":") + 1)}

    @classmethod
    def results(cls, batch: Sequence[Self], rows: Rows, names: Names) -> list[Any]:
        pending, age_s, taken, refused, lost, used_s = rows[0]
        count = taken + pending
        per_s = 1 / used_s if used_s else 0.0
        figures: Statistics = {
            "messages_count": count,
            "messages_count_per_second": count * per_s,
            "messages_pending": pending,
            "messages_max_age": age_s or 0,
            "channel_full_count": refused,
            "channel_full_count_per_second": refused * per_s,
            "messages_lost_count": lost,
        }
        return [figures]


# Members by name


@dataclass(slots=True)
class AddNamed(Command):
    query = "add_named"

    group: str
    channel: str
    expiry_s: float

    @classmethod
    def parameters(cls, batch: Sequence[Self], names: Names) -> Parameters:
        (one,) = batch
        return {
            "group": names.key(group_address(one.group)),
            "channel": one.channel,
            "expiry_s": one.expiry_s,
        }


@dataclass(slots=True)
class DiscardNamed(Command):
    query = "discard_named"

    group: str
    channel: str

    @classmethod
    def parameters(cls, batch: Sequence[Self], names: Names) -> Parameters:
        (one,) = batch
        return {"group": names.key(group_address(one.group)), "channel": one.channel}


@dataclass(slots=True)
class Named(Command):
    """Ends with the names."""

    query = "named"

    group: str

    @classmethod
    def parameters(cls, batch: Sequence[Self], names: Names) -> Parameters:
        (one,) = batch
        return {"group": names.key(group_address(one.group))}

    @classmethod
    def results(cls, batch: Sequence[Self], rows: Rows, names: Names) -> list[Any]:
        return [[channel for (channel,) in rows]]


# The rest


@dataclass(slots=True)
class Elect(Command):
    """Ends with whether this carrier has the role."""

    query = "elect"

    role: str
    lease_s: float

    @classmethod
    def parameters(cls, batch: Sequence[Self], names: Names) -> Parameters:
        (one,) = batch
        return {"role": names.key(one.role), "carrier": names.carrier, "lease_s": one.lease_s}

    @classmethod
    def results(cls, batch: Sequence[Self], rows: Rows, names: Names) -> list[Any]:
        return [bool(rows)]


@dataclass(slots=True)
class Resign(Command):
    query = "resign"

    role: str

    @classmethod
    def parameters(cls, batch: Sequence[Self], names: Names) -> Parameters:
        (one,) = batch
        return {"role": names.key(one.role), "carrier": names.carrier}


@dataclass(slots=True)
class Flush(Command):
    query = "flush"

    @classmethod
    def parameters(cls, batch: Sequence[Self], names: Names) -> Parameters:
        return {"prefix": names.prefix}


@dataclass(slots=True)
class Begin(Command):
    """The carrier is there from now on, so that what it holds is not taken for a dead one's."""

    query = "begin"

    lease_s: float

    @classmethod
    def parameters(cls, batch: Sequence[Self], names: Names) -> Parameters:
        (one,) = batch
        return {"carrier": names.carrier, "lease_s": one.lease_s}


class Wake:
    """When a process may wake the sequencer: at most every ``every_s`` seconds."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._next_at = float("-inf")

    def is_due(self, now: float) -> bool:
        """Whether to; whoever asks does."""
        if now < self._next_at:
            return False
        self._next_at = now + self._every_s
        return True
