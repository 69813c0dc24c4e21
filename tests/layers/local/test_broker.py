"""What members say goes in, what they are told comes out: no socket, no loop, no clock."""

from __future__ import annotations

import pytest

from raceway.layers.local.broker import ASK_S, SETTLE_S, UNSETTLED_BYTES, Lost
from raceway.layers.local.wire import (
    VERSION,
    AddNamed,
    Answer,
    Asked,
    Cancel,
    CancelLater,
    Changed,
    Count,
    Deliver,
    DiscardNamed,
    Done,
    Enter,
    Exit,
    Figures,
    Flush,
    FromMember,
    GiveBack,
    Hello,
    Join,
    Listen,
    Members,
    Own,
    Publish,
    Refused,
    Reply,
    Roll,
    RollCount,
    Send,
    SendLater,
    Subscribe,
    Take,
    Taken,
    Unlisten,
    Unsubscribe,
    encode,
)
from raceway.layers.roster import presence_group
from raceway.layers.spec import decode_event, unpack
from tests.layers.local.members import LEASE_S, A, B, C, House


@pytest.fixture
def house() -> House:
    return House()


def publish(group: str = "g", message: bytes = b"m", n: int = 0, exclude: str | None = None) -> Publish:
    return Publish(n, group, message, exclude, "close", 60.0)


def send(
    channel: str, message: bytes = b"m", n: int = 0, capacity: int = 100, expiry_s: float = 60.0
) -> Send:
    return Send(n, channel, message, capacity, expiry_s)


# Hello


def test_a_member_says_hello_first(house: House) -> None:
    number = house.connect()
    house.say(number, Subscribe(1, ["g"]))
    assert house.hear(number) == []
    assert "Hello" in house.dropped[number]


def test_a_member_says_hello_once(house: House) -> None:
    member = house.member()
    house.say(member, Hello(A))
    assert "Hello" in house.dropped[member]


def test_a_member_of_another_version_is_dropped_with_the_mend(house: House) -> None:
    number = house.connect()
    house.say(number, Hello(A, version=VERSION + 1))
    assert f"version {VERSION + 1}" in house.dropped[number]
    assert "same version of Raceway" in house.dropped[number]


@pytest.mark.parametrize(
    "body", [b"", b"\x91", b"\x91\x63", b"\xc0", b"\x92\x05\x01", b"x" * 100, b"\x91\xa1g"]
)
def test_who_says_what_no_member_says_is_dropped(house: House, body: bytes) -> None:
    for number in (house.connect(), house.member()):
        house.say_bytes(number, body)
        assert "no frame" in house.dropped[number]
        house.say_bytes(number, body)  # it was under way
    assert len(house.broker) == 0


def test_who_has_been_dropped_is_told_nothing_more(house: House) -> None:
    member, other = house.member(A), house.member(B)
    house.say(member, Subscribe(0, ["g"]))
    house.say_bytes(member, b"")
    house.say(other, publish())
    house.leave(member)
    assert house.hear(member) == []


# Groups


def test_a_publish_goes_to_the_subscribers_of_other_processes_byte_for_byte(house: House) -> None:
    a, b, other_b, c = house.member(A), house.member(B), house.member(B), house.member(C)
    house.say(a, Subscribe(1, ["g"]))
    house.say(b, Subscribe(2, ["g", "h"]))
    house.say(other_b, Subscribe(3, ["g"]))
    house.say(c, Subscribe(4, ["h"]))
    assert [house.hear(one) for one in (a, b, other_b, c)] == [
        [Answer(1, None)],
        [Answer(2, None)],
        [Answer(3, None)],
        [Answer(4, None)],
    ]
    said = Publish(7, "g", b"message", "x!1", "latest", 60.0)
    effects = house.broker.receive(a, encode(said)[4:], house.now)
    assert effects == [(b, encode(said)), (other_b, encode(said)), (a, encode(Answer(7, None)))]


def test_what_needs_no_answer_gets_none(house: House) -> None:
    a = house.member(A)
    house.say(
        a,
        Subscribe(0, ["g"]),
        publish(),
        send("work"),
        Listen(0, "work"),
        Unlisten("work"),
        AddNamed(0, "g", "named", house.now + 60, 10),
        DiscardNamed(0, "g", "named"),
        Join(0, "g", f"x.{B}!1", False),
    )
    assert house.hear(a) == [Deliver("work", b"m")]


def test_unsubscribing_ends_it(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(b, Subscribe(0, ["g", "h"]), Unsubscribe(["g", "unknown"]))
    house.say(a, publish("g"), publish("h"))
    assert house.hear(b) == [publish("h")]
    house.say(b, Unsubscribe(["h"]))
    house.say(a, Flush(1))
    assert house.hear(b) == []  # it holds nothing that it could forget
    assert house.hear(a) == [Answer(1, None)]


def test_named_members_get_a_publish_in_their_queues(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(
        a,
        AddNamed(1, "g", "late", house.now - 1, 10),
        AddNamed(2, "g", "one", house.now + 60, 1),
        AddNamed(3, "g", "two", house.now + 60, 10),
        AddNamed(4, "g", "gone", house.now + 60, 10),
        DiscardNamed(5, "g", "gone"),
        publish(message=b"first", n=6),
        publish(message=b"second", n=7),  # there is no room for it in "one"
        publish(message=b"third", exclude="two"),
    )
    assert house.hear(a) == [Answer(n, None) for n in range(1, 8)]
    house.say(
        b, *(Take(n, name) for n, name in enumerate(["one", "one", "two", "two", "two", "late", "gone"], 1))
    )
    assert [(taken.n, taken.message) for taken in house.hear(b) if isinstance(taken, Taken)] == [
        (1, b"first"),
        (3, b"first"),
        (4, b"second"),
    ]


def test_a_named_member_ends_with_its_time(house: House) -> None:
    a = house.member(A)
    house.say(a, AddNamed(0, "g", "one", house.now + 60, 10), Count(1, "g"))
    house.advance(60, a)
    house.say(a, Count(2, "g"))
    assert house.hear(a) == [Answer(1, 1), Answer(2, 0)]


# Channels


def test_messages_wait_first_in_first_out(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(a, *(send("work", b"%d" % n, n + 1) for n in range(3)))
    assert house.hear(a) == [Answer(n, None) for n in (1, 2, 3)]
    house.say(b, *(Take(n, "work") for n in range(4)))
    until = house.now + 60
    assert house.hear(b) == [Taken(n, "work", b"%d" % n, until) for n in range(3)]
    house.say(a, send("work", b"3"))
    assert house.hear(b) == [Taken(3, "work", b"3", until)]


def test_takers_are_served_in_the_order_in_which_they_came(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(a, Take(1, "work"))
    house.say(b, Take(1, "work"))
    house.say(a, Take(2, "work"))
    house.say(b, *(send("work", message) for message in (b"x", b"y", b"z")))
    assert [taken.message for taken in house.hear(a) if isinstance(taken, Taken)] == [b"x", b"z"]
    assert [taken.message for taken in house.hear(b) if isinstance(taken, Taken)] == [b"y"]


def test_a_taker_of_a_prefix_gets_what_comes_for_any_of_its_channels(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(a, send("p!1", b"1"), send("p!2", b"2"), send("q!1", b"other"))
    house.say(b, Take(1, "p!"), Take(2, "p!"), Take(3, "p!"))
    house.say(b, Take(4, "p!4"))
    house.say(a, send("p!4", b"4"), send("p!3", b"3"))  # the taker of the very channel comes first
    until = house.now + 60
    assert house.hear(b) == [
        Taken(1, "p!1", b"1", until),
        Taken(2, "p!2", b"2", until),
        Taken(4, "p!4", b"4", until),
        Taken(3, "p!3", b"3", until),
    ]


def test_a_full_channel_refuses(house: House) -> None:
    a = house.member(A)
    house.say(a, send("work", n=1, capacity=2), send("work", n=2, capacity=2), send("work", n=3, capacity=2))
    house.say(a, send("work", n=0, capacity=2), send("other", n=4, capacity=2))
    assert house.hear(a) == [Answer(1, None), Answer(2, None), Refused(3, "full"), Answer(4, None)]


def test_messages_expire(house: House) -> None:
    a = house.member(A)
    house.say(a, send("work", b"short", expiry_s=10), send("work", b"long", expiry_s=60))
    house.advance(10, a)
    house.say(a, Take(1, "work"))
    assert house.hear(a) == [Taken(1, "work", b"long", house.now + 50)]


def test_a_cancelled_take_gets_nothing(house: House) -> None:
    a = house.member(A)
    house.say(a, Take(1, "work"), Take(2, "work"), Cancel(1), Cancel(99), send("work"))
    assert house.hear(a) == [Taken(2, "work", b"m", house.now + 60)]


def test_what_is_given_back_is_the_next_again(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(a, send("p!1", b"first"), send("p!1", b"second"), Take(1, "p!"))
    (taken,) = house.hear(a)
    assert isinstance(taken, Taken)
    house.say(a, GiveBack(taken.channel, taken.message, taken.expires_at))
    house.say(b, Take(1, "p!1"), Take(2, "p!"))
    assert [taken.message for taken in house.hear(b) if isinstance(taken, Taken)] == [b"first", b"second"]


def test_what_is_given_back_goes_to_who_waits(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(a, send("work"), Take(1, "work"))
    house.say(b, Take(1, "work"))
    house.say(a, GiveBack("work", b"m", house.now + 5))
    assert house.hear(b) == [Taken(1, "work", b"m", house.now + 5)]
    house.say(b, Listen(0, "work"))
    house.say(a, GiveBack("work", b"m", house.now + 5), GiveBack("work", b"expired", house.now))
    assert house.hear(b) == [Deliver("work", b"m")]


def test_the_messages_of_a_taker_that_has_gone_go_to_others(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(a, Take(1, "work"), Take(2, "p!"))
    house.say(b, Take(1, "work"), Take(2, "p!"))
    house.leave(a)
    house.say(b, send("work"), send("p!1"))
    assert [taken.n for taken in house.hear(b) if isinstance(taken, Taken)] == [1, 2]


def test_no_two_takes_have_one_number(house: House) -> None:
    a = house.member(A)
    house.say(a, Take(1, "work"), Take(1, "play"))
    assert "twice" in house.dropped[a]
    assert len(house.broker) == 0


def test_a_listener_gets_what_waits_and_what_comes(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(a, send("work", b"1"), send("work", b"2"))
    house.say(b, Listen(7, "work"))
    house.say(a, send("work", b"3", n=1))
    assert house.hear(b) == [
        Deliver("work", b"1"),
        Deliver("work", b"2"),
        Answer(7, None),
        Deliver("work", b"3"),
    ]
    assert house.hear(a) == [Answer(1, None)]
    house.say(b, Unlisten("work"), Unlisten("unknown"))
    house.say(a, send("work", b"4"))
    assert house.hear(b) == []


def test_listeners_take_turns(house: House) -> None:
    a, b, c = house.member(A), house.member(B), house.member(C)
    house.say(a, Listen(0, "work"))
    house.say(b, Listen(0, "work"))
    house.say(c, *(send("work", b"%d" % n) for n in range(5)))
    assert [told.message for told in house.hear(a) if isinstance(told, Deliver)] == [b"0", b"2", b"4"]
    assert [told.message for told in house.hear(b) if isinstance(told, Deliver)] == [b"1", b"3"]
    house.leave(a)
    house.say(c, send("work", b"5"), send("work", b"6"))
    assert house.hear(b) == [Deliver("work", b"5"), Deliver("work", b"6")]


def test_the_channels_of_a_process_go_to_one_of_its_members(house: House) -> None:
    """Its loops find each other in the process; two that are told would hand the message over twice."""
    a, threads, first, second = house.member(A), house.member(B), house.member(B), house.member(B)
    house.say(first, Own())
    house.say(second, Own())
    house.say(a, send(f"specific.{B}!1", b"1", n=1))
    assert house.hear(a) == [Answer(1, None)]
    house.leave(first)
    house.say(a, send(f"specific.{B}!1", b"2"))
    assert house.hear(first) == [Deliver(f"specific.{B}!1", b"1")]
    assert house.hear(second) == [Deliver(f"specific.{B}!1", b"2")]
    assert house.hear(threads) == []


def test_what_is_for_a_process_that_has_ended_waits_nowhere(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(a, send(f"specific.{B}!1", n=1), send(f"specific.{C}!1", n=2), Figures(3, None))
    house.say(b, Own(), Take(1, f"specific.{C}!"))
    answers = house.hear(a)
    assert answers[:2] == [Answer(1, None), Answer(2, None)]
    assert isinstance(answers[2], Answer)
    assert answers[2].value["messages_pending"] == 0
    assert house.hear(b) == []


def test_figures_are_those_of_the_queues(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(a, send("work"), send("work", capacity=1), send("play"))
    house.say(b, Take(1, "play"))
    house.advance(2, a, b)
    house.say(a, Figures(1, "work"), Figures(2, None), Figures(3, "unknown"))
    work, whole, unknown = (answer.value for answer in house.hear(a) if isinstance(answer, Answer))
    assert work == {
        "messages_count": 1,
        "messages_count_per_second": 0.5,
        "messages_pending": 1,
        "messages_max_age": 2.0,
        "channel_full_count": 1,
        "channel_full_count_per_second": 0.5,
        "messages_lost_count": 0,
    }
    assert (whole["messages_count"], whole["messages_pending"]) == (2, 1)
    assert unknown["messages_count"] == 0


# Questions


def test_members_are_counted_in_all_processes_and_by_name(house: House) -> None:
    a, b, other_b, c = house.member(A), house.member(B), house.member(B), house.member(C)
    for member in (a, b, other_b):
        house.say(member, Subscribe(0, ["g"]))
    house.say(a, AddNamed(0, "g", "named", house.now + 60, 10), Count(5, "g"), Members(6, "g"))
    for member, channels in ((a, ["a"]), (b, ["b", "bb"]), (other_b, [])):
        counting, listing = house.hear(member)
        assert isinstance(counting, Asked)
        assert isinstance(listing, Asked)
        assert (counting.what, counting.group, listing.what, listing.group) == ("count", "g", "members", "g")
        assert not any(isinstance(told, Answer) for told in house.hear(a))
        house.say(member, Reply(listing.n, channels), Reply(counting.n, len(channels)))
    answers = house.hear(a)
    assert answers == [Answer(6, ["named", "a", "b", "bb"]), Answer(5, 4)]
    assert house.hear(c) == []
    house.say(c, Count(7, "nobody"), Members(8, "nobody"))
    assert house.hear(c) == [Answer(7, 0), Answer(8, [])]


def test_processes_that_do_not_answer_are_missing(house: House) -> None:
    a, b, other_b, c = house.member(A), house.member(B), house.member(B), house.member(C)
    for member in (b, other_b, c):
        house.say(member, Subscribe(0, ["g"]))
    house.say(a, Count(5, "g"))
    (asked,) = house.hear(c)
    assert isinstance(asked, Asked)
    house.say(c, Reply(asked.n, 3))
    house.advance(ASK_S)
    assert house.hear(a) == [Answer(5, 3, missing=1)]
    house.say(b, Reply(asked.n, 10))  # too late
    house.say(b, Reply(999, 10))
    assert house.hear(a) == []


def test_a_process_that_ends_meanwhile_is_not_missing(house: House) -> None:
    a, b, c = house.member(A), house.member(B), house.member(C)
    house.say(b, Subscribe(0, ["g"]))
    house.say(c, Subscribe(0, ["g"]))
    house.say(a, Count(5, "g"))
    house.leave(b)
    assert house.hear(a) == []
    (asked,) = house.hear(c)
    assert isinstance(asked, Asked)
    house.say(c, Reply(asked.n, 1))
    assert house.hear(a) == [Answer(5, 1)]

    house.say(a, Count(6, "g"))
    house.leave(a)
    (asked,) = house.hear(c)
    assert isinstance(asked, Asked)
    house.say(c, Reply(asked.n, 1))
    assert c not in house.dropped


def test_who_asks_itself_and_ends_leaves_nothing(house: House) -> None:
    a = house.member(A)
    house.say(a, Subscribe(0, ["g"]), Count(1, "g"), Flush(2))
    house.leave(a)
    assert house.broker.deadline is None


@pytest.mark.parametrize("value", [None, "x", [1], True, 1.5])
def test_an_answer_that_is_none_ends_the_member(house: House, value: object) -> None:
    a, b = house.member(A), house.member(B)
    house.say(b, Subscribe(0, ["g"]))
    house.say(a, Count(5, "g"))
    (asked,) = house.hear(b)
    assert isinstance(asked, Asked)
    house.say(b, Reply(asked.n, value))
    assert "no answer" in house.dropped[b]
    assert house.hear(a) == [Answer(5, 0)]


def test_a_join_is_asked_of_the_owner(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(b, Own())
    channel = f"specific.{B}!1"
    house.say(a, Join(5, "g", channel, False), Join(6, "g", channel, True))
    joining, leaving = house.hear(b)
    assert isinstance(joining, Asked)
    assert isinstance(leaving, Asked)
    assert (joining.what, joining.group, joining.channel) == ("join", "g", channel)
    assert (leaving.what, leaving.group, leaving.channel) == ("leave", "g", channel)
    assert house.hear(a) == []
    house.say(b, Reply(joining.n, None), Reply(leaving.n, None))
    assert house.hear(a) == [Answer(5, None), Answer(6, None)]
    house.say(a, Join(7, "g", f"specific.{C}!1", False), Join(8, "g", "p!1", False))
    assert house.hear(a) == [Answer(7, None), Answer(8, None)]


def test_a_flush_is_over_when_every_process_has_forgotten(house: House) -> None:
    a, b, c, threads = house.member(A), house.member(B), house.member(C), house.member(C)
    house.say(b, Subscribe(0, ["g"]), Own())
    house.say(c, Own())
    house.say(a, send("work"), AddNamed(0, "named", "play", house.now + 60, 10), Flush(5))
    for member in (b, c):
        (asked,) = house.hear(member)
        assert isinstance(asked, Asked)
        assert asked.what == "flush"
        assert house.hear(a) == []
        house.say(member, Reply(asked.n, None))
    assert house.hear(threads) == []
    assert house.hear(a) == [Answer(5, None)]
    house.say(a, Take(1, "work"), Members(6, "named"))
    assert house.hear(a) == [Answer(6, [])]


def test_an_answer_that_no_frame_holds_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raceway.layers.local.wire.FRAME_BYTES", 100)
    a = house.member(A)
    for number in range(20):
        house.say(a, AddNamed(0, "g", f"named.{number}", house.now + 60, 1))
    house.say(a, Members(1, "g"))
    assert house.hear(a) == [Refused(1, "the answer is larger than a frame")]


# Who is dead


def test_a_member_that_says_nothing_for_its_lease_is_dropped(house: House) -> None:
    silent, beating, sender = house.member(A), house.member(B), house.member(C)
    house.say(beating, Subscribe(0, ["g"]))
    house.advance(0.7, beating)
    house.say(silent, Subscribe(0, ["g"]))
    house.advance(LEASE_S - 0.001, beating)
    house.say(sender, publish())
    assert house.hear(silent) == [publish()]
    assert house.dropped == {}
    house.advance(0.001, beating)
    assert house.dropped == {silent: "it said nothing for 15 s"}
    house.advance(10 * LEASE_S, beating)
    assert set(house.dropped) == {silent}


@pytest.mark.parametrize(
    "frame",
    [Own(), Subscribe(0, ["g"]), Listen(0, "work"), Take(1, "work"), Enter(0, "p", "k", "c", {}, 15.0)],
    ids=lambda frame: type(frame).__name__,
)
def test_whoever_holds_something_has_to_beat(house: House, frame: FromMember) -> None:
    a, b = house.member(A), house.member(B)
    house.say(a, frame)
    house.advance(10 * LEASE_S)
    assert set(house.dropped) == {a}
    assert len(house.broker) == 1
    house.say(b, send("work", n=1))
    assert house.hear(b) == [Answer(1, None)]


def test_who_never_greets_is_dropped(house: House) -> None:
    number = house.connect()
    house.advance(LEASE_S)
    assert set(house.dropped) == {number}


def test_the_looks_begin_with_the_first_member_and_those_that_come_put_none_off(house: House) -> None:
    house.advance(10 * LEASE_S)
    silent = house.member(A)
    house.say(silent, Subscribe(0, ["g"]))
    assert house.broker.deadline is not None
    assert house.broker.deadline > house.now
    for _ in range(round(LEASE_S)):
        house.member(B)
        house.advance(1.0)
    assert set(house.dropped) == {silent}


def test_a_broker_that_was_held_up_blames_nobody(house: House) -> None:
    """It was stopped, and the beats that came meanwhile wait in its sockets."""
    a, b = house.member(A), house.member(B)
    house.say(a, Subscribe(0, ["g"]))
    house.say(b, Subscribe(0, ["g"]))
    house.stall(10 * LEASE_S)
    assert house.dropped == {}
    house.advance(LEASE_S, a)
    assert set(house.dropped) == {b}


# Presence


def diffs(house: House, member: int) -> list[dict[str, object]]:
    return [decode_event(unpack(told.message)) for told in house.hear(member) if isinstance(told, Publish)]


def test_who_is_there_is_told_to_all_that_watch_and_to_one_that_signals(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(b, Subscribe(0, [presence_group("documents")]))
    house.say(a, Subscribe(0, [presence_group("documents")]))
    house.say(a, Enter(1, "documents", "leela", "c!1", {"page": 1}, 0.0))
    assert house.hear(a)[0] == Changed("documents", "joined", "leela", [{"page": 1}])
    house.advance(1, a, b)
    house.say(a, Exit(2, None, "c!1"))
    house.advance(1, a, b)
    said = house.hear(a)
    assert [told for told in said if isinstance(told, Changed)] == [
        Changed("documents", "left", "leela", [{"page": 1}])
    ]
    assert [told for told in said if isinstance(told, Answer)] == [Answer(2, None)]
    said = diffs(house, b)
    assert [(diff["joined"], diff["left"]) for diff in said] == [
        ({"leela": [{"page": 1}]}, {}),
        ({}, {"leela": [{"page": 1}]}),
    ]


def test_the_roll_is_read(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(a, Enter(1, "documents", "leela", "c!1", {"tab": 1}, 15.0))
    house.say(b, Enter(1, "documents", "leela", "c!2", {"tab": 2}, 15.0))
    house.say(b, Enter(2, "documents", "fry", "c!3", {}, 15.0))
    house.hear(b)
    house.say(b, Roll(3, "documents"), RollCount(4, "documents"), Roll(5, "x"), RollCount(6, "x"))
    assert [told for told in house.hear(b) if isinstance(told, Answer)] == [
        Answer(3, {"leela": [{"tab": 1}, {"tab": 2}], "fry": [{}]}),
        Answer(4, 2),
        Answer(5, {}),
        Answer(6, 0),
    ]


def test_the_presences_of_the_dead_end_and_another_tells(house: House) -> None:
    a, b, c = house.member(A), house.member(B), house.member(C)
    house.say(b, Own())
    house.say(a, Enter(1, "documents", "leela", "c!1", {}, 5.0))
    house.leave(a)
    house.say(b, RollCount(1, "documents"))
    assert house.hear(b) == [Answer(1, 1)]
    house.advance(5, b, c)
    assert house.hear(b) == [Changed("documents", "left", "leela", [{}])]
    assert house.hear(c) == []


def test_the_grace_of_the_silent_counts_from_when_they_were_last_heard(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(b, Own())
    house.say(a, Enter(1, "documents", "leela", "c!1", {}, LEASE_S + 5))
    house.advance(LEASE_S, b)
    assert a in house.dropped
    assert house.hear(b) == []
    house.advance(5, b)
    assert house.hear(b) == [Changed("documents", "left", "leela", [{}])]


def test_a_member_that_comes_back_in_its_grace_never_left(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(b, Own())
    house.say(a, Enter(0, "documents", "leela", "c!1", {}, 15.0))
    house.leave(a)
    a = house.member(A, resumed=True)
    house.say(a, Enter(1, "documents", "leela", "c!1", {}, 15.0))
    assert house.hear(a) == [Answer(1, None)]
    house.advance(100, a, b)
    assert house.hear(a) == []
    assert house.hear(b) == []


def test_a_new_broker_says_who_is_there_when_all_have_come_back(house: House) -> None:
    a = house.member(A, resumed=True)
    house.say(
        a, Enter(0, "documents", "leela", "c!1", {}, 15.0), RollCount(1, "documents"), Roll(2, "documents")
    )
    gone = house.member(C)
    house.say(gone, RollCount(1, "documents"))
    house.leave(gone)
    house.advance(SETTLE_S / 2, a)
    assert house.hear(a) == []  # nor a signal: who was there has not joined just now
    b = house.member(B, resumed=True)
    house.say(b, Enter(0, "documents", "fry", "c!2", {}, 15.0))
    house.advance(SETTLE_S / 2, a)
    assert house.hear(a) == [Answer(1, 2), Answer(2, {"leela": [{}], "fry": [{}]})]
    house.say(a, Enter(0, "documents", "amy", "c!3", {}, 15.0), RollCount(3, "documents"))
    assert house.hear(a) == [Changed("documents", "joined", "amy", [{}]), Answer(3, 3)]


def test_the_first_broker_has_nobody_to_wait_for(house: House) -> None:
    a = house.member(A)
    house.say(a, RollCount(1, "documents"))
    assert house.hear(a) == [Answer(1, 0)]


def test_what_ends_a_grace_needs_no_members(house: House) -> None:
    a = house.member(A)
    house.say(a, Enter(0, "documents", "leela", "c!1", {}, 15.0))
    house.leave(a)
    house.advance(100)
    assert house.broker.deadline is None
    b = house.member(B)
    house.say(b, RollCount(1, "documents"))
    assert house.hear(b) == [Answer(1, 0)]


def test_a_new_broker_keeps_what_is_for_a_process_that_has_not_found_it_yet(house: House) -> None:
    a = house.member(A, resumed=True)
    channel, gone = f"c.{B}!1", f"c.{C}!1"
    house.say(a, send(channel, b"1"), send(channel, b"2", n=1), Join(2, "g", channel, False))
    house.say(a, send(gone, b"3"), Join(3, "g", gone, False), send("work", b"4", n=4))
    assert house.hear(a) == [Answer(4, None)]
    b = house.member(B, resumed=True)
    house.say(b, Own())
    first, second, asked = house.hear(b)
    assert [first, second] == [Deliver(channel, b"1"), Deliver(channel, b"2")]
    assert isinstance(asked, Asked)
    house.say(b, Reply(asked.n, None))
    assert house.hear(a) == [Answer(1, None), Answer(2, None)]
    house.advance(SETTLE_S, a, b)
    assert house.hear(a) == [Answer(3, None)]
    house.say(a, Join(5, "g", gone, False))
    assert house.hear(a) == [Answer(5, None)]


def test_a_new_broker_keeps_so_many_messages_for_processes_that_may_come(
    house: House,
) -> None:
    a = house.member(A, resumed=True)
    for number in range(UNSETTLED_BYTES // 2**20 + 2):
        house.say(a, send(f"c.{B}!1", b"%d" % number + bytes(2**20 - 2)))
    b = house.member(B, resumed=True)
    house.say(b, Own())
    assert len(house.hear(b)) == UNSETTLED_BYTES // 2**20
    house.say(a, send(f"c.{B}!1"))
    assert house.hear(b) == [Deliver(f"c.{B}!1", b"m")]


def test_a_first_broker_waits_for_nobody_and_who_has_gone_is_not_joined(house: House) -> None:
    a = house.member(A)
    house.say(a, Join(1, "g", f"c.{B}!1", False))
    assert house.hear(a) == [Answer(1, None)]
    leaves = house.member(C, resumed=True)
    house.say(leaves, Join(1, "g", f"c.{B}!1", False))
    house.leave(leaves)
    b = house.member(B, resumed=True)
    house.say(b, Own())
    assert house.hear(b) == []


# In the hands of members


def test_what_a_member_had_in_its_hands_when_it_ended_is_counted_as_lost(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(a, Take(1, "work", True), Take(2, "work", True), Take(3, "work", True), Take(4, "work"))
    house.say(b, *(send("work") for _ in range(4)))
    first, second, *_ = house.hear(a)
    assert isinstance(first, Taken)
    assert isinstance(second, Taken)
    house.say(a, Done(first.n))
    house.leave(a)
    assert house.lost == [Lost("work", 2)]
    house.say(b, Figures(1, "work"), Figures(2, None), Figures(3, "other"))
    assert [answer.value["messages_lost_count"] for answer in house.hear(b)] == [2, 2, 0]
    house.advance(61, b)
    house.say(b, Figures(4, "work"), Figures(5, None))
    assert [answer.value["messages_lost_count"] for answer in house.hear(b)] == [0, 2]


def test_what_was_given_back_is_in_nobodys_hands(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(a, Take(1, "work", True), Take(2, "work", True))
    house.say(b, send("work"))
    (taken,) = house.hear(a)
    house.say(a, Cancel(2), Cancel(1), GiveBack("work", taken.message, taken.expires_at, taken.n))
    house.leave(a)
    assert house.lost == []
    house.say(b, Take(1, "work"))
    assert house.hear(b) == [Taken(1, "work", b"m", taken.expires_at)]


def test_a_take_that_was_cancelled_holds_nothing(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(a, Take(1, "work", True), Cancel(1), Take(1, "work"), Done(7))
    house.say(b, send("work"))
    house.leave(a)
    assert house.lost == []


# Later


def test_a_message_is_sent_when_its_time_has_come(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(
        a, SendLater(1, "work", b"late", 60.0, 30.0, "t"), SendLater(2, "work", b"soon", 60.0, 10.0, "u")
    )
    assert house.hear(a) == [Answer(1, None), Answer(2, None)]
    house.say(b, Take(1, "work"), Take(2, "work"))
    house.advance(9, b)
    assert house.hear(b) == []
    house.advance(1, b)
    assert house.hear(b) == [Taken(1, "work", b"soon", house.now + 60)]
    house.leave(a)
    house.advance(20, b)
    assert house.hear(b) == [Taken(2, "work", b"late", house.now + 60)]


def test_it_waits_in_its_channel_however_full_that_is_and_also_when_nobody_is_there(house: House) -> None:
    a = house.member(A)
    house.say(a, send("work", n=1, capacity=1), SendLater(2, "work", b"late", 60.0, 10.0, "t"))
    house.leave(a)
    assert house.broker.waiting_count(house.now) == 2
    house.advance(30)
    b = house.member(B)
    house.say(b, Take(1, "work"), Take(2, "work"))
    assert [frame.message for frame in house.hear(b)] == [b"m", b"late"]


def test_it_expires_from_when_it_was_due(house: House) -> None:
    a = house.member(A)
    house.say(a, SendLater(1, "work", b"late", 5.0, 100.0, "t"))
    house.leave(a)
    house.advance(106)
    assert house.broker.waiting_count(house.now) == 0


def test_it_goes_to_who_owns_or_listens(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(b, Own(), Listen(0, "work"))
    house.say(
        a, SendLater(0, f"x.{B}!1", b"own", 60.0, 1.0, "t"), SendLater(0, "work", b"heard", 60.0, 1.0, "t")
    )
    house.advance(1)
    assert house.hear(b) == [Deliver(f"x.{B}!1", b"own"), Deliver("work", b"heard")]


def test_it_can_be_cancelled_by_anybody_until_it_is_due(house: House) -> None:
    a, b = house.member(A), house.member(B)
    house.say(
        a, SendLater(0, "work", b"late", 60.0, 10.0, "t"), SendLater(0, "work", b"late", 60.0, 10.0, "u")
    )
    house.say(b, CancelLater(1, "work", "t"), CancelLater(2, "work", "t"), CancelLater(3, "play", "u"))
    assert house.hear(b) == [Answer(1, True), Answer(2, False), Answer(3, False)]
    house.stall(10)
    house.say(b, CancelLater(4, "work", "u"))
    assert house.hear(b) == [Answer(4, False)]
    assert house.broker.waiting_count(house.now) == 1


def test_too_many_are_refused_and_a_flush_forgets_them(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raceway.layers.queues.DELAYED", 1)
    a = house.member(A)
    house.say(a, SendLater(1, "work", b"m", 60.0, 10.0, "t"), SendLater(2, "work", b"m", 60.0, 10.0, "u"))
    _, refused = house.hear(a)
    assert isinstance(refused, Refused)
    assert "delayed messages wait already" in refused.why
    house.say(a, Flush(3))
    assert house.broker.waiting_count(house.now) == 0


def test_what_is_due_waits_for_owners_that_had_another_broker(house: House) -> None:
    a = house.member(A, resumed=True)
    house.say(a, SendLater(0, f"x.{B}!1", b"late", 60.0, SETTLE_S / 2, "t"))
    house.advance(SETTLE_S * 0.75)
    b = house.member(B, resumed=True)
    house.say(b, Own())
    assert house.hear(b) == []
    house.advance(SETTLE_S)
    assert house.hear(b) == [Deliver(f"x.{B}!1", b"late")]
