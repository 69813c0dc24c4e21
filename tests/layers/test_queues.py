from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raceway.layers.queues import Delayed, NamedMembers, Queues

pytestmark = pytest.mark.pure

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(["a", "p!1", "p!2"]), st.integers(1, 5)),
        st.tuples(st.just("pop"), st.sampled_from(["a", "p!1", "p!2", "p!"]), st.just(0)),
        st.tuples(st.just("back"), st.just(""), st.integers(-1, 0)),
        st.tuples(st.just("wait"), st.just(""), st.integers(1, 3)),
    ),
    max_size=60,
)


@given(STEPS)
def test_messages_come_in_order_once_and_in_time(steps: list[tuple[str, str, int]]) -> None:
    """Against a plain list that is looked through from the beginning for every question."""
    queues = Queues(0)
    waiting: deque[tuple[str, bytes, float]] = deque()
    taken: list[tuple[str, bytes, float]] = []
    put_back: set[bytes] = set()
    now = 0.0
    for number, (step, channel, seconds) in enumerate(steps):
        if step == "wait":
            now += seconds
        waiting = deque(one for one in waiting if one[2] > now)
        if step == "put":
            room = sum(one[0] == channel for one in waiting) < 3
            # Expiry is one for all, as it is in a layer: the first that came is the first to go.
            encoded = b"%d" % number
            assert queues.put(channel, encoded, now, now + 4, 3) is room
            if room:
                waiting.append((channel, encoded, now + 4))
        elif step == "pop":
            found = next((one for one in waiting if one[0].startswith(channel)), None)
            popped = queues.pop(channel, now)
            assert (popped and popped[1:3]) == (found and found[:2])
            if found:
                waiting.remove(found)
                taken.append(found)
        elif step == "back" and taken:
            returned = taken.pop(seconds)
            queues.put_back(returned[0], returned[1], now, returned[2])
            if returned[2] > now:
                sooner = [one for one in waiting if one[1] in put_back and one[2] <= returned[2]]
                waiting = deque([*sooner, returned, *(one for one in waiting if one not in sooner)])
                put_back.add(returned[1])
    now += 100
    assert queues.figures(None, now)["messages_pending"] == 0
    assert len(queues) == 0


def test_what_was_put_back_is_next_even_in_a_full_queue() -> None:
    queues = Queues(0)
    queues.put("a", b"1", 0, 60, 1)
    first = queues.pop("a", 0)
    assert first is not None
    queues.put("a", b"2", 0, 60, 1)
    queues.put_back("a", first.encoded, 1, first.expires_at)
    assert queues.take_all("a", 1) == [b"1", b"2"]


@pytest.mark.parametrize("prefixed", [False, True])
def test_what_is_put_back_one_by_one_keeps_its_order(prefixed: bool) -> None:
    queues = Queues(0)
    names = ["p!1", "p!2", "p!1", "p!3"] if prefixed else ["a"] * 4
    for number, name in enumerate(names):
        queues.put(name, b"%d" % number, number, number + 60, 4)
    taken = [queues.pop("p!" if prefixed else "a", 5) for _ in range(3)]
    for one in taken:
        assert one is not None
        queues.put_back(one.channel, one.encoded, 5, one.expires_at)
    found = [queues.pop("p!" if prefixed else "a", 5) for _ in range(4)]
    assert [one and one.encoded for one in found] == [b"0", b"1", b"2", b"3"]


def test_named_members_end_one_by_one() -> None:
    members = NamedMembers()
    members.add("g", "a", 10, 100, 0)
    members.add("g", "b", 20, 5, 0)
    members.add("g", "a", 30, 100, 5)
    assert members.channels("g", 9) == {"b": 5, "a": 100}
    assert members.channels("g", 20) == {"a": 100}
    members.discard("g", "a")
    members.discard("g", "a")
    assert len(members) == 0


def test_groups_that_nobody_asks_for_do_not_stay() -> None:
    members = NamedMembers()
    for number in range(100):
        members.add(f"dead.{number}", "a", 10, 1, 0)
    for _ in range(60):
        members.add("alive", "a", 100, 1, 11)
    assert len(members) == 1


def test_a_lost_message_is_counted_in_all_and_for_a_while_under_its_channel() -> None:
    queues = Queues(0)
    queues.put("work", b"", 0, 60, 9)
    queues.pop("work", 1)
    queues.lose("work", now=70, kept_s=60)
    assert queues.figures("work", 100)["messages_lost_count"] == 1
    assert queues.figures("other", 100)["messages_lost_count"] == 0
    assert queues.figures("work", 140)["messages_lost_count"] == 0
    assert queues.figures(None, 140)["messages_lost_count"] == 1
    assert len(queues) == 0


DELAYED_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(["a", "b"]), st.integers(0, 5)),
        st.tuples(st.just("cancel"), st.sampled_from(["a", "b"]), st.integers(0, 20)),
        st.tuples(st.just("wait"), st.just(""), st.integers(0, 3)),
    ),
    max_size=60,
)


@given(DELAYED_STEPS)
def test_what_waits_for_its_time_comes_when_due_unless_cancelled(steps: list[tuple[str, str, int]]) -> None:
    """Against a plain list that is sorted for every question."""
    delayed: Delayed[int] = Delayed()
    waiting: list[tuple[float, int, str]] = []
    now = 0.0
    for number, (step, channel, amount) in enumerate(steps):
        if step == "add":
            assert delayed.add(channel, str(number), number, now + amount, 100)
            waiting.append((now + amount, number, channel))
        elif step == "cancel":
            found = [one for one in waiting if one[1:] == (amount, channel)]
            assert delayed.cancel(channel, str(amount)) is bool(found)
            waiting = [one for one in waiting if one not in found]
        else:
            now += amount
            due = sorted(one for one in waiting if one[0] <= now)
            assert [(later.due_at, later.payload, later.channel) for later in delayed.take_due(now)] == due
            waiting = [one for one in waiting if one not in due]
        assert delayed.deadline == min((one[0] for one in waiting), default=None)
        assert len(delayed) == len(waiting)


def test_what_has_expired_since_it_was_due_does_not_come() -> None:
    delayed: Delayed[str] = Delayed()
    delayed.add("work", "1", "old", due_at=10, expiry_s=5)
    delayed.add("work", "2", "young", due_at=12, expiry_s=5)
    (later,) = delayed.take_due(15)
    assert (later.payload, later.expires_at) == ("young", 17)


def test_only_so_many_wait_for_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raceway.layers.queues.DELAYED", 2)
    delayed: Delayed[int] = Delayed()
    assert [delayed.add("work", str(n), n, 10, 60) for n in range(3)] == [True, True, False]
    delayed.cancel("work", "0")
    assert delayed.add("work", "3", 3, 10, 60)


def test_cancelled_ones_leave_nothing_behind() -> None:
    delayed: Delayed[int] = Delayed()
    for number in range(1000):
        delayed.add("work", str(number), number, 10, 60)
    for number in range(999):
        delayed.cancel("work", str(number))
    assert len(delayed._order) <= 2
    delayed.clear()
    assert (len(delayed), delayed.deadline, delayed.take_due(99)) == (0, None, [])
