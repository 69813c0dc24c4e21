"""What a member says, and whom it tells what, through any number of brokers: no sockets, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raceway.errors import ChannelFull, LayerUnavailable
from raceway.layers.local.broker import SETTLE_S
from raceway.layers.local.member import (
    ANSWER_S,
    CONNECT_S,
    FIRST_RETRY_S,
    LONGEST_RETRY_S,
    WAITING_ASKS,
    Connect,
    Drop,
    Effect,
    Member,
    Missed,
    NoBroker,
    Settled,
    Short,
)
from raceway.layers.local.names import KeptNames
from raceway.layers.local.wire import (
    AddNamed,
    Answer,
    Beat,
    Cancel,
    Count,
    DiscardNamed,
    Enter,
    Exit,
    GiveBack,
    Hello,
    Listen,
    Own,
    Refused,
    Send,
    Subscribe,
    Take,
    Taken,
    Unlisten,
    Unsubscribe,
    Welcome,
)

LEASE_S = 15.0


def make(random: float = 1.0, now: float = 0.0) -> Member[str]:
    return Member("me", "/tmp/s", lambda: random, now)


def up(now: float = 0.0) -> Member[str]:
    """A member that a broker has welcomed."""
    member = make(now=now)
    member.connected(now)
    assert member.take_said() == [Hello("me")]
    member.welcome(Welcome("first", LEASE_S), now)
    return member


def again(member: Member[str], now: float, name: str = "second") -> list[Any]:
    """What the next broker hears."""
    member.connected(now)
    said = member.take_said()
    member.welcome(Welcome(name, LEASE_S), now)
    return said


def sending(n: int) -> Send:
    return Send(n, "work", b"e", 3, 60)


# Asking


def test_an_answer_is_told_to_who_asked() -> None:
    member = up()
    assert member.ask(sending, "a", 0) == 1
    assert member.ask(lambda n: Count(n, "g"), "b", 0) == 2
    assert member.take_said() == [sending(1), Count(2, "g")]
    assert member.answer(Answer(2, 7)) == [Settled("b", 7)]
    assert member.answer(Answer(1, None)) == [Settled("a")]
    assert member.answer(Answer(1, None)) == []


def test_processes_that_did_not_answer_are_told_of() -> None:
    member = up()
    n = member.ask(lambda n: Count(n, "g"), "a", 0)
    assert member.answer(Answer(n, 7, missing=2)) == [Short(2), Settled("a", 7)]


def test_a_full_channel_is_an_error_that_says_so() -> None:
    member = up()
    [settled] = member.answer(Refused(member.ask(sending, "a", 0), "full"))
    assert isinstance(settled, Settled)
    assert isinstance(settled.error, ChannelFull)
    assert str(settled.error) == "The channel 'work' holds 3 messages already."


def test_any_other_refusal_says_why() -> None:
    member = up()
    [settled] = member.answer(Refused(member.ask(lambda n: Count(n, "g"), "a", 0), "the answer is too large"))
    assert isinstance(settled, Settled)
    assert isinstance(settled.error, LayerUnavailable)
    assert str(settled.error) == "The broker refused a Count: the answer is too large."


def test_a_request_that_was_heard_fails_with_its_broker_and_is_never_said_again() -> None:
    member = up()
    member.ask(sending, "a", 0)
    member.take_said()
    [settled] = member.lost("The broker has ended", 1)
    assert isinstance(settled, Settled)
    assert isinstance(settled.error, LayerUnavailable)
    assert (
        str(settled.error) == "The broker has ended; whether it had done what it was asked for is not known."
    )
    assert again(member, 1) == [Hello("me", resumed=True)]


def test_a_request_that_waited_for_a_broker_is_said_to_one_only() -> None:
    member = make()
    member.ask(sending, "a", 0)
    assert sending(1) in again(member, 0.1)
    [settled] = member.lost("gone", 0.2)
    assert isinstance(settled, Settled)
    assert isinstance(settled.error, LayerUnavailable)
    assert again(member, 0.3) == [Hello("me", resumed=True)]


def test_a_request_of_which_nothing_was_written_goes_to_the_next_broker() -> None:
    member = up()
    member.ask(sending, "written", 0)
    member.ask(sending, "not written", 0)
    [settled] = member.lost("Broken pipe", 1, written_n=1)
    assert isinstance(settled, Settled)
    assert settled.waiter == "written"
    assert again(member, 1) == [Hello("me", resumed=True), sending(2)]


def test_a_request_that_nobody_has_heard_waits_a_moment_for_a_broker() -> None:
    member = make()
    n = member.ask(sending, "a", 0)
    assert member.take_said() == []
    assert again(member, CONNECT_S / 2) == [Hello("me"), sending(n)]
    assert member.answer(Answer(n, None)) == [Settled("a")]


def test_without_a_broker_requests_fail_joins_go_on_and_nobody_waits_again() -> None:
    member = make()
    member.refused(0)
    member.ask(sending, "request", 0)
    member.ask(lambda n: Take(n, "work"), "take", 0)
    member.subscribe("g", 0)
    assert member.must_wait("g")
    member.wait("g", "join")
    assert member.enter("p", "1", "c!1", {}, 0, "presence", 0) == []
    assert Connect() in member.wake(CONNECT_S / 2)
    effects = [one for one in member.wake(CONNECT_S) if isinstance(one, Settled)]
    errors = {one.waiter: type(one.error) for one in effects}
    assert errors == {"request": NoBroker, "take": NoBroker, "join": type(None), "presence": type(None)}
    with pytest.raises(LayerUnavailable, match="No broker is running at /tmp/s: start the server"):
        member.ask(sending, "later", CONNECT_S)
    member.subscribe("h", CONNECT_S)
    assert not member.must_wait("h")
    assert member.enter("p", "1", "c!2", {}, 0, "later", CONNECT_S) == [Settled("later")]


def test_requests_are_bounded() -> None:
    member = up()
    for _ in range(WAITING_ASKS):
        member.ask(sending, "a", 0)
    with pytest.raises(LayerUnavailable, match="100000 requests wait"):
        member.ask(sending, "a", 0)


# What stands


def test_a_new_broker_hears_again_what_stands() -> None:
    member = up()
    member.own()
    member.own()
    member.subscribe("g", 0)
    member.subscribe("left", 0)
    member.unsubscribe("left")
    member.listen("work")
    member.listen("done")
    member.unlisten("done")
    take = member.ask(lambda n: Take(n, "p!"), "take", 0)
    member.enter("p", "1", "c!1", {"a": 1}, 15.0, "enter", 0)
    member.enter("q", "1", "c!1", {}, 15.0, "other", 0)
    assert member.exit("q", "c!1") == [Settled("other")]
    assert member.exit("q", "c!1") == member.exit(None, "c!2") == []
    entered = Enter(take + 1, "p", "1", "c!1", {"a": 1}, 15.0)
    assert member.take_said() == [
        Own(),
        Subscribe(1, ["g"]),
        Subscribe(2, ["left"]),
        Unsubscribe(["left"]),
        Listen(0, "work"),
        Listen(0, "done"),
        Unlisten("done"),
        Take(take, "p!"),
        entered,
        Enter(take + 2, "q", "1", "c!1", {}, 15.0),
        Exit(0, "q", "c!1"),
    ]
    assert [one for one in member.lost("gone", 1) if isinstance(one, Settled)] == []
    assert again(member, 1) == [
        Hello("me", resumed=True),
        Own(),
        Subscribe(take + 3, ["g"]),
        Listen(0, "work"),
        entered,
        Take(take, "p!"),
    ]
    taken = Taken(take, "p!a", b"e", 9.0)
    assert member.answer(taken) == [Settled("take", taken)]
    assert member.answer(Answer(take + 1, None)) == [Settled("enter")]


def test_metadata_that_were_replaced_are_not_said_again_and_nobody_waits_for_them() -> None:
    member = make()
    assert member.enter("p", "1", "c!1", {"a": 1}, 0, "first", 0) == []
    assert member.enter("p", "1", "c!1", {"a": 2}, 0, "second", 0) == [Settled("first")]
    assert again(member, 0) == [Hello("me"), Enter(2, "p", "1", "c!1", {"a": 2}, 0)]
    assert member.answer(Answer(2, None)) == [Settled("second")]


def test_what_was_taken_back_while_there_was_no_broker_is_not_said() -> None:
    member = up()
    member.subscribe("g", 0)
    member.listen("work")
    member.enter("p", "1", "c!1", {}, 0, "enter", 0)
    take = member.ask(lambda n: Take(n, "work"), "take", 0)
    member.lost("gone", 0)
    member.unsubscribe("g")
    member.unlisten("work")
    member.exit(None, "c!1")
    member.cancel(take)
    assert again(member, 0) == [Hello("me", resumed=True)]


def add_named(member: Member[str], channel: str, until: float, now: float) -> None:
    n = member.ask(lambda n: AddNamed(n, "g", channel, until, 3), channel, now)
    member.answer(Answer(n, None))


def test_named_channels_of_groups_are_heard_again_by_the_next_broker_until_they_end() -> None:
    member = up()
    for channel in ("ends", "stays", "goes"):
        add_named(member, channel, 5.0 if channel == "ends" else 50.0, 0)
    n = member.ask(lambda n: DiscardNamed(n, "g", "goes"), "discard", 0)
    member.answer(Answer(n, None))
    refused = member.ask(lambda n: AddNamed(n, "g", "refused", 50.0, 3), "refused", 0)
    member.answer(Refused(refused, "x"))
    unanswered = member.ask(lambda n: AddNamed(n, "g", "unanswered", 50.0, 3), "unanswered", 0)
    assert unanswered
    member.take_said()
    member.lost("gone", 6)
    assert member.deadline is not None  # it looks for the next one
    assert again(member, 6) == [Hello("me", resumed=True)]
    assert member.take_said() == [AddNamed(0, "g", "stays", 50.0, 3)]
    member.lost("gone", 7)
    member.wake(51)
    assert member.deadline is None


def test_of_one_process_one_member_says_the_names_and_to_a_broker_that_knows_them_nobody_does() -> None:
    names = KeptNames()
    one, other = (Member[str]("me", "/tmp/s", lambda: 1.0, 0.0, names) for _ in range(2))
    for member in (one, other):
        again(member, 0, "first")
    add_named(one, "work", 50.0, 0)
    one.take_said()
    for member in (one, other):
        member.lost("gone", 1)
    assert again(other, 1, "first") == [Hello("me", resumed=True)]
    assert other.take_said() == []
    again(one, 1, "second")
    assert one.take_said() == [AddNamed(0, "g", "work", 50.0, 3)]
    other.lost("gone", 2)
    again(other, 2, "second")
    assert other.take_said() == []


def test_the_names_that_a_process_keeps_are_bounded_and_it_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = KeptNames(limit=2)
    for number in range(5):
        names.add("g", f"c{number}", 50.0, 3)
    assert [name.channel for name in names.for_broker("next", 0)] == ["c3", "c4"]
    assert [record.message[:41] for record in caplog.records] == ["This process has added more than 2 named "]


def test_a_member_without_anything_that_stands_does_not_look_for_a_broker() -> None:
    member = up()
    member.lost("gone", 1)
    assert member.deadline is None
    member.subscribe("g", 2)
    assert member.deadline is not None


# Taking


def test_a_cancelled_take_gives_back_what_was_on_its_way() -> None:
    member = up()
    take = member.ask(lambda n: Take(n, "work"), "take", 0)
    member.cancel(take)
    assert member.take_said() == [Take(take, "work"), Cancel(take)]
    assert member.answer(Taken(take, "work", b"e", 9.0)) == []
    assert member.take_said() == [GiveBack("work", b"e", 9.0, take)]


@pytest.mark.parametrize("listened", ["p!1", "p!"])
def test_what_comes_for_a_cancelled_take_is_for_who_waits_here_for_the_same(listened: str) -> None:
    member = up()
    takes = [member.ask(lambda n, name=name: Take(n, name), name, 0) for name in (listened, "q!", listened)]
    member.cancel(takes[0])
    member.take_said()
    first, second = (Taken(n, "p!1", message, 9.0) for n, message in ((takes[0], b"1"), (takes[2], b"2")))
    assert member.answer(first) == [Settled(listened, first)]
    assert member.take_said() == [Cancel(takes[2])]
    assert member.answer(second) == []
    assert member.take_said() == [GiveBack("p!1", b"2", 9.0, takes[2])]


def test_a_take_that_nobody_has_heard_needs_no_cancel() -> None:
    member = make()
    member.cancel(member.ask(lambda n: Take(n, "work"), "take", 0))
    assert again(member, 0) == [Hello("me")]


# Joins and gaps


def test_a_join_waits_for_the_answer_to_its_subscription() -> None:
    member = up()
    member.subscribe("g", 0)
    assert member.must_wait("g")
    member.wait("g", "first")
    member.wait("g", "second")
    assert member.answer(Answer(1, None)) == [Settled("first"), Settled("second")]
    assert not member.must_wait("g")


def test_a_join_whose_group_is_left_meanwhile_does_not_wait_for_ever() -> None:
    member = up()
    member.subscribe("g", 0)
    member.wait("g", "join")
    assert member.unsubscribe("g") == [Settled("join")]
    member.subscribe("g", 0)
    member.wait("g", "second")
    assert member.answer(Answer(1, None)) == []
    assert member.answer(Answer(2, None)) == [Settled("second")]


def test_a_gap_is_told_once_and_after_all_groups_are_subscribed_again() -> None:
    member = up()
    member.subscribe("g", 0)
    member.answer(Answer(1, None))
    member.lost("first reason", 1)
    again(member, 1)
    member.lost("second reason", 2)
    [_, subscribe] = again(member, 2)
    assert isinstance(subscribe, Subscribe)
    assert member.answer(Answer(subscribe.n, None)) == [Missed("first reason")]
    member.subscribe("h", 3)
    assert member.answer(Answer(subscribe.n + 1, None)) == []


def test_many_groups_are_heard_again_in_bounded_frames_and_the_gap_follows_the_last() -> None:
    member = up()
    for number in range(10_001):
        member.subscribe(f"g{number}", 0)
    member.lost("gone", 0)
    [_, first, second] = again(member, 0)
    assert isinstance(first, Subscribe)
    assert isinstance(second, Subscribe)
    assert (len(first.groups), len(second.groups)) == (10_000, 1)
    assert member.answer(Answer(first.n, None)) == []
    assert member.answer(Answer(second.n, None)) == [Missed("gone")]


def test_who_was_in_no_group_has_missed_nothing() -> None:
    member = up()
    member.listen("work")
    member.lost("gone", 0)
    again(member, 0)
    member.subscribe("g", 0)
    assert member.answer(Answer(1, None)) == []


def test_who_joined_without_a_broker_has_missed_something_when_one_comes() -> None:
    for joined_at in (0.0, CONNECT_S):
        member = make()
        if not joined_at:
            member.subscribe("g", 0)
        member.wake(CONNECT_S)
        if joined_at:
            member.subscribe("g", CONNECT_S)
        [_, subscribe] = again(member, 60)
        assert isinstance(subscribe, Subscribe)
        assert member.answer(Answer(subscribe.n, None)) == [Missed("There was no broker at /tmp/s")]


def test_what_was_missed_in_a_group_that_was_left_is_no_gap_for_who_joins_later() -> None:
    member = up()
    member.subscribe("g", 0)
    member.lost("gone", 1)
    member.unsubscribe("g")
    again(member, 1.1)
    member.lost("gone", 2)
    member.subscribe("h", 2)
    [_, subscribe] = again(member, 2.1)
    assert member.answer(Answer(subscribe.n, None)) == []


def test_who_joined_a_moment_before_the_broker_came_has_missed_nothing() -> None:
    member = make()
    member.subscribe("g", 0)
    member.wait("g", "join")
    again(member, CONNECT_S / 2)
    assert member.answer(Answer(1, None)) == [Settled("join")]


# Time


@pytest.mark.parametrize("lease_s", [15.0, 3.0])
def test_it_beats_when_a_third_of_the_lease_has_passed(lease_s: float) -> None:
    member = make()
    member.connected(0)
    member.welcome(Welcome("first", lease_s), 0)
    beats = []
    now = 0.0
    while now < 60:
        assert member.deadline is not None
        assert member.deadline > now
        now = member.deadline
        assert member.wake(now) == []
        beats += [now for frame in member.take_said() if frame == Beat()]
    assert beats == [lease_s / 3 * number for number in range(1, round(180 / lease_s) + 1)]


def test_it_looks_for_a_broker_ever_more_rarely_and_not_all_at_the_same_moment() -> None:
    def tries(random: float) -> list[float]:
        member = make(random)
        member.own()
        found = []
        while len(found) < 12:
            assert member.deadline is not None
            now = member.deadline
            if Connect() in member.wake(now):
                found.append(now)
                member.refused(now)
        return [later - earlier for earlier, later in pairwise(found)]

    pauses = tries(1.0)
    assert pauses[0] == pytest.approx(FIRST_RETRY_S)
    assert pauses[-1] == pytest.approx(LONGEST_RETRY_S)
    assert sorted(pauses, key=lambda pause: round(pause, 6)) == pauses
    assert tries(0.0)[-1] == pytest.approx(LONGEST_RETRY_S / 2)


@pytest.mark.parametrize(
    "want",
    [
        lambda member: member.ask(sending, "a", 0),
        lambda member: member.own(),
        lambda member: member.subscribe("g", 0),
        lambda member: member.listen("work"),
        lambda member: member.enter("p", "1", "c!1", {}, 0, "a", 0),
    ],
    ids=["ask", "own", "subscribe", "listen", "enter"],
)
def test_whoever_wants_something_of_a_broker_looks_for_one(want: Callable[[Member[str]], object]) -> None:
    member = make()
    assert member.deadline is None
    want(member)
    assert member.deadline == 0


def test_who_loses_a_broker_looks_for_the_next_at_once_and_has_patience_anew() -> None:
    member = make()
    member.own()
    member.wake(CONNECT_S)  # it has given up once
    again(member, 100)
    member.lost("gone", 200)
    assert member.deadline == 200
    assert member.wake(200) == [Connect()]
    member.refused(200)
    member.ask(sending, "a", 200.5)
    effects: list[Effect[str]] = []
    now = 200.5
    while not any(isinstance(effect, Settled) for effect in effects):
        assert member.deadline is not None
        now = max(now, member.deadline)
        effects = member.wake(now)
        if Connect() in effects:
            member.refused(now)
    assert now == 200 + CONNECT_S


@pytest.mark.parametrize("what", ["request", "join", "greeting", "greeting after another broker"])
def test_a_broker_that_does_not_answer_counts_as_lost(what: str) -> None:
    member = up() if what != "greeting" else make()
    if what == "request":
        member.ask(sending, "a", 0)
    elif what == "join":
        member.subscribe("g", 0)
    else:
        if member.is_up:
            member.own()
            member.lost("gone", 0)
        member.connected(0)
    assert member.deadline == ANSWER_S
    [drop] = member.wake(ANSWER_S)
    assert isinstance(drop, Drop)
    assert drop.why == "The broker at /tmp/s has not answered for 5 s"


def test_what_one_broker_did_not_answer_is_not_held_against_the_next() -> None:
    member = up()
    member.subscribe("g", 0)
    member.lost("gone", 1)
    [_, subscribe] = again(member, 1)
    assert member.answer(Answer(subscribe.n, None)) == [Missed("gone")]
    for beat in range(1, 10):
        assert member.wake(1 + 5.0 * beat) == []


def test_a_take_may_wait_for_ever() -> None:
    member = up()
    member.ask(lambda n: Take(n, "work"), "take", 0)
    for beat in range(1, 10):
        assert member.wake(5.0 * beat) == []


@pytest.mark.parametrize("without_s", [0.1, 1.0, 10.0, 100.0])
def test_a_new_broker_is_found_before_it_says_who_is_present(without_s: float) -> None:
    member = up()
    member.own()
    member.lost("gone", 0)
    now = 0.0
    while now < without_s:
        if Connect() in member.wake(now):
            member.refused(now)
        assert member.deadline is not None
        now = member.deadline
    while Connect() not in member.wake(now):
        assert member.deadline is not None
        now = member.deadline
    assert now - without_s <= 0.8 * SETTLE_S


def test_a_take_stands_however_long_there_is_no_broker() -> None:
    member = up()
    n = member.ask(lambda n: Take(n, "work"), "take", 0)
    member.lost("gone", 1)
    assert member.wake(1 + CONNECT_S) == [Connect()]
    assert Take(n, "work") in again(member, 60)
    taken = Taken(n, "work", b"e", 90.0)
    assert member.answer(taken) == [Settled("take", taken)]


def test_a_broker_that_ends_each_connection_is_not_asked_without_a_pause() -> None:
    member = make()
    member.own()
    now, tries = 0.0, 0
    while now < 30:
        if Connect() in member.wake(now):
            tries += 1
            member.connected(now)
            member.lost("It speaks another version", now)
        assert member.deadline is not None
        now = member.deadline
    assert tries < 50


def test_a_broker_that_never_answers_does_not_keep_joins_waiting() -> None:
    member = up()
    member.lost("stuck", 0)
    member.subscribe("g", 0)
    member.connected(0)
    member.wait("g", "join")
    assert [type(one) for one in member.wake(ANSWER_S)] == [Drop]
    member.lost("stuck", ANSWER_S)
    assert Settled("join") in member.wake(ANSWER_S + LONGEST_RETRY_S)
    member.connected(20)
    assert not member.must_wait("g")


def test_who_asked_a_broker_that_never_welcomed_is_told_when_it_goes() -> None:
    member = make()
    member.own()
    member.wake(CONNECT_S)
    member.connected(2)
    member.enter("p", "1", "c!1", {}, 0, "presence", 2)
    member.ask(sending, "request", 2)
    effects = member.lost("gone", 3, written_n=0)
    errors = {one.waiter: type(one.error) for one in effects if isinstance(one, Settled)}
    assert errors == {"presence": type(None), "request": NoBroker}


# Any order of events

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "connect",
                "welcome",
                "refuse",
                "lose",
                "pass",
                "send",
                "take",
                "cancel",
                "join",
                "leave",
                "answer",
                "enter",
                "exit",
            ]
        ),
        st.integers(0, 3),
    ),
    min_size=15,  # shorter ones seldom get to a second broker
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(ACTIONS)
def test_in_any_order_each_waiter_is_told_once_and_no_request_is_said_twice(
    actions: list[tuple[str, int]],
) -> None:
    member: Member[int] = Member("me", "/tmp/s", lambda: 0.5, 0.0)
    now = 0.0
    waiting: dict[int, str] = {}
    settled: Counter[int] = Counter()
    asked: list[Any] = []  # of this broker
    said: Counter[int] = Counter()

    def heed(effects: list[Effect[int]]) -> None:
        for effect in effects:
            if isinstance(effect, Settled):
                settled[effect.waiter] += 1
            elif isinstance(effect, Drop):
                asked.clear()
                heed(member.lost(effect.why, now))

    def listen() -> None:
        for frame in member.take_said():
            n = getattr(frame, "n", 0)
            if n:
                asked.append(frame)
            if isinstance(frame, Send):
                said[n] += 1

    for last, (action, number) in enumerate(actions):
        now += 0.01
        if action == "connect" and not member.is_up:
            member.connected(now)
        elif action == "welcome" and member.is_up:
            member.welcome(Welcome("b", LEASE_S), now)
        elif action == "refuse" and not member.is_up:
            member.refused(now)
        elif action == "lose" and member.is_up:
            asked.clear()
            heed(member.lost("lost", now))
        elif action == "pass":
            now += number
            heed(member.wake(now))
        elif action in ("send", "take"):
            try:
                make_frame: Any = sending if action == "send" else lambda n: Take(n, "work")
                waiting[last] = action
                member.ask(make_frame, last, now)
            except LayerUnavailable:
                del waiting[last]
        elif action == "cancel":
            for n, ask in list(member._asks.items())[:1]:
                if isinstance(ask.frame, Take):
                    member.cancel(n)
                    waiting.pop(ask.waiter)
        elif action == "join":
            if str(number) not in member._groups:
                member.subscribe(str(number), now)
            if member.must_wait(str(number)):
                waiting[last] = action
                member.wait(str(number), last)
        elif action == "leave":
            heed(member.unsubscribe(str(number)))
        elif action == "enter":
            waiting[last] = action
            heed(member.enter("p", "1", f"c!{number}", {}, 0, last, now))
        elif action == "exit":
            heed(member.exit(None, f"c!{number}"))
        elif action == "answer" and asked and member.is_up:
            frame = asked.pop(0)
            taken = Taken(frame.n, "work", b"e", 9.0)
            heed(member.answer(taken if isinstance(frame, Take) else Answer(frame.n, None)))
        listen()

    if member.is_up and len(actions) % 2:
        heed(member.lost("the end", now, written_n=member.last_n // 2))
    if member.is_up:  # a broker that answers all that it heard is never lost
        member.welcome(Welcome("b", LEASE_S), now)
        for frame in asked:
            if not isinstance(frame, Take):
                heed(member.answer(Answer(frame.n, None)))
        listen()
        assert not any(isinstance(effect, Drop) for effect in member.wake(now + 2 * ANSWER_S))
        heed(member.lost("the end", now))
    now += 1
    now += CONNECT_S
    heed(member.wake(now))
    now += CONNECT_S
    heed(member.wake(now))
    assert all(times == 1 for times in said.values())
    assert all(times == 1 for times in settled.values())
    still = {waiter: kind for waiter, kind in waiting.items() if waiter not in settled}
    assert set(still.values()) <= {"take"}, "somebody waits for ever"
