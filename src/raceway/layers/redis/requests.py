"""What is asked of servers for each thing that a carrier does, and how the answers read; pure.

The scripts are in ``scripts/``; their first, ``prelude.lua``, says which keys there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from struct import Struct
from typing import Any, Final, Generic, NamedTuple, TypeVar

from raceway.errors import ChannelFull, LayerUnavailable
from raceway.layers.distributed.carrier import Popped, channel_address, group_address
from raceway.layers.redis.connection import Reply, Word, pack
from raceway.layers.redis.hosts import Cluster, Host, Sentinel
from raceway.layers.redis.topology import Refusal, Topology
from raceway.layers.spec import non_local_name

T = TypeVar("T")

HOLD_LEASE_S: Final = 15.0
"""A message in the hands of a process that does not say for so long that it lives counts as lost."""

ENTRY_HEAD: Final = Struct(">dd")
"""When an entry expires and when it was put, in microseconds."""

NO_KEY: Final = "none"
"""Scripts are given two keys that there never are: so a node of a Cluster runs none while their slot moves, when some
keys are here and some there, but answers ``TRYAGAIN`` (Redis Cluster specification, "Multiple keys operations")."""

SCANNED_AT_ONCE: Final = 1000
"""Keys that a server looks at for one ``SCAN``; others are served between two of them."""


class Script(NamedTuple):
    """A Lua script, and its SHA-1, by which servers know it."""

    source: str
    sha: str


@cache
def script(name: str) -> Script:
    folder = files(__package__) / "scripts"
    source = "\n".join((folder / f"{part}.lua").read_text() for part in ("prelude", name))
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


SCRIPTS: Final = (
    "add_named",
    "cancel",
    "elect",
    "figures",
    "named",
    "pop",
    "put",
    "put_back",
    "put_later",
    "renew",
    "resign",
)


@cache
def loading() -> tuple[bytes, ...]:
    """The commands that let a server know all scripts."""
    return tuple(pack("SCRIPT", "LOAD", script(name).source) for name in SCRIPTS)


class Request(NamedTuple, Generic[T]):
    """Commands for the server that has a tag, and how their answers read."""

    tag: str
    commands: tuple[bytes, ...]
    read: Callable[[list[Reply]], T | Request[T]]
    """The outcome of all answers, none of which is a refusal, or what has to be asked next. Raises what is wrong."""


class Figures(NamedTuple):
    """What a server counts for one channel."""

    put: int
    full: int
    lost: int
    pending: int
    age_us: int
    used_us: int
    """It was first used so long ago."""


class Taken(NamedTuple):
    """The answer to ``pop``."""

    lost: list[str]
    """The channels of messages whose holders have died; one for each message."""
    popped: Popped


class Handle(NamedTuple):
    """What ``release`` and ``put_back`` need of what was popped."""

    entry: bytes
    hold: str
    """Empty: it is not held."""


class Requests:
    """Make the requests of a layer whose names begin with ``prefix``."""

    def __init__(self, prefix: str, topology: Topology) -> None:
        self._prefix = prefix
        self._topology = topology
        shards = range(len(topology.hosts))
        self._topics = [topics_begin_with(prefix, database_of(host)) for host in topology.hosts]
        self._publish_by_shard = ["SPUBLISH" if topology.is_cluster(shard) else "PUBLISH" for shard in shards]

    # Names

    def topic(self, address: str) -> str:
        """The name in Redis of what is cast to an address."""
        kind, _, tag = address.partition(":")
        tag = tag or kind
        return f"{self._topics[self._topology.shard_of(tag)]}:{kind}:{{{tag}}}"

    def _base(self, tag: str) -> str:
        """What all keys of a tag begin with."""
        return f"{self._prefix}:{{{tag}}}:"

    def _publish(self, tag: str) -> str:
        return self._publish_by_shard[self._topology.shard_of(tag)]

    def _script(
        self,
        name: str,
        tag: str,
        *words: Word,
        read: Callable[[list[Reply]], T | Request[T]],
        key: str | None = None,
    ) -> Request[T]:
        first = key or self._base(tag)
        return Request(tag, (pack("EVALSHA", script(name).sha, 2, first, f"{first}{NO_KEY}", *words),), read)

    def _wake(self, channel: str) -> tuple[str, str]:
        return self._publish(non_local_name(channel)), self.topic(channel_address(channel))

    # Casting

    def cast(self, address: str, frame: bytes) -> Request[int]:
        tag = tag_of(address)
        return Request(tag, (pack(self._publish(tag), self.topic(address), frame),), accepted)

    def publish(self, group: str, frame: bytes) -> Request[list[str]]:
        """A ``PUBLISH``, and whether there are members by name: a script that does both costs the server four times
        as much, and few groups have any."""
        cast = pack(self._publish(group), self.topic(group_address(group)), frame)

        def read(replies: list[Reply]) -> list[str] | Request[list[str]]:
            return self.named(group) if replies[1] else []

        return Request(group, (cast, pack("EXISTS", f"{self._base(group)}named")), read)

    # Members by name

    def add_named(self, group: str, channel: str, expiry_s: float) -> Request[None]:
        return self._script("add_named", group, channel, microseconds(expiry_s), read=done)

    def discard_named(self, group: str, channel: str) -> Request[None]:
        return Request(group, (pack("ZREM", f"{self._base(group)}named", channel),), done)

    def named(self, group: str) -> Request[list[str]]:
        return self._script("named", group, read=names)

    # Queues

    def put(self, channel: str, entry: bytes, capacity: int, expiry_s: float) -> Request[None]:
        def read(replies: list[Reply]) -> None:
            if not replies[0]:
                raise ChannelFull(f"The channel {channel!r} holds {capacity} messages already.")

        words = (channel, entry, capacity, microseconds(expiry_s), *self._wake(channel))
        return self._script("put", non_local_name(channel), *words, read=read)

    def put_later(
        self, channel: str, entry: bytes, expiry_s: float, delay_s: float, token: str
    ) -> Request[None]:
        times = microseconds(expiry_s), microseconds(delay_s)
        words = (channel, entry, *times, token, *self._wake(channel))
        return self._script("put_later", non_local_name(channel), *words, read=done)

    def cancel(self, channel: str, token: str) -> Request[bool]:
        return self._script("cancel", non_local_name(channel), token, read=yes)

    def pop(self, channel: str, hold: str) -> Request[Taken]:
        def read(replies: list[Reply]) -> Taken:
            lost, found = replies[0]
            return Taken([channel.decode() for channel in lost], popped_of(found, hold))

        words = (channel, hold, microseconds(HOLD_LEASE_S))
        return self._script("pop", non_local_name(channel), *words, read=read)

    def put_back(self, popped: Popped) -> Request[None]:
        handle: Handle = popped.handle
        words = (popped.channel, handle.entry, handle.hold, *self._wake(popped.channel))
        return self._script("put_back", non_local_name(popped.channel), *words, read=done)

    def release(self, channel: str, hold: str) -> Request[None]:
        tag = non_local_name(channel)
        return Request(tag, (pack("ZREM", f"{self._base(tag)}held", held(channel, hold)),), done)

    def renew(self, tag: str, holds: Sequence[tuple[str, str]]) -> Request[None]:
        """Go on holding so many (channel, hold) of one tag."""
        members = [held(channel, hold) for channel, hold in holds]
        return self._script("renew", tag, microseconds(HOLD_LEASE_S), *members, read=done)

    # Roles

    def elect(self, role: str, who: str, lease_s: float) -> Request[bool]:
        milliseconds = max(1, round(lease_s * 1000))
        return self._script("elect", role, who, milliseconds, key=self._role(role), read=yes)

    def resign(self, role: str, who: str) -> Request[None]:
        return self._script("resign", role, who, key=self._role(role), read=done)

    def _role(self, role: str) -> str:
        """A key that ``scan`` does not find: who forgets all messages keeps what processes agree on."""
        return f"{self._prefix}:role:{{{role}}}"

    # All of it

    def figures(self, channel: str) -> Request[Figures]:
        def read(replies: list[Reply]) -> Figures:
            return Figures(*replies[0])

        return self._script("figures", non_local_name(channel), channel, read=read)

    def scan(self, cursor: bytes, kind: str) -> bytes:
        """The next keys of this layer that end with ``kind`` and something; on each server of its own."""
        pattern = f"{glob_of(self._prefix)}:{{*}}:{kind}*"
        return pack("SCAN", cursor, "MATCH", pattern, "COUNT", SCANNED_AT_ONCE)

    def unlink(self, key: bytes) -> bytes:
        return pack("UNLINK", key)

    def channel_of(self, key: bytes) -> str:
        """Whose key it is, that ``scan`` with ``c:`` has found."""
        return key.decode().rpartition("}:c:")[2]


def tag_of(address: str) -> str:
    """What decides where an address is: all that follows its kind."""
    return address.partition(":")[2] or address


def database_of(host: Host) -> int:
    """The number that ``SELECT`` is given; a Cluster has one database only."""
    if isinstance(host, Cluster):
        return 0
    server = host.server if isinstance(host, Sentinel) else host
    return int(server.options.get("db") or 0)


def topics_begin_with(prefix: str, database: int) -> str:
    """The databases of a server share its topics, so theirs is in the name."""
    return f"{prefix}@{database}" if database else prefix


def held(channel: str, hold: str) -> str:
    return f"{channel}|{hold}"


def microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


def glob_of(text: str) -> str:
    """The pattern that only ``text`` matches."""
    return "".join(f"\\{one}" if one in "*?[]\\^-" else one for one in text)


# How answers read


def refused(refusal: Refusal) -> LayerUnavailable:
    is_misplaced = str(refusal).startswith("MOVED ")
    hint = ' (it is a node of a Cluster: hosts is to be [{"cluster": [...]}])' if is_misplaced else ""
    return LayerUnavailable(f"Redis refuses: {refusal}{hint}")


def accepted(replies: list[Reply]) -> Any:
    return replies[0]


def done(replies: list[Reply]) -> None:
    """There is nothing to know."""


def yes(replies: list[Reply]) -> bool:
    return bool(replies[0])


def names(replies: list[Reply]) -> list[str]:
    return [name.decode() for name in replies[0]]


def popped_of(found: Any, hold: str) -> Popped:
    if not isinstance(found, list):
        return Popped(None, wait_s=None if found is None else found / 1_000_000)
    channel, entry = found
    return Popped(entry[ENTRY_HEAD.size :], channel.decode(), handle=Handle(entry, hold))
