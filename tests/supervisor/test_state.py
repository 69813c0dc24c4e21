"""What the supervisor decides: events and times in, effects out."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raceway.supervisor.state import (
    BACK_OFF_MOST_S,
    BACK_OFF_S,
    BACK_OFF_SPREAD,
    END_S,
    HURRY_S,
    LEAVING_MOST,
    MOVES,
    QUIET_S,
    SAME_S,
    START_S,
    STEADY_S,
    Announce,
    Close,
    Drain,
    Effect,
    Finish,
    Kill,
    Listen,
    Move,
    Quieten,
    Renewed,
    Report,
    Spawn,
    State,
    Supervision,
)

pytestmark = pytest.mark.pure

DRAIN_S = 30.0


def supervision(slots: int = 2) -> Supervision:
    return Supervision(slots, DRAIN_S, lambda: 0.0)


def serving(slots: int = 2) -> Supervision:
    """Everyone ready at 0: worker n in slot n."""
    value = supervision(slots)
    value.start(0.0)
    for worker in range(1, slots + 1):
        value.ready(worker, 0.0)
    return value


def of(kind: type, effects: list[Effect]) -> list[Any]:
    return [effect for effect in effects if isinstance(effect, kind)]


# The start


def test_every_slot_gets_a_worker() -> None:
    assert supervision().start(0.0) == [Spawn(1, 1), Spawn(2, 2)]


def test_a_worker_that_is_ready_listens_and_the_last_one_is_announced() -> None:
    value = supervision()
    value.start(0.0)
    assert value.ready(1, 1.0) == [Listen(1)]
    assert value.ready(2, 1.0) == [Listen(2), Announce()]
    assert value.deadline is None


def test_a_mistake_that_no_worker_survives_ends_it() -> None:
    """A typo must not loop, and is told once: by who ends."""
    value = supervision()
    value.start(0.0)
    assert value.exited(1, 2, 0.3) == []
    assert value.exited(2, 2, 0.4) == [Close(), Finish(2, 1)]


def test_the_end_waits_for_those_that_were_started_again() -> None:
    value = supervision()
    value.start(0.0)
    value.exited(1, 2, 0.1)
    assert of(Spawn, value.wake(0.1 + BACK_OFF_S)) == [Spawn(1, 3)]
    assert value.exited(2, 2, 1.0) == [Close(), Drain(3, 0.0)]
    assert value.exited(3, 2, 1.1) == [Finish(2, 1)]


def value_text(delay_s: float, status: int = 2) -> str:
    return f"did not start: it ended with status {status}; the next one comes in {delay_s:.1f} s"


def test_one_worker_that_fails_does_not_end_the_others() -> None:
    value = supervision()
    value.start(0.0)
    assert value.ready(2, 0.1) == [Listen(2)]
    assert value.exited(1, 2, 0.2) == [Announce()]
    effects = value.wake(0.2 + BACK_OFF_S)
    assert effects == [Report(1, 1, value_text(BACK_OFF_S)), Spawn(1, 3)]


def test_a_signal_is_no_mistake_of_the_application() -> None:
    value = supervision(1)
    value.start(0.0)
    assert not of(Finish, value.exited(1, -9, 0.1))
    assert of(Spawn, value.wake(1.0)) == [Spawn(1, 2)]


def test_a_worker_that_hangs_in_its_start_is_killed_and_counts_as_failed() -> None:
    value = supervision()
    value.start(0.0)
    value.ready(2, 1.0)
    assert value.wake(QUIET_S) == [Quieten(1)]
    assert value.deadline == START_S
    assert value.wake(START_S) == [Kill(1)]
    assert of(Spawn, value.exited(1, -9, START_S)) == []
    assert "was not ready within 60 s" in of(Report, value.wake(START_S + BACK_OFF_S))[0].text


# Restarts


def test_a_steady_worker_is_replaced_at_once() -> None:
    value = serving()
    effects = value.exited(1, -9, STEADY_S)
    assert of(Spawn, effects) == [Spawn(1, 3)]
    assert of(Report, effects)[0].text == "ended by signal 9; another one takes its place"


def test_back_off_doubles_up_to_its_bound_and_the_slot_falls_quiet() -> None:
    value = serving()
    now, delays, quiet = 1.0, [], 0
    effects = value.exited(1, 1, now)
    for _ in range(10):
        quiet += len(of(Quieten, effects))
        deadline = value.deadline
        assert deadline is not None
        delays.append(deadline - now)
        now = deadline
        (spawned,) = of(Spawn, value.wake(now))
        assert of(Spawn, value.wake(now)) == []
        effects = value.exited(spawned.worker, 1, now)
    assert delays == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30])
    assert quiet == 1


def test_a_steady_worker_makes_good_for_failures() -> None:
    value = serving(1)
    value.exited(1, 1, 1.0)
    value.wake(2.0)
    value.ready(2, 2.0)
    assert of(Spawn, value.exited(2, 1, 2.0 + STEADY_S))
    assert value.slots[1].failures == 0


def test_chance_is_added_to_the_back_off() -> None:
    value = Supervision(1, DRAIN_S, lambda: 1.0)
    value.start(0.0)
    value.ready(1, 0.0)
    value.exited(1, 1, 1.0)
    assert value.deadline == pytest.approx(1.0 + BACK_OFF_S * (1 + BACK_OFF_SPREAD))


def test_a_slot_stays_loud_while_nobody_else_serves() -> None:
    value = supervision()
    value.start(0.0)
    assert value.wake(QUIET_S + 1) == []
    assert of(Quieten, value.ready(2, QUIET_S + 2)) == [Quieten(1)]
    value.ready(1, QUIET_S + 3)
    assert value.slots[1].listens


# The end


def test_sigterm_drains_and_the_last_exit_finishes() -> None:
    value = serving()
    assert value.terminate(5.0) == [Close(), Drain(1, DRAIN_S), Drain(2, DRAIN_S)]
    assert value.exited(1, 0, 6.0) == []
    assert value.exited(2, 0, 7.0) == [Finish(0)]


def test_sigint_does_not_wait_for_clients() -> None:
    assert serving(1).interrupt(5.0) == [Close(), Drain(1, 0.0)]


def test_a_worker_that_does_not_end_is_killed() -> None:
    value = serving(1)
    value.terminate(5.0)
    assert value.deadline == 5.0 + DRAIN_S + END_S
    assert value.wake(value.deadline) == [Kill(1)]
    killed = Report(1, 1, "was killed: it did not stop in time")
    assert value.exited(1, -9, value.deadline or 99.0) == [killed, Finish(0)]


def test_a_worker_that_dies_while_it_drains_is_told_of() -> None:
    value = serving(1)
    value.renew(20.0)
    value.ready(2, 21.0)
    assert value.exited(1, -11, 22.0) == [Report(1, 1, "ended by signal 11 while it was stopping")]
    assert value.leaving == {}


def test_a_second_signal_hurries_and_a_third_kills() -> None:
    value = serving(1)
    value.terminate(5.0)
    assert value.terminate(6.0) == [Drain(1, 0.0)]
    assert value.deadline == 6.0 + HURRY_S
    assert Kill(1) in value.terminate(6.5)


def test_a_signal_that_comes_twice_is_one() -> None:
    """As ``timeout`` sends it: to the process, and to its group."""
    value = serving(1)
    value.terminate(5.0)
    assert value.terminate(5.0 + SAME_S / 2) == []
    assert value.terminate(5.0 + SAME_S) == [Drain(1, 0.0)]


def test_who_is_starting_or_backing_off_does_not_hold_the_end_up() -> None:
    value = supervision()
    value.start(0.0)
    value.exited(1, -9, 0.1)
    assert value.terminate(0.2) == [Close(), Drain(2, 0.0)]
    assert value.exited(2, 0, 0.3) == [Finish(0)]


# Renewal


def test_slots_are_renewed_one_by_one_and_the_new_worker_is_ready_first() -> None:
    value = serving()
    assert value.renew(20.0) == [Spawn(1, 3)]
    assert value.ready(3, 21.0) == [Listen(3), Drain(1, DRAIN_S), Spawn(2, 4)]
    assert value.ready(4, 22.0) == [Listen(4), Drain(2, DRAIN_S), Renewed()]
    assert value.exited(1, 0, 23.0) == []
    assert value.exited(2, 0, 23.0) == []
    assert {slot.serving for slot in value.slots.values()} == {3, 4}


def test_a_new_worker_that_fails_ends_the_renewal_and_the_old_ones_stay() -> None:
    value = serving()
    value.renew(20.0)
    (report,) = value.exited(3, 2, 21.0)
    assert report == Report(1, 3, "did not start: it ended with status 2; the workers that run go on")
    assert value.deadline is None
    assert {slot.serving for slot in value.slots.values()} == {1, 2}


def test_asked_again_it_begins_anew() -> None:
    value = serving()
    value.renew(20.0)
    assert value.renew(20.5) == []
    assert of(Spawn, value.ready(3, 21.0)) == [Spawn(1, 4)]
    assert of(Spawn, value.ready(4, 22.0)) == [Spawn(2, 5)]


def test_sighup_after_sighup_does_not_fill_the_machine_with_draining_workers() -> None:
    value = serving(1)
    hurried = []
    for number in range(1, LEAVING_MOST + 3):
        value.renew(float(number))
        effects = value.ready(number + 1, float(number))
        assert effects[1] == Drain(number, DRAIN_S)
        hurried += of(Drain, effects[2:])
    assert hurried == [Drain(1, 0.0), Drain(1, 0.0), Drain(2, 0.0)]
    assert value.deadline == LEAVING_MOST + 1 + END_S
    assert value.leaving[3] == 3.0 + DRAIN_S + END_S


def test_an_old_worker_that_dies_leaves_its_place_to_the_new_one() -> None:
    value = serving(1)
    value.renew(20.0)
    assert of(Spawn, value.exited(1, -9, 20.5)) == []
    assert value.ready(2, 21.0) == [Listen(2), Renewed()]


def test_a_slot_that_backs_off_is_tried_at_once() -> None:
    value = serving()
    value.exited(1, 1, 1.0)
    assert value.renew(1.1) == [Spawn(1, 3)]
    assert of(Drain, value.ready(3, 2.0)) == []


def test_a_worker_that_was_starting_has_the_old_code() -> None:
    value = supervision(1)
    value.start(0.0)
    assert value.renew(0.5) == [Drain(1, 0.0), Spawn(1, 2)]
    assert value.ready(1, 0.6) == []
    assert value.ready(2, 1.0) == [Listen(2), Renewed(), Announce()]


# Whatever happens


class World:
    """A supervisor and processes that obey it, or do not."""

    def __init__(self, slots: int) -> None:
        self.value = Supervision(slots, DRAIN_S, lambda: 0.5)
        self.now = 0.0
        self.alive: dict[int, int] = {}  # worker -> slot
        self.loading: set[int] = set()
        self.killed: set[int] = set()
        self.spawned: list[tuple[float, int]] = []
        self.closed = False
        self.finished: Finish | None = None
        self.act(self.value.start(0.0))

    def act(self, effects: list[Effect]) -> None:
        for effect in effects:
            assert self.finished is None, f"{effect} after the end"
            match effect:
                case Spawn(slot, worker):
                    assert worker not in self.alive
                    assert not self.closed, "it would have no sockets"
                    self.alive[worker] = slot
                    self.loading.add(worker)
                    self.spawned.append((self.now, slot))
                case Kill(worker):
                    assert worker in self.alive
                    self.killed.add(worker)
                case Drain(worker, _) | Listen(worker):
                    assert worker in self.alive
                case Close():
                    assert not self.closed
                    self.closed = True
                case Finish():
                    assert self.closed
                    assert not self.alive, "the end before all workers have ended"
                    self.finished = effect
        if self.finished is None:
            self.check()

    def check(self) -> None:
        value = self.value
        assert value.deadline is None or value.deadline > self.now, "it would spin"
        held = [worker for slot in value.slots.values() for worker in (slot.serving, slot.starting)]
        known = [worker for worker in held if worker is not None] + list(value.leaving)
        assert sorted(known) == sorted(self.alive), "a worker is lost, or belongs to two"
        for slot in value.slots.values():
            assert (slot.serving is not None) == (slot.state in (State.READY, State.RENEWING))
            assert (slot.starting is not None) == (slot.state in (State.STARTING, State.RENEWING))
            if slot.state is State.BACKING_OFF:
                assert value.deadline is not None
                assert value.deadline <= slot.due, "nobody would start it"

    def end(self, worker: int, status: int) -> None:
        del self.alive[worker]
        self.loading.discard(worker)
        self.killed.discard(worker)
        self.act(self.value.exited(worker, status, self.now))

    def pass_time(self, seconds: float) -> None:
        """Waking it whenever it wants to be, and ending those that it kills."""
        until = self.now + seconds
        for _ in itertools.count():
            for worker in sorted(self.killed):
                self.end(worker, -9)
            deadline = self.value.deadline
            if self.finished is not None or deadline is None or deadline > until:
                break
            self.now = deadline
            self.act(self.value.wake(self.now))
        self.now = max(self.now, until)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["ready", "ready", "exit", "terminate", "interrupt", "renew", "renew", "time", "time"]
        ),
        st.integers(0, 7),
        st.sampled_from([0, 1, 2, -9]),
        st.sampled_from([0.0, 0.1, 1.0, 6.0, 12.0, 61.0]),
    ),
    max_size=60,
)


def play(world: World, events: list[tuple[str, int, int, float]]) -> None:
    for what, which, status, seconds in events:
        if world.finished is not None:
            return
        if what == "ready" and world.loading:
            worker = sorted(world.loading)[which % len(world.loading)]
            world.loading.discard(worker)
            world.act(world.value.ready(worker, world.now))
        elif what == "exit" and world.alive:
            world.end(sorted(world.alive)[which % len(world.alive)], status)
        elif what == "time":
            world.pass_time(seconds)
        elif what in ("terminate", "interrupt", "renew"):
            world.act(getattr(world.value, what)(world.now))


@given(st.integers(1, 4), EVENTS)
@settings(max_examples=400, deadline=None)
def test_no_order_of_events_loses_a_worker_spins_or_hangs(slots: int, events: Any) -> None:
    world = World(slots)
    play(world, events)
    if world.finished is None:  # SIGTERM ends it, also if no worker obeys
        world.act(world.value.terminate(world.now))
        began = world.now
        world.pass_time(DRAIN_S + END_S)
        assert world.finished is not None
        assert world.now - began <= DRAIN_S + END_S + 1e-9  # as floats go


@given(st.integers(1, 4), EVENTS)
@settings(max_examples=200, deadline=None)
def test_whatever_happened_all_slots_serve_again(slots: int, events: Any) -> None:
    world = World(slots)
    play(world, [event for event in events if event[0] not in ("terminate", "interrupt")])
    for _ in range(slots * 4):  # from now on every worker gets ready
        for worker in sorted(world.loading):
            world.loading.discard(worker)
            if world.finished is None:
                world.act(world.value.ready(worker, world.now))
        if world.finished is None:
            world.pass_time(BACK_OFF_MOST_S * (1 + BACK_OFF_SPREAD))
    if world.finished is None:
        assert all(slot.state is State.READY for slot in world.value.slots.values())
    else:
        assert world.finished.status > 0, "only a mistake at the first start ends it"


@given(EVENTS)
@settings(max_examples=200, deadline=None)
def test_workers_that_fail_do_not_come_in_a_rush(events: Any) -> None:
    """Between two of them for one slot lies the first back-off, unless somebody sent SIGHUP or it had been steady."""
    world = World(2)
    play(world, [event for event in events if event[0] in ("exit", "time")])
    for slot in (1, 2):
        times = [when for when, where in world.spawned if where == slot]
        assert all(later - earlier >= BACK_OFF_S - 1e-9 for earlier, later in itertools.pairwise(times))


def test_every_state_can_be_stopped_and_left() -> None:
    for state in set(State) - {State.STOPPED}:
        assert MOVES[state, Move.STOP] is State.STOPPED
        assert any(now is state and to is not state for (now, _), to in MOVES.items())
