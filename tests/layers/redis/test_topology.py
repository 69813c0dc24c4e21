"""Which server serves what; servers answer from a dictionary."""

from __future__ import annotations

from typing import Any, TypeVar

import pytest

from raceway.errors import ConfigurationError, LayerUnavailable
from raceway.layers.redis.hosts import parse_hosts
from raceway.layers.redis.topology import (
    SLOTS,
    Asking,
    Place,
    Redirection,
    Refusal,
    Topology,
    redirection,
    shards_of_slots,
    slot_of,
)

T = TypeVar("T")
Answers = dict[tuple[str, str], Any]
"""What a server says to a command, by its port and the command's first word."""


def find_out(asking: Asking[T], answers: Answers, asked: list[str] | None = None) -> T:
    """Answer with ``answers``; who is not in them cannot be reached."""
    reply: Any = None
    try:
        while True:
            ask = asking.throw(reply) if isinstance(reply, Exception) else asking.send(reply)
            port = str(ask.server.port)
            if asked is not None:
                asked.append(port)
            reply = answers.get((port, ask.command[0]), OSError("refused"))
    except StopIteration as found:
        value: T = found.value
        return value


# Slots and shards


def test_slots_are_those_of_a_cluster() -> None:
    assert slot_of("123456789") == 0x31C3  # the specification's own example
    assert slot_of("foo") == 12182
    assert slot_of("") == 0


@pytest.mark.parametrize("shards", [2, 3, 5, 8])
def test_hosts_have_even_shares_and_one_more_takes_only_its_own(shards: int) -> None:
    before, after = shards_of_slots(shards), shards_of_slots(shards + 1)
    for shard in range(shards):
        assert before.count(shard) == pytest.approx(SLOTS / shards, rel=0.05)
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {shards}
    assert len(moved) == pytest.approx(SLOTS / (shards + 1), rel=0.05)


def test_the_place_of_a_tag_depends_on_positions_and_not_on_how_a_host_is_spelled() -> None:
    ours = Topology(parse_hosts(["redis://localhost", "redis://localhost:7000", "redis://localhost:7001"]))
    theirs = Topology(parse_hosts([("127.0.0.1", 6379), {"host": "b", "ssl": True}, "unix:///s"]))
    tags = [f"room-{number}" for number in range(100)]
    assert [ours.place_of(tag) for tag in tags] == [theirs.place_of(tag) for tag in tags]
    assert {ours.place_of(tag) for tag in tags} == {Place(0), Place(1), Place(2)} == set(ours.places())


# Sentinel

SENTINEL = {"master_name": "m", "sentinels": [("s", 1), ("s", 2), ("s", 3)], "password": "pw"}
MASTER = [b"10.0.0.1", b"6379"]


def sentinel() -> Topology:
    return Topology(parse_hosts([SENTINEL]))


def test_the_master_is_asked_of_the_first_sentinel_that_answers_and_must_say_so_itself() -> None:
    topology = sentinel()
    answers = {("2", "SENTINEL"): MASTER, ("6379", "ROLE"): [b"master", 0, []]}
    asked: list[str] = []
    server = find_out(topology.locating(Place(0)), answers, asked)
    assert (server.host, server.port, server.options) == ("10.0.0.1", 6379, {"password": "pw"})
    assert asked == ["1", "2", "6379"]
    find_out(topology.locating(Place(0)), answers, asked)
    assert asked[3:] == ["2", "6379"]  # who answered last time is asked first


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({}, "s:1: refused; s:2: refused"),
        (
            {("1", "SENTINEL"): None, ("2", "SENTINEL"): Refusal("NOAUTH")},
            "s:1 does not know it; s:2: NOAUTH",
        ),
        ({("1", "SENTINEL"): MASTER}, "10.0.0.1:6379, the master 'm' of Sentinel, does not answer"),
        ({("1", "SENTINEL"): MASTER, ("6379", "ROLE"): [b"slave"]}, "says that it is a slave"),
    ],
)
def test_without_a_master_there_is_no_layer(answers: Answers, says: str) -> None:
    with pytest.raises(LayerUnavailable, match=says):
        find_out(sentinel().locating(Place(0)), answers)


def test_a_master_that_sentinel_has_replaced_is_given_up() -> None:
    topology = sentinel()
    answers = {("1", "SENTINEL"): MASTER, ("6379", "ROLE"): [b"master"]}
    server = find_out(topology.locating(Place(0)), answers)
    assert find_out(topology.checking(Place(0), server), answers)
    assert not find_out(topology.checking(Place(0), server), {("1", "SENTINEL"): [b"10.0.0.2", b"6379"]})
    assert find_out(topology.checking(Place(0), server), {})  # nobody knows better


# Cluster

SEVEN = b"# Server\r\nredis_version:7.0.15\r\n"
HALVES = [
    [0, 8191, [b"10.0.0.1", 7001, b"id"], [b"10.0.0.9", 7009, b"replica"]],
    [8192, 16383, [b"", 7002, b"id"]],
]
NODES = {("7001", "INFO"): SEVEN, ("7001", "CLUSTER"): HALVES}


def cluster() -> Topology:
    return Topology(parse_hosts([{"cluster": [("seed", 7000), ("seed", 7001)], "password": "pw"}]))


def test_a_cluster_says_which_node_serves_which_slot() -> None:
    topology = cluster()
    assert topology.place_of("foo") is None
    assert find_out(topology.mapping(0), NODES)
    assert topology.places() == [Place(0, ("10.0.0.1", 7001)), Place(0, ("seed", 7002))]
    assert topology.place_of("foo") == Place(0, ("seed", 7002))
    assert topology.place_of("bar") == Place(0, ("10.0.0.1", 7001))
    assert not find_out(topology.mapping(0), NODES)
    server = find_out(topology.locating(Place(0, ("10.0.0.1", 7001))), {})
    assert (str(server), server.options) == ("10.0.0.1:7001", {"password": "pw"})


def test_a_slot_that_moved_is_elsewhere_at_once() -> None:
    topology = cluster()
    find_out(topology.mapping(0), NODES)
    topology.moved(0, slot_of("foo"), ("10.0.0.3", 7003))
    assert topology.place_of("foo") == Place(0, ("10.0.0.3", 7003))
    assert Place(0, ("10.0.0.3", 7003)) in topology.places()


def test_a_node_without_slots_is_given_up() -> None:
    topology = cluster()
    find_out(topology.mapping(0), NODES)
    place = Place(0, ("10.0.0.1", 7001))
    server = find_out(topology.locating(place), {})
    assert find_out(topology.checking(place, server), NODES)
    other = {**NODES, ("7001", "CLUSTER"): [[0, 16383, [b"seed", 7002, b"id"]]]}
    assert not find_out(topology.checking(place, server), other)


def test_a_cluster_that_does_not_answer() -> None:
    with pytest.raises(LayerUnavailable, match="seed:7000: refused; seed:7001: refused"):
        find_out(cluster().mapping(0), {})


def test_a_cluster_needs_redis_7() -> None:
    six = {**NODES, ("7001", "INFO"): b"redis_version:6.2.14\r\n"}
    with pytest.raises(ConfigurationError, match=r"A Cluster needs Redis 7 .* seed:7001 is Redis 6\.2\.14"):
        find_out(cluster().mapping(0), six)


def test_a_cluster_among_shards_has_the_slots_of_its_position() -> None:
    topology = Topology(parse_hosts(["redis://a", {"cluster": [("seed", 7001)]}]))
    find_out(topology.mapping(1), NODES)
    places = {topology.place_of(f"room-{number}") for number in range(200)}
    assert (
        places == set(topology.places()) == {Place(0), Place(1, ("10.0.0.1", 7001)), Place(1, ("seed", 7002))}
    )


# Redirections


@pytest.mark.parametrize(
    ("error", "found"),
    [
        ("MOVED 3999 127.0.0.1:6381", Redirection(("127.0.0.1", 6381), False)),
        ("MOVED 3999 ::1:6381", Redirection(("::1", 6381), False)),
        ("MOVED 3999 :6381", Redirection(("asked", 6381), False)),
        ("ASK 3999 127.0.0.1:6381", Redirection(("127.0.0.1", 6381), True)),
        ("TRYAGAIN Multiple keys request during rehashing of slot", Redirection(None, False)),
        ("CLUSTERDOWN The cluster is down", Redirection(None, False)),
        ("ERR MOVED house", None),
        ("OOM command not allowed", None),
    ],
)
def test_redirections(error: str, found: Redirection | None) -> None:
    assert redirection(error, "asked") == found
