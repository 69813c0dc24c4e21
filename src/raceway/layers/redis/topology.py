"""Which server serves what, and how that is found out; pure, shared by event loops and threads.

Everything about one channel or group has one *tag*: the group's name, the channel's non-local name, the process of an
inbox. A key is ``prefix:{tag}:...``, and the tag alone decides where it is:

* The CRC16 of the tag, modulo 16,384, is its *slot*, as in Redis Cluster.
* With several hosts, the slots are dealt out over their positions in the list by jump consistent hashing: all
  processes must list the same hosts in the same order, and one more at the end takes its share of the slots and moves
  no other.
* In a Cluster the nodes say which slots they serve.

A *place* is what plays one part: a single server, the master that Sentinel names, or one node of a Cluster. A
connection belongs to a place, and asks at each connect which server that is (``locating``).

What has to be asked of servers is a generator that yields ``Ask`` and is sent the reply, or thrown what went wrong;
``raceway.layers.redis.connection`` has who asks, and ``raceway.layers.redis.routes`` what acts on it.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Generator, Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, TypeVar

from raceway.errors import ConfigurationError, LayerUnavailable
from raceway.layers.redis.hosts import Address, Cluster, Host, Sentinel, Server

SLOTS: Final = 16384

T = TypeVar("T")


class Place(NamedTuple):
    """A part that some server plays."""

    shard: int
    """The position in ``hosts``."""
    node: Address | None = None
    """Which node, in a Cluster."""


class Ask(NamedTuple):
    """A question to one server."""

    server: Server
    command: tuple[str, ...]


class Refusal(Exception):
    """A server answered a question with an error."""


class Redirection(NamedTuple):
    """A node of a Cluster did nothing, because of where the slot is."""

    node: Address | None
    """Who serves it; ``None``: nobody for the moment, try again."""
    is_for_once: bool
    """The slot is on its way there: only this command, after ``ASKING``."""


Asking = Generator[Ask, Any, T]
"""Asks servers and returns what it found out. It is thrown ``Refusal``, and ``OSError`` of who cannot be reached."""


class Topology:
    """What one carrier knows of the hosts of its layer, so far."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.hosts = tuple(hosts)
        self._shard_of_slot = shards_of_slots(len(self.hosts))
        self._maps: dict[int, list[Address | None]] = {}
        self._answered: dict[int, Server] = {}
        self._is_new_enough: set[int] = set()

    # What is known

    def shard_of(self, tag: str) -> int:
        return self.shard_of_slot(slot_of(tag)) if len(self.hosts) > 1 else 0

    def shard_of_slot(self, slot: int) -> int:
        return self._shard_of_slot[slot]

    def place_of(self, tag: str) -> Place | None:
        """Where a tag is; ``None``: in a Cluster that does not say, or has not been asked yet (``mapping``)."""
        return self.place_of_slot(slot_of(tag))

    def place_of_slot(self, slot: int) -> Place | None:
        shard = self._shard_of_slot[slot]
        if not self.is_cluster(shard):
            return Place(shard)
        nodes = self._maps.get(shard)
        node = None if nodes is None else nodes[slot]
        return None if node is None else Place(shard, node)

    def places(self) -> list[Place]:
        """All places that are known: every one that holds keys, once each Cluster has been asked."""
        return [place for shard in range(len(self.hosts)) for place in self.places_of(shard)]

    def places_of(self, shard: int) -> list[Place]:
        if not self.is_cluster(shard):
            return [Place(shard)]
        return [Place(shard, node) for node in dict.fromkeys(self._maps.get(shard, ())) if node is not None]

    def is_cluster(self, shard: int) -> bool:
        """Whether to use the sharded commands (``SPUBLISH``, ``SSUBSCRIBE``), and ``mapping`` before all else."""
        return isinstance(self.hosts[shard], Cluster)

    def may_be_replaced(self, shard: int) -> bool:
        """Whether another server may play the part while the one before still answers."""
        return isinstance(self.hosts[shard], Sentinel)

    # What a server said

    def moved(self, shard: int, slot: int, node: Address) -> bool:
        """A node of a Cluster has answered that another one serves the slot (``MOVED``); whether that is news."""
        nodes = self._maps.setdefault(shard, [None] * SLOTS)
        is_news = nodes[slot] != node
        nodes[slot] = node
        return is_news

    # What has to be asked

    def locating(self, place: Place) -> Asking[Server]:
        """The server to connect to, now. Raises ``LayerUnavailable``."""
        host = self.hosts[place.shard]
        if isinstance(host, Sentinel):
            return (yield from self._master(place.shard, host))
        if isinstance(host, Cluster):
            assert place.node is not None
            return host.nodes[0].at(place.node)
        return host

    def checking(self, place: Place, server: Server) -> Asking[bool]:
        """Whether ``server`` still plays its part; a connection to one that does not is to be given up.

        Also learns anew which slots a Cluster's nodes serve. If nobody answers, nothing has changed.
        """
        host = self.hosts[place.shard]
        try:
            if isinstance(host, Sentinel):
                return (server.host, server.port) == (yield from self._named_master(place.shard, host))
            if isinstance(host, Cluster):
                yield from self.mapping(place.shard)
                return place in self.places_of(place.shard)
        except LayerUnavailable:
            return True
        return True

    def mapping(self, shard: int) -> Asking[bool]:
        """Ask a Cluster which node serves which slot; whether that has changed. Raises ``LayerUnavailable``."""
        cluster = self.hosts[shard]
        assert isinstance(cluster, Cluster)
        nodes = [cluster.nodes[0].at(place.node) for place in self.places_of(shard) if place.node is not None]
        errors = []
        for server in self._in_turn(shard, [*nodes, *cluster.nodes]):
            try:
                if shard not in self._is_new_enough:
                    require_sharded_publishing((yield Ask(server, ("INFO", "server"))), server)
                reply = yield Ask(server, ("CLUSTER", "SLOTS"))
            except (OSError, Refusal) as error:
                errors.append(f"{server}: {error}")
                continue
            self._answered[shard] = server
            self._is_new_enough.add(shard)
            before = self._maps.get(shard)
            self._maps[shard] = nodes_of_slots(reply, server.host)
            return self._maps[shard] != before
        raise LayerUnavailable(f"No node of {cluster} answers ({'; '.join(errors)}).")

    def _master(self, shard: int, host: Sentinel) -> Asking[Server]:
        """Who is master and says so itself: a Sentinel may not know yet that it is one no more."""
        server = host.server.at((yield from self._named_master(shard, host)))
        try:
            role = yield Ask(server, ("ROLE",))
        except (OSError, Refusal) as error:
            raise LayerUnavailable(f"{server}, {host}, does not answer ({error}).") from error
        if text_of(role[0]) != "master":
            raise LayerUnavailable(f"{server} is not {host}, but says that it is a {text_of(role[0])}.")
        return server

    def _named_master(self, shard: int, host: Sentinel) -> Asking[Address]:
        errors = []
        for sentinel in self._in_turn(shard, host.sentinels):
            try:
                reply = yield Ask(sentinel, ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", host.master_name))
            except (OSError, Refusal) as error:
                errors.append(f"{sentinel}: {error}")
                continue
            if reply:
                self._answered[shard] = sentinel
                return text_of(reply[0]), int(reply[1])
            errors.append(f"{sentinel} does not know it")
        raise LayerUnavailable(f"Where {host} is cannot be found out ({'; '.join(errors)}).")

    def _in_turn(self, shard: int, servers: Iterable[Server]) -> list[Server]:
        """Each once, who answered last time first."""
        once = list({str(server): server for server in servers}.values())
        return sorted(once, key=lambda server: server != self._answered.get(shard))


def slot_of(tag: str) -> int:
    """The slot of all keys with that hash tag (Redis Cluster specification, "Key distribution model")."""
    return crc_hqx(tag.encode(), 0) % SLOTS


@cache
def shards_of_slots(shards: int) -> tuple[int, ...]:
    """Which of so many hosts has which slot."""
    return tuple(jump_hash(slot, shards) for slot in range(SLOTS)) if shards > 1 else (0,) * SLOTS


def jump_hash(key: int, buckets: int) -> int:
    """A bucket for a key such that one more bucket takes its share of the keys and moves no other
    (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014)."""
    bucket, jump = -1, 0
    while jump < buckets:
        bucket = jump
        key = (key * 2862933555777941757 + 1) % 2**64
        jump = int((bucket + 1) * (2**31 / ((key >> 33) + 1)))
    return bucket


def nodes_of_slots(reply: Sequence[Any], asked_host: str) -> list[Address | None]:
    """The master of each slot, from the answer to ``CLUSTER SLOTS``; who names no host is at the one that was asked."""
    nodes: list[Address | None] = [None] * SLOTS
    for first, last, (host, port, *_), *_replicas in reply:
        address = text_of(host) or asked_host, int(port)
        nodes[first : last + 1] = [address] * (last + 1 - first)
    return nodes


def require_sharded_publishing(info: Any, server: Server) -> None:
    """Raise ``ConfigurationError`` unless ``INFO server`` tells of Redis 7, which Valkey tells too."""
    fields = dict(line.partition(":")[::2] for line in text_of(info).splitlines())
    version = fields.get("redis_version", "")
    if version.partition(".")[0].isdigit() and int(version.partition(".")[0]) < 7:
        raise ConfigurationError(
            f"A Cluster needs Redis 7 or Valkey, which publish within one node (SPUBLISH); {server} is Redis {version}."
        )


def text_of(reply: Any) -> str:
    """A string in a reply, which nobody has decoded yet; a null is empty."""
    return reply.decode() if isinstance(reply, bytes) else "" if reply is None else str(reply)


def redirection(error: str, asked_host: str) -> Redirection | None:
    """What the text of an error reply says about where a slot is (Redis Cluster specification, "Redirection and
    resharding"); ``None`` for any other error."""
    code, _, rest = error.partition(" ")
    if code in ("TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "LOADING"):
        return Redirection(None, False)
    if code not in ("MOVED", "ASK"):
        return None
    host, _, port = rest.partition(" ")[2].rpartition(":")
    return Redirection((host or asked_host, int(port)), code == "ASK")
