"""The coarse clock that all connections share."""

from __future__ import annotations

import pytest

from raceway.server.deadlines import NEVER, SLOT_S, Deadlines

pytestmark = pytest.mark.pure


class Debtor:
    """Owes something by ``deadline``; notes when it was reminded."""

    def __init__(self, deadline: float = NEVER, again_s: float = NEVER) -> None:
        self.deadline = deadline
        self.again_s = again_s
        self.slot = NEVER
        self.reminded: list[float] = []

    def on_deadline(self, now: float) -> None:
        self.reminded.append(now)
        self.deadline = now + self.again_s


def fail(error: Exception) -> None:
    raise error


def advance(deadlines: Deadlines, start: float, end: float) -> None:
    now = start
    while now <= end:
        deadlines.tick(now, fail)
        now += SLOT_S


def test_a_deadline_is_noticed_within_two_slots() -> None:
    deadlines = Deadlines(0.0)
    debtor = Debtor(1.0)
    deadlines.watch(debtor)
    advance(deadlines, 0.0, 0.95)
    assert debtor.reminded == []
    advance(deadlines, 1.0, 2.0)
    assert len(debtor.reminded) == 1
    assert 1.0 <= debtor.reminded[0] <= 1.0 + 2 * SLOT_S
    assert len(deadlines) == 0


def test_a_deadline_that_was_put_off_needs_no_second_watch() -> None:
    deadlines = Deadlines(0.0)
    debtor = Debtor(1.0)
    deadlines.watch(debtor)
    debtor.deadline = 3.0
    advance(deadlines, 0.0, 2.9)
    assert debtor.reminded == []
    advance(deadlines, 2.95, 3.5)
    assert len(debtor.reminded) == 1


def test_an_earlier_deadline_moves_the_connection_forward() -> None:
    deadlines = Deadlines(0.0)
    debtor = Debtor(10.0)
    deadlines.watch(debtor)
    debtor.deadline = 1.0
    deadlines.watch(debtor)
    assert len(deadlines) == 1
    advance(deadlines, 0.0, 1.3)
    assert len(debtor.reminded) == 1


def test_a_deadline_in_the_past_is_noticed_at_the_next_tick() -> None:
    deadlines = Deadlines(100.0)
    debtor = Debtor(1.0)
    deadlines.watch(debtor)
    deadlines.tick(100.0 + SLOT_S, fail)
    assert len(debtor.reminded) == 1


def test_a_late_tick_catches_up() -> None:
    deadlines = Deadlines(0.0)
    debtors = [Debtor(float(second)) for second in range(1, 6)]
    for debtor in debtors:
        deadlines.watch(debtor)
    deadlines.tick(60.0, fail)
    assert [debtor.reminded for debtor in debtors] == [[60.0]] * 5


def test_one_that_sets_a_new_deadline_is_reminded_again() -> None:
    deadlines = Deadlines(0.0)
    debtor = Debtor(1.0, again_s=1.0)
    deadlines.watch(debtor)
    advance(deadlines, 0.0, 5.5)
    assert len(debtor.reminded) >= 4


def test_the_forgotten_are_let_go_at_once() -> None:
    deadlines = Deadlines(0.0)
    debtor = Debtor(1.0)
    deadlines.watch(debtor)
    deadlines.forget(debtor)
    deadlines.forget(debtor)
    assert len(deadlines) == 0
    advance(deadlines, 0.0, 2.0)
    assert debtor.reminded == []


def test_one_that_raises_is_reported_and_stops_no_other() -> None:
    class Broken(Debtor):
        def on_deadline(self, now: float) -> None:
            self.deadline = NEVER
            raise ValueError("broken")

    deadlines = Deadlines(0.0)
    debtors = [Broken(1.0), Debtor(1.0), Debtor(1.0)]
    reports: list[Exception] = []
    for debtor in debtors:
        deadlines.watch(debtor)
    deadlines.tick(2.0, reports.append)
    assert [str(report) for report in reports] == ["broken"]
    assert [len(debtor.reminded) for debtor in debtors] == [0, 1, 1]


def test_never_is_not_watched() -> None:
    deadlines = Deadlines(0.0)
    deadlines.watch(Debtor())
    assert len(deadlines) == 0
