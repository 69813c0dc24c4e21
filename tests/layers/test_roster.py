"""Who is there, as a value: against a model that is too simple to be wrong, and at its edges."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raceway.layers.roster import (
    DIFF_CONNECTIONS,
    DIFF_PER_MEMBER_S,
    DIFF_WINDOW_S,
    Change,
    Diff,
    Effect,
    Roster,
    presence_group,
)
from raceway.layers.spec import require_group_name
from tests.layers.work import steps

QUIET_S = 1.0
"""More than any window of the few members here."""


class Heard:
    """What signals and diffs have told, put together again."""

    def __init__(self) -> None:
        self.people: dict[str, dict[str, Any]] = {}
        self.signalled: dict[str, set[str]] = {}
        self.diff_at: dict[str, float] = {}

    def hear(self, effects: Iterable[Effect], now: float) -> None:
        for effect in effects:
            if isinstance(effect, Change):
                self._hear_change(effect)
            else:
                self._hear_diff(effect, now)

    def _hear_change(self, change: Change) -> None:
        signalled = self.signalled.setdefault(change.presence, set())
        assert change.metas
        if change.kind == "joined":
            assert change.key not in signalled
            signalled.add(change.key)
        else:
            signalled.remove(change.key)

    def _hear_diff(self, diff: Diff, now: float) -> None:
        people = self.people.setdefault(diff.presence, {})
        assert diff.joined or diff.changed or diff.left
        for key, metas in diff.joined.items():
            assert key not in people
            people[key] = metas
        for key, metas in diff.changed.items():
            assert people[key] != metas
            people[key] = metas
        for key, metas in diff.left.items():
            assert people.pop(key) == metas
        assert now - self.diff_at.get(diff.presence, -1) >= DIFF_WINDOW_S - 1e-9
        self.diff_at[diff.presence] = now


class Model:
    """The same by looking through everything each time."""

    def __init__(self) -> None:
        self.connections: dict[tuple[str, str], tuple[str, Any, float]] = {}
        self.until: dict[tuple[str, str], float] = {}
        self.last: dict[tuple[str, str], Any] = {}
        self.owners: dict[str, str] = {}
        """Of channels; those that changed hands last come last."""

    def metas(self, presence: str, key: str) -> list[Any]:
        return [
            meta
            for (name, _), (person, meta, _) in self.connections.items()
            if (name, person) == (presence, key)
        ]

    def enter(self, presence: str, key: str, channel: str, meta: Any, grace_s: float, owner: str, now: float):
        if self.owners.get(channel) != owner or not any(other == channel for _, other in self.connections):
            self.owners.pop(channel, None)
            self.owners[channel] = owner
        before = self.connections.get((presence, channel))
        if before is not None and before[0] != key:
            self.end(presence, channel, now, has_grace=False)
            if not any(other == channel for _, other in self.connections):  # it comes anew
                self.owners[channel] = self.owners.pop(channel)
        if not self.metas(presence, key):
            self.until[presence, key] = now
        self.connections[presence, channel] = key, meta, grace_s

    def end(self, presence: str, channel: str, now: float, has_grace: bool) -> None:
        key, meta, grace_s = self.connections.pop((presence, channel))
        if has_grace:
            self.until[presence, key] = max(self.until[presence, key], now + grace_s)
        self.last[presence, key] = meta

    def exit(self, presence: str | None, channel: str, now: float) -> None:
        for name, other in list(self.connections):
            if other == channel and presence in (None, name):
                self.end(name, channel, now, has_grace=presence is None)

    def forget_owner(self, owner: str, now: float) -> None:
        for channel in [channel for channel, its_owner in self.owners.items() if its_owner == owner]:
            self.exit(None, channel, now)

    def roll(self, presence: str, now: float) -> dict[str, Any]:
        roll = {}
        for (name, key), until in list(self.until.items()):
            if name == presence:
                metas = self.metas(name, key)
                if metas:
                    roll[key] = metas
                elif until > now:
                    roll[key] = [self.last[name, key]]
                else:  # who comes back later comes anew
                    del self.until[name, key]
        return roll


PRESENCES = ("documents", "kitchen")
CHANNELS = "abcde"
presences = st.sampled_from(PRESENCES)
channels = st.sampled_from(CHANNELS)
graces = st.sampled_from((0.0, 0.5, 15.0))

enters = st.tuples(
    st.just("enter"),
    presences,
    st.sampled_from(("fry", "leela", "bender")),
    channels,
    st.sampled_from(({}, {"at": 1}, {"at": 2})),
    graces,
    st.sampled_from(("p", "q")),
)
exits = st.tuples(st.just("exit"), st.none() | presences, channels)
deaths = st.tuples(st.just("forget_owner"), st.sampled_from(("p", "q")), st.sampled_from((0.0, 15.0)))
times = st.tuples(st.just("later"), st.sampled_from((0.0, 0.01, DIFF_WINDOW_S, 0.5, 15.0, 20.0)))


@settings(max_examples=300, deadline=None)
@given(st.lists(enters | exits | deaths | times, max_size=40))
def test_it_is_what_the_model_says(operations: list[tuple[Any, ...]]) -> None:
    roster, model, heard, now = Roster(), Model(), Heard(), 100.0
    changed_at = dict.fromkeys(PRESENCES, now)
    rolls: dict[str, Any] = {name: {} for name in PRESENCES}
    for kind, *arguments in operations:
        if kind == "later":
            now += arguments[0]
        elif kind == "forget_owner":
            owner, ago_s = arguments
            heard.hear(roster.forget_owner(owner, now - ago_s), now)
            model.forget_owner(owner, now - ago_s)
        else:
            heard.hear(getattr(roster, kind)(*arguments, now), now)
            getattr(model, kind)(*arguments, now)
        heard.hear(roster.wake(now), now)
        assert roster.deadline is None or roster.deadline > now
        for name in PRESENCES:
            roll = roster.roll(name)
            assert roll == model.roll(name, now)
            assert roster.count(name) == len(roll)
            assert heard.signalled.get(name, set()) == set(roll)
            if roll != rolls[name]:
                rolls[name], changed_at[name] = roll, now
            if now >= changed_at[name] + QUIET_S:
                assert heard.people.get(name, {}) == roll
    for channel in CHANNELS:
        heard.hear(roster.exit(None, channel, now), now)
    run_out(roster, heard)
    assert not any(heard.signalled.values())
    assert not any(heard.people.values())
    assert len(roster) == 0


def run_out(roster: Roster, heard: Heard) -> None:
    """Let all be done that is due some time."""
    for _ in range(100):
        deadline = roster.deadline
        if deadline is None:
            return
        heard.hear(roster.wake(deadline), deadline)
    raise AssertionError("it always wants to be woken once more")


class Told(NamedTuple):
    """Effects, sorted."""

    changes: list[tuple[str, str]]
    diffs: list[Diff]


def told(effects: list[Effect]) -> Told:
    return Told(
        [(effect.kind, effect.key) for effect in effects if isinstance(effect, Change)],
        [effect for effect in effects if isinstance(effect, Diff)],
    )


def enter(roster: Roster, channel: str, now: float, key: str = "fry", **options: Any) -> list[Effect]:
    given = {"meta": {}, "grace_s": 15.0, "owner": "p", **options}
    return roster.enter("documents", key, channel, now=now, **given)


def test_one_person_with_three_tabs_counts_once() -> None:
    roster = Roster()
    first = enter(roster, "a", 0, meta={"tab": 1})
    assert first == [
        Change("documents", "joined", "fry", [{"tab": 1}], "p"),
        Diff("documents", joined={"fry": [{"tab": 1}]}),
    ]
    assert told(enter(roster, "b", 1, meta={"tab": 2})) == (
        [],
        [Diff("documents", changed={"fry": [{"tab": 1}, {"tab": 2}]})],
    )
    enter(roster, "c", 2, meta={"tab": 3})
    assert roster.count("documents") == 1
    assert roster.roll("documents") == {"fry": [{"tab": 1}, {"tab": 2}, {"tab": 3}]}
    assert roster.exit(None, "a", 3) == [Diff("documents", changed={"fry": [{"tab": 2}, {"tab": 3}]})]


def test_who_is_back_within_the_grace_was_never_away() -> None:
    roster = Roster()
    enter(roster, "a", 0, meta={"at": 1})
    assert roster.exit(None, "a", 10) == []
    assert roster.roll("documents") == {"fry": [{"at": 1}]}
    assert enter(roster, "b", 24.9, meta={"at": 1}) == []
    assert roster.wake(100) == []
    assert roster.count("documents") == 1


def test_who_is_back_with_other_metadata_has_changed() -> None:
    roster = Roster()
    enter(roster, "a", 0, meta={"at": 1})
    roster.exit(None, "a", 10)
    assert enter(roster, "b", 11, meta={"at": True}) == [Diff("documents", changed={"fry": [{"at": True}]})]


def test_who_is_not_back_leaves_when_the_grace_is_over() -> None:
    roster = Roster()
    enter(roster, "a", 0, meta={"at": 1})
    roster.exit(None, "a", 10)
    assert roster.deadline == 25
    assert roster.wake(24.9) == []
    assert roster.wake(25) == [
        Change("documents", "left", "fry", [{"at": 1}], "p"),
        Diff("documents", left={"fry": [{"at": 1}]}),
    ]
    assert roster.roll("documents") == {}


@pytest.mark.parametrize("presence", [None, "documents"])
def test_without_grace_or_by_leaving_oneself_it_is_at_once(presence: str | None) -> None:
    roster = Roster()
    enter(roster, "a", 0, grace_s=0 if presence is None else 15)
    assert told(roster.exit(presence, "a", 1)) == ([("left", "fry")], [Diff("documents", left={"fry": [{}]})])


def test_leaving_in_one_tab_does_not_shorten_the_grace_of_another() -> None:
    roster = Roster()
    enter(roster, "a", 0)
    enter(roster, "b", 0)
    roster.exit(None, "a", 10)
    assert told(roster.exit("documents", "b", 11)).changes == []
    assert told(roster.wake(25)).changes == [("left", "fry")]


def test_a_grace_that_a_reconnect_has_ended_does_not_come_back() -> None:
    roster = Roster()
    enter(roster, "a", 0)
    roster.exit(None, "a", 10)
    enter(roster, "b", 11)
    assert told(roster.exit("documents", "b", 12)).changes == [("left", "fry")]
    assert roster.count("documents") == 0


def test_the_dead_leave_when_their_grace_is_over_that_began_when_they_were_last_heard_of() -> None:
    roster = Roster()
    enter(roster, "a", 0, key="fry", owner="dead")
    enter(roster, "b", 0, key="leela", owner="dead")
    enter(roster, "c", 0, key="leela", owner="alive")
    roster.wake(1)
    assert roster.forget_owner("dead", 10) == []
    assert roster.wake(24) == [Diff("documents", changed={"leela": [{}]})]
    assert told(roster.wake(25)) == ([("left", "fry")], [Diff("documents", left={"fry": [{}]})])
    assert roster.forget_owner("dead", 26) == []
    assert set(roster.roll("documents")) == {"leela"}


def test_somebody_who_was_forgotten_late_is_gone_at_once() -> None:
    roster = Roster()
    enter(roster, "a", 0, owner="dead")
    roster.forget_owner("dead", 5)
    assert told(roster.wake(40)).changes == [("left", "fry")]


def test_all_who_leave_at_the_same_time_are_in_one_diff() -> None:
    roster = Roster()
    for number in range(100):
        enter(roster, f"c{number}", number, key=f"k{number}")
    roster.wake(200)
    assert roster.forget_owner("p", 200) == []
    changes, diffs = told(roster.wake(215))
    assert len(changes) == 100
    assert [len(diff.left) for diff in diffs] == [100]


def test_a_socket_that_becomes_another_persons() -> None:
    roster = Roster()
    enter(roster, "a", 0, key="fry")
    changes, diffs = told(enter(roster, "a", 1, key="leela"))
    assert changes == [("left", "fry"), ("joined", "leela")]
    assert [(set(diff.joined), set(diff.left)) for diff in diffs] == [({"leela"}, {"fry"})]


def test_a_persons_changes_in_one_window_are_one() -> None:
    roster = Roster()
    enter(roster, "a", 0, key="leela")
    for _ in range(3):
        enter(roster, "b", 0.01, grace_s=0)
        roster.exit(None, "b", 0.01)
    enter(roster, "b", 0.02, meta={"at": 2})
    assert roster.deadline is not None
    assert roster.wake(roster.deadline) == [Diff("documents", joined={"fry": [{"at": 2}]})]


def test_who_comes_and_goes_in_one_window_is_signalled_and_in_no_diff() -> None:
    roster = Roster()
    enter(roster, "a", 0, key="leela")
    assert told(enter(roster, "b", 0.01, grace_s=0)) == ([("joined", "fry")], [])
    assert told(roster.exit(None, "b", 0.02)) == ([("left", "fry")], [])
    assert roster.wake(1) == []


def test_who_was_there_in_a_roster_that_was_lost_has_not_joined() -> None:
    roster = Roster()
    assert enter(roster, "a", 0, again=True) == [Diff("documents", changed={"fry": [{}]})]
    assert told(roster.exit("documents", "a", 1)) == (
        [("left", "fry")],
        [Diff("documents", left={"fry": [{}]})],
    )


def test_an_exit_from_what_nobody_is_in() -> None:
    roster = Roster()
    assert roster.exit(None, "a", 0) == []
    enter(roster, "a", 0)
    assert roster.exit("kitchen", "a", 0) == []
    assert roster.exit("documents", "b", 0) == []
    assert roster.count("kitchen") == 0
    assert roster.roll("kitchen") == {}


def test_the_first_diff_goes_at_once_and_the_next_when_the_window_has_passed() -> None:
    roster = Roster()
    assert told(enter(roster, "a", 0, key="a")).diffs
    assert not told(enter(roster, "b", 0.01, key="b")).diffs
    assert not told(enter(roster, "c", 0.04, key="c")).diffs
    assert roster.deadline == pytest.approx(DIFF_WINDOW_S + DIFF_PER_MEMBER_S)
    [diff] = roster.wake(roster.deadline)
    assert isinstance(diff, Diff)
    assert set(diff.joined) == {"b", "c"}
    assert told(enter(roster, "d", 10, key="d")).diffs


def test_the_deliveries_of_many_joins_grow_with_their_time_not_with_their_square() -> None:
    roster, deliveries, number, now = Roster(), 0, 5000, 0.0
    for joined in range(1, number + 1):
        now = joined / 1000  # so many in a second
        diffs = told([*roster.wake(now), *enter(roster, f"c{joined}", now, key=f"k{joined}")]).diffs
        deliveries += len(diffs) * joined
    assert deliveries < now / DIFF_PER_MEMBER_S + number
    assert deliveries < number * number / 500


def test_a_diff_of_very_many_is_cut() -> None:
    roster = Roster()
    enter(roster, "first", 0, key="first")
    for number in range(2 * DIFF_CONNECTIONS + 1):
        enter(roster, f"c{number}", 0, key=f"k{number}")
    diffs = told(roster.wake(1)).diffs
    assert [len(diff.joined) for diff in diffs] == [DIFF_CONNECTIONS, DIFF_CONNECTIONS, 1]


def test_an_enter_costs_the_same_among_ten_and_among_ten_thousand() -> None:
    def cost(members: int) -> int:
        roster = Roster()
        for number in range(members):
            enter(roster, f"c{number}", 0, key=f"k{number}")
        roster.wake(1)
        return steps(lambda: (enter(roster, "x", 1000, key="x"), roster.exit(None, "x", 1000)))

    assert cost(10_000) == cost(10)


def test_coming_and_going_leaves_one_timer() -> None:
    roster = Roster()
    for number in range(1000):
        enter(roster, "a", number * 0.01)
        roster.exit(None, "a", number * 0.01)
    assert len(roster) < 5


@pytest.mark.parametrize("name", ["documents", "a" * 99, "0123456789abcdef" * 2])
def test_a_group_for_each_presence(name: str) -> None:
    require_group_name(presence_group(name))
    others = {presence_group(other) for other in ("kitchen", "a" * 98, "b" * 99)}
    assert presence_group(name) not in others


def test_nobody_can_choose_a_name_whose_group_is_anothers() -> None:
    hashed = presence_group("a" * 99).removeprefix("raceway.presence.")
    assert presence_group(hashed) != presence_group("a" * 99)
