"""The desk as a value: owners that beat, die, end, or say something else than the desk knows."""

from __future__ import annotations

from typing import Any

from raceway.layers.distributed.desk import LEASE_S, Desk, SayAgain
from raceway.layers.roster import Change


def enter(
    desk: Desk, owner: str, channel: str, now: float, *, again: bool = False, grace_s: float = 0
) -> list[Any]:
    return desk.enter(owner, "room", channel, channel, {}, grace_s, now, again=again)


def changes(effects: list[Any]) -> list[tuple[str, str]]:
    return [(effect.kind, effect.key) for effect in effects if isinstance(effect, Change)]


def test_an_owner_that_is_silent_takes_its_persons_along() -> None:
    desk = Desk()
    enter(desk, "p", "a", 0)
    enter(desk, "q", "b", 1)
    desk.beat("q", 1, 10)
    assert desk.deadline is not None
    assert changes(desk.wake(LEASE_S)) == [("left", "a")]
    assert (list(desk.roll("room")), desk.knows("p"), desk.knows("q")) == (["b"], False, True)
    assert changes(desk.wake(10 + LEASE_S)) == [("left", "b")]


def test_grace_counts_from_when_an_owner_was_last_heard() -> None:
    desk = Desk()
    enter(desk, "p", "a", 0, grace_s=LEASE_S + 5)
    assert changes(desk.wake(LEASE_S)) == []
    assert changes(desk.wake(LEASE_S + 5)) == [("left", "a")]


def test_nobody_is_dead_because_the_desk_was_cut_off() -> None:
    desk = Desk()
    enter(desk, "p", "a", 0)
    desk.refresh(LEASE_S + 1)
    assert changes(desk.wake(LEASE_S + 1)) == []
    assert changes(desk.wake(2 * LEASE_S + 1)) == [("left", "a")]


def test_an_owner_with_another_number_of_entries_is_asked() -> None:
    desk = Desk()
    enter(desk, "p", "a", 0)
    assert desk.beat("p", 1, 1) == []
    assert desk.beat("p", 2, 1) == [SayAgain("p")]
    assert desk.beat("unknown", 0, 1) == []
    assert desk.beat("unknown", 1, 1) == [SayAgain("unknown")]


def test_what_an_owner_has_no_more_leaves() -> None:
    desk = Desk()
    enter(desk, "p", "a", 0)
    enter(desk, "p", "b", 0)
    enter(desk, "q", "c", 0)
    assert changes(desk.whole("p", {("room", "b")}, 1)) == [("left", "a")]
    assert list(desk.roll("room")) == ["b", "c"]


def test_who_was_there_before_does_not_join() -> None:
    desk = Desk()
    assert changes(enter(desk, "p", "a", 0, again=True)) == []
    assert changes(enter(desk, "p", "b", 0)) == [("joined", "b")]


def test_an_owner_that_ends_leaves_its_persons_their_grace() -> None:
    desk = Desk()
    enter(desk, "p", "a", 0, grace_s=5)
    assert changes(desk.forget("p", 1)) == []
    assert not desk.knows("p")
    assert changes(desk.wake(6)) == [("left", "a")]


def test_nothing_is_left_behind() -> None:
    desk = Desk()
    enter(desk, "p", "a", 0)
    assert not desk.is_empty
    desk.exit("p", None, "a", 1)
    desk.wake(100)
    desk.wake(200)
    assert (desk.is_empty, desk.deadline) == (True, None)
