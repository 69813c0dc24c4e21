"""Whatever members say, in whatever order: nothing crosses twice, nothing overtakes, and the dead leave nothing."""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from raceway.layers.local.broker import Broker
from raceway.layers.local.wire import (
    Asked,
    Cancel,
    CancelLater,
    Count,
    Deliver,
    Done,
    Enter,
    Exit,
    Flush,
    FromMember,
    GiveBack,
    Join,
    Listen,
    Members,
    Own,
    Publish,
    Reply,
    Roll,
    Send,
    SendLater,
    Subscribe,
    Take,
    Taken,
    Unlisten,
    Unsubscribe,
)
from raceway.layers.roster import Roster
from raceway.layers.spec import non_local_name
from tests.layers.local.members import LEASE_S, A, B, C, House

PROCESSES = (A, B, C)
GROUPS = ("g", "h")
CHANNELS = ("work", "play", "p!1", "p!2")
LISTENED = (*CHANNELS, "p!")

moves = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("come", "go", "subscribe", "subscribe", "unsubscribe", "publish", "publish"),
                *(
                    "send",
                    "send",
                    "send",
                    "take",
                    "take",
                    "cancel",
                    "give back",
                    "give back",
                    "done",
                    "listen",
                    "unlisten",
                ),
            ]
        ),
        st.integers(0, 9),
        st.integers(0, 9),
    ),
    min_size=20,
    max_size=80,
)


class Play:
    """Members that do as they are told, and what has to hold after each move."""

    def __init__(self) -> None:
        self.house = House()
        self.processes: dict[int, str] = {}
        self.subscribed: set[tuple[int, str]] = set()
        self.listening: set[tuple[int, str]] = set()
        self.taking: dict[tuple[int, int], str] = {}
        self.taken: dict[int, list[Taken]] = {}
        self.waiting: dict[str, deque[bytes]] = {channel: deque() for channel in CHANNELS}
        self.given_back: set[bytes] = set()
        self.wants_hold: set[tuple[int, int]] = set()
        self.held: set[tuple[int, int]] = set()
        """What is in the hands of members, by member and take."""
        self.lost = 0
        self.numbers = count(1)
        for process in range(3):
            self.move("come", 0, process)

    def move(self, what: str, who: int, which: int) -> None:
        if what == "come":
            process = PROCESSES[which % len(PROCESSES)]
            self.processes[self.house.member(process)] = process
            return
        if not self.processes:
            return
        member = list(self.processes)[who % len(self.processes)]
        number = next(self.numbers)
        group, channel = GROUPS[which % len(GROUPS)], CHANNELS[which % len(CHANNELS)]
        say = self.house.say
        if what == "go":
            self.house.leave(member)
            del self.processes[member]
            self.subscribed = {one for one in self.subscribed if one[0] != member}
            self.listening = {one for one in self.listening if one[0] != member}
            self.taking = {one: listened for one, listened in self.taking.items() if one[0] != member}
            self.taken.pop(member, None)
            self.lost += sum(holder == member for holder, _ in self.held)
            self.held = {one for one in self.held if one[0] != member}
        elif what == "subscribe":
            self.subscribed.add((member, group))
            say(member, Subscribe(0, [group]))
        elif what == "unsubscribe":
            self.subscribed.discard((member, group))
            say(member, Unsubscribe([group]))
        elif what == "publish":
            self.publish(member, group, b"%d" % number)
        elif what == "send":
            self.waiting[channel].append(b"%d" % number)
            say(member, Send(0, channel, b"%d" % number, 1000, 60.0))
        elif what == "take":
            listened = LISTENED[which % len(LISTENED)]
            self.taking[member, number] = listened
            hold = which % 2 == 0
            if hold:
                self.wants_hold.add((member, number))
            say(member, Take(number, listened, hold))
        elif what == "cancel" and self.taking:
            member, number = list(self.taking)[which % len(self.taking)]
            del self.taking[member, number]
            say(member, Cancel(number))
        elif what == "give back" and self.taken.get(member):
            back = self.taken[member].pop(which % len(self.taken[member]))
            waiting = self.waiting[back.channel]
            waiting.insert(sum(one in self.given_back for one in waiting), back.message)
            self.given_back.add(back.message)
            self.held.discard((member, back.n))
            say(member, GiveBack(back.channel, back.message, back.expires_at, back.n))
        elif what == "done" and self.taken.get(member):
            used = self.taken[member].pop(which % len(self.taken[member]))
            self.held.discard((member, used.n))
            say(member, Done(used.n))
        elif what == "listen":
            self.listening.add((member, channel))
            say(member, Listen(0, channel))
        elif what == "unlisten":
            self.listening.discard((member, channel))
            say(member, Unlisten(channel))

    def publish(self, member: int, group: str, message: bytes) -> None:
        said = Publish(0, group, message, None, "close", 60.0)
        self.house.say(member, said)
        for other, process in self.processes.items():
            is_reached = process != self.processes[member] and (other, group) in self.subscribed
            assert self.house.hear(other) == [said] * is_reached

    def check(self) -> None:
        """A message is for one who wants it, and is the oldest of its channel; nobody waits for what is there."""
        for member in self.processes:
            for told in self.house.hear(member):
                assert isinstance(told, Taken | Deliver)
                assert self.waiting[told.channel].popleft() == told.message
                if isinstance(told, Taken):
                    assert self.taking.pop((member, told.n)) in (told.channel, non_local_name(told.channel))
                    self.taken.setdefault(member, []).append(told)
                    self.held |= self.wants_hold & {(member, told.n)}
                else:
                    assert (member, told.channel) in self.listening
        wanted = {*self.taking.values(), *(channel for _, channel in self.listening)}
        for channel, messages in self.waiting.items():
            assert not messages or wanted.isdisjoint({channel, non_local_name(channel)})
        assert self.house.dropped == {}
        assert sum(lost.number for lost in self.house.lost) == self.lost
        members = self.house.broker._members.values()
        assert {(member.id, n): name for member in members for n, name in member.takes.items()} == self.taking
        assert {(member.id, name) for member in members for name in member.groups} == self.subscribed
        assert {(member.id, name) for member in members for name in member.listens} == self.listening


@settings(max_examples=300, deadline=None)
@given(moves)
def test_each_message_goes_once_to_the_right_one_and_in_order(moves: list[tuple[str, int, int]]) -> None:
    """And when all have gone, nothing is left."""
    play = Play()
    for move in moves:
        play.move(*move)
        play.check()
    for member in [*play.processes]:
        play.move("go", 0, member)
    play.house.advance(60)
    cleaner = play.house.member()
    play.house.say(cleaner, Flush(0))
    play.house.leave(cleaner)
    assert remains(play.house.broker) == {}
    assert play.house.broker.deadline is None


def remains(broker: Broker) -> dict[str, object]:
    """What a broker holds that a fresh one does not."""
    return {
        name: value
        for name, value in vars(broker).items()
        if hasattr(value, "__len__") and not isinstance(value, str) and len(value)
    }


held = st.one_of(
    st.just(Own()),
    st.builds(Subscribe, st.integers(0, 3), st.lists(st.sampled_from(GROUPS))),
    st.builds(Unsubscribe, st.lists(st.sampled_from(GROUPS))),
    st.builds(Take, st.integers(100, 10**9), st.sampled_from(LISTENED), st.booleans()),
    st.builds(Done, st.integers(100, 130)),
    st.builds(Listen, st.integers(0, 3), st.sampled_from(CHANNELS)),
    st.builds(Unlisten, st.sampled_from(CHANNELS)),
    st.builds(Count, st.integers(0, 3), st.sampled_from(GROUPS)),
    st.builds(Members, st.integers(0, 3), st.sampled_from(GROUPS)),
    st.builds(Join, st.integers(0, 3), st.sampled_from(GROUPS), st.just(f"x.{A}!1"), st.booleans()),
    st.builds(Flush, st.integers(0, 3)),
    st.builds(
        Enter,
        st.integers(0, 3),
        st.sampled_from(GROUPS),
        st.sampled_from(["leela", "fry"]),
        st.sampled_from(["c!1", "c!2"]),
        st.just({}),
        st.sampled_from([0.0, 5.0]),
    ),
    st.builds(Exit, st.integers(0, 3), st.none() | st.sampled_from(GROUPS), st.sampled_from(["c!1", "c!2"])),
    st.builds(Roll, st.integers(0, 3), st.sampled_from(GROUPS)),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), held), min_size=5, max_size=30),
    st.sampled_from(["leaves", "is silent", "babbles"]),
)
def test_of_a_dead_member_nothing_is_left(said: list[tuple[bool, FromMember]], end: str) -> None:
    """However it dies, the other member and the broker are as if it had never been."""
    houses = House(), House()
    for has_other, house in enumerate(houses):
        dead = house.member(A)
        live = house.member(B)
        for number, (is_live, frame) in enumerate(said, 100):
            if isinstance(frame, Take):
                frame = replace(frame, n=number)
            elif isinstance(frame, Enter | Exit) and not is_live:
                frame = replace(frame, channel=f"of.the.dead.{frame.channel}")
            if is_live:
                house.say(live, frame)
            elif has_other and not isinstance(frame, Flush):
                house.say(dead, frame)
            # What was asked of the live one while the other was there has its answer.
            for told in house.hear(live):
                if isinstance(told, Asked):
                    house.say(live, Reply(told.n, {"count": 1, "members": ["c"]}.get(told.what)))
        if end == "leaves":
            house.leave(dead)
        elif end == "babbles":
            house.say_bytes(dead, b"?")
        house.advance(2 * LEASE_S, live)
        if end == "is silent" and dead not in house.dropped:
            house.leave(dead)  # a member that holds nothing may be silent
        house.advance(60, live)
    one, other = (state(house.broker, {}) for house in houses)
    assert one == other


COUNTED = {"_last_ask", "heard_at", "_look_at"}
"""What only counts, or says when something was."""


def state(value: Any, seen: dict[int, int]) -> object:
    """All that a value holds, however deep, in a form that can be compared."""
    if value is None or isinstance(value, int | float | str | bytes | type):
        return value
    if id(value) in seen:
        return seen[id(value)]
    seen[id(value)] = len(seen)
    if isinstance(value, Roster):
        return len(value), [value.roll(group) for group in GROUPS]
    if isinstance(value, dict):
        by_name = all(
            isinstance(key, str) for key in value
        )  # the order of tables means nothing, that in them does
        return [(key, state(one, seen)) for key, one in (sorted(value.items()) if by_name else value.items())]
    if isinstance(value, set):
        return sorted(value)
    if isinstance(value, list | tuple | deque):
        return [state(one, seen) for one in value]
    names = [*getattr(value, "__dict__", ()), *getattr(type(value), "__slots__", ())]
    return type(value).__name__, {
        name: state(getattr(value, name), seen) for name in names if name not in COUNTED
    }


later = st.one_of(
    st.builds(
        SendLater,
        st.integers(0, 3),
        st.sampled_from(CHANNELS),
        st.just(b"m"),
        st.just(60.0),
        st.sampled_from([0.5, 1.0, 20.0]),
        st.sampled_from("tuv"),
    ),
    st.builds(CancelLater, st.integers(0, 3), st.sampled_from(CHANNELS), st.sampled_from("tuv")),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), held | later | st.just(None)), max_size=30))
@example(
    [(0, Enter(0, "g", "leela", "c!1", {}, 0.0)), (0, None), (0, Take(100, "work")), (0, Take(100, "work"))]
)
def test_a_broker_never_wakes_for_nothing(said: list[tuple[int, FromMember | None]]) -> None:
    """``House.advance`` asserts that each deadline lies ahead, and goes by."""
    house = House()
    members = house.member(A), house.member(B)
    for who, frame in said:
        if frame is None:
            house.advance(1.7, members[0])
        elif members[who] not in house.dropped:
            house.say(members[who], frame)
    house.advance(60)
