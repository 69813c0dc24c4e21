"""What is asked of servers, and how the answers read."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import hiredis
import pytest

from raceway.errors import ChannelFull
from raceway.layers.distributed.carrier import (
    EVERYBODY,
    Popped,
    channel_address,
    group_address,
    process_address,
)
from raceway.layers.redis.hosts import parse_hosts
from raceway.layers.redis.requests import (
    ENTRY_HEAD,
    SCRIPTS,
    Handle,
    Request,
    Requests,
    loading,
    refused,
    script,
)
from raceway.layers.redis.topology import SLOTS, Refusal, Topology, slot_of

CLUSTER = [{"cluster": [("localhost", 7000)]}]
KEY = re.compile(rb"\{([^}]*)\}")


def requests(prefix: str = "asgi", hosts: Any = None) -> Requests:
    return Requests(prefix, Topology(parse_hosts(hosts)))


def words(command: bytes) -> list[bytes]:
    reader = hiredis.Reader()
    reader.feed(command)
    found: list[bytes] = reader.gets()
    return found


def all_requests(made: Requests) -> list[Request[Any]]:
    popped = Popped(b"entry", "thumbs", handle=Handle(ENTRY_HEAD.pack(1.0, 2.0) + b"entry", "hold"))
    return [
        made.cast("g:room", b"frame"),
        made.cast("p:0123456789abcdef", b"frame"),
        made.cast(EVERYBODY, b"frame"),
        made.publish("room", b"frame"),
        made.add_named("room", "thumbs", 60),
        made.discard_named("room", "thumbs"),
        made.named("room"),
        made.put("thumbs", b"entry", 100, 60),
        made.put("some!one", b"entry", 100, 60),
        made.put_later("thumbs", b"entry", 60, 5, "token"),
        made.cancel("thumbs", "token"),
        made.pop("thumbs", ""),
        made.pop("some!", "hold"),
        made.put_back(popped),
        made.release("thumbs", "hold"),
        made.renew("thumbs", [("thumbs", "hold")]),
        made.figures("thumbs"),
        made.elect("desk", "me", 15),
        made.resign("desk", "me"),
    ]


@pytest.mark.parametrize("hosts", [None, CLUSTER], ids=["server", "cluster"])
def test_all_that_a_request_names_is_in_the_slot_of_its_tag(hosts: Any) -> None:
    """V38: a Cluster does a script only if all its keys are in one slot."""
    for request in all_requests(requests(hosts=hosts)):
        for command in request.commands:
            tags = KEY.findall(command)
            assert tags, command
            assert {slot_of(tag.decode()) for tag in tags} == {slot_of(request.tag)}


def test_scripts_are_named_by_their_hash_and_sent_once_for_each_connection() -> None:
    """V38: ``EVAL`` sends the source each time."""
    asked = {words(command)[0] for request in all_requests(requests()) for command in request.commands}
    assert asked == {b"PUBLISH", b"EXISTS", b"ZREM", b"EVALSHA"}
    sources = [words(command)[2] for command in loading()]
    assert {hashlib.sha1(source).hexdigest() for source in sources} == {script(name).sha for name in SCRIPTS}


def test_a_cluster_publishes_inside_one_node() -> None:
    cast, exists = requests(hosts=CLUSTER).publish("room", b"frame").commands
    assert words(cast) == [b"SPUBLISH", b"asgi:g:{room}", b"frame"]
    assert words(exists) == [b"EXISTS", b"asgi:{room}:named"]


def test_topics_of_different_addresses_differ() -> None:
    made = requests()
    addresses = [
        group_address("x"),
        process_address("x"),
        channel_address("x"),
        "r:x",
        EVERYBODY,
        "d",
        group_address("a"),
    ]
    assert len({made.topic(address) for address in addresses}) == len(addresses)


def test_two_databases_hear_nothing_of_each_other() -> None:
    """A server's databases have keys of their own, and share all topics."""
    here, there = requests(), requests(hosts=["redis://localhost/1"])
    assert here.topic("g:room") == "asgi:g:{room}"
    assert there.topic("g:room") == "asgi@1:g:{room}"


def test_who_has_read_of_no_members_by_name_asks_no_more() -> None:
    request = requests().publish("room", b"frame")
    assert request.read([3, 0]) == []


def test_members_by_name_are_asked_for_if_there_are_some() -> None:
    request = requests().publish("room", b"frame").read([3, 1])
    assert isinstance(request, Request)
    assert request.read([[b"one", b"two"]]) == ["one", "two"]


def test_a_full_channel_is_an_error() -> None:
    request = requests().put("thumbs", b"entry", 100, 60)
    assert request.read([1]) is None
    with pytest.raises(ChannelFull, match=r"'thumbs' holds 100 messages"):
        request.read([0])


def test_what_was_popped_can_be_put_back() -> None:
    entry = ENTRY_HEAD.pack(1.0, 2.0) + b"message"
    taken = requests().pop("thumbs", "hold").read([[[b"dead"], [b"thumbs", entry]]])
    assert not isinstance(taken, Request)
    assert taken.lost == ["dead"]
    assert taken.popped == Popped(b"message", "thumbs", None, Handle(entry, "hold"))
    again = words(requests().put_back(taken.popped).commands[0])
    assert again[again.index(b"thumbs") :][:3] == [b"thumbs", entry, b"hold"]


@pytest.mark.parametrize(("answer", "wait_s"), [(None, None), (0, 0.0), (1_500_000, 1.5)])
def test_an_empty_channel_says_when_to_look_again(answer: int | None, wait_s: float | None) -> None:
    taken = requests().pop("thumbs", "").read([[[], answer]])
    assert not isinstance(taken, Request)
    assert taken.popped == Popped(None, wait_s=wait_s)


def test_no_command_goes_through_all_keys_at_once() -> None:
    """V38: ``KEYS`` stops the server for everybody."""
    said = b"".join(
        [requests().scan(b"0", ""), *loading(), *(c for r in all_requests(requests()) for c in r.commands)]
    )
    assert b"KEYS\r\n" not in said.upper()
    assert b"'KEYS'" not in said.upper()


@pytest.mark.parametrize("prefix", ["asgi", "a*b", "a[b]", "a?", "back\\slash", "a^b-c"])
def test_what_is_scanned_for_is_the_prefix_and_nothing_like_it(prefix: str) -> None:
    pattern = words(requests(prefix).scan(b"0", "c:"))[3].decode()
    assert matches(pattern, f"{prefix}:{{room}}:c:room")
    assert not matches(pattern, f"{prefix}x:{{room}}:c:room")
    assert not matches(pattern, "other:{room}:c:room")
    assert not matches(pattern, f"{prefix}:role:{{desk}}")


def matches(pattern: str, key: str) -> bool:
    """Redis' glob, of which we use ``*`` and escapes."""
    parts = re.findall(r"\\(.)|(\*)|(.)", pattern, re.DOTALL)
    expression = "".join(".*" if star else re.escape(escaped or plain) for escaped, star, plain in parts)
    return re.fullmatch(expression, key, re.DOTALL) is not None


def test_a_key_says_whose_it_is() -> None:
    assert requests().channel_of(b"asgi:{some!}:c:some!one") == "some!one"


def test_there_are_as_many_slots_as_the_specification_says() -> None:
    assert slot_of("123456789") == 0x31C3 % SLOTS


def test_a_node_of_a_cluster_that_is_taken_for_a_server_is_named_so() -> None:
    assert '[{"cluster": [...]}]' in str(refused(Refusal("MOVED 866 127.0.0.1:7001")))
    assert str(refused(Refusal("OOM not allowed."))) == "Redis refuses: OOM not allowed."
