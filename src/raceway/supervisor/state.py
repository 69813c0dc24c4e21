"""What a supervisor does about its workers, decided without processes, signals, sockets or a clock.

A *slot* is the place of one worker, and its listening sockets; a *worker* is one process, numbered as it is started.
``Supervision`` is told what happened and when, and returns effects; ``deadline`` is when to ``wake`` it. A slot is in
one of five states, and ``MOVES`` says how it gets from one to the next: a pair that is not there is an error. Workers
that were told to leave belong to no slot any more: they are in ``leaving`` until they have ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final, TypeAlias

START_S: Final = 60.0
"""How long a worker may take until its application is ready, before it is killed."""

STEADY_S: Final = 10.0
"""A worker that was ready for so long is replaced at once when it ends; an earlier end counts as a failure."""

BACK_OFF_S: Final = 0.5
"""From a slot's first failure to its next worker; doubled with each failure after it."""

BACK_OFF_MOST_S: Final = 30.0

BACK_OFF_SPREAD: Final = 0.25
"""Up to this part is added by chance, so that slots which failed together do not start together for ever."""

QUIET_S: Final = 5.0
"""A slot whose worker takes so long to start stops listening, if others serve: its clients would wait."""

QUIET_BACK_OFF_S: Final = 1.0
"""A slot that will have no worker for so long stops listening at once."""

END_S: Final = 15.0
"""After the drain time, for a worker's last answers and its application's shutdown, before it is killed."""

LEAVING_MOST: Final = 3
"""Workers for each slot that may be draining: with more, which only SIGHUP after SIGHUP makes, the oldest hurry."""

HURRY_S: Final = 3.0
"""The same after a second signal."""

SAME_S: Final = 0.2
"""Signals so close together are one: who signals a group often signals its first process as well."""


class State(Enum):
    """Of a slot."""

    STARTING = "starting"  # its worker is not ready yet
    READY = "ready"
    RENEWING = "renewing"  # its worker serves, and the one that takes its place is starting
    BACKING_OFF = "backing off"  # it has no worker until it is due
    STOPPED = "stopped"


class Move(Enum):
    """What happens to a slot."""

    STARTED = "started"  # the starting worker is ready
    FAILED = "failed"  # the starting worker has ended
    ENDED = "ended"  # the serving worker has ended
    DUE = "due"
    RENEW = "renew"
    STOP = "stop"


MOVES: Final[dict[tuple[State, Move], State]] = {
    (State.STARTING, Move.STARTED): State.READY,
    (State.STARTING, Move.FAILED): State.BACKING_OFF,
    (State.STARTING, Move.RENEW): State.STARTING,
    (State.STARTING, Move.STOP): State.STOPPED,
    (State.READY, Move.ENDED): State.BACKING_OFF,
    (State.READY, Move.RENEW): State.RENEWING,
    (State.READY, Move.STOP): State.STOPPED,
    (State.RENEWING, Move.STARTED): State.READY,
    (State.RENEWING, Move.FAILED): State.READY,
    (State.RENEWING, Move.ENDED): State.STARTING,
    (State.RENEWING, Move.STOP): State.STOPPED,
    (State.BACKING_OFF, Move.DUE): State.STARTING,
    (State.BACKING_OFF, Move.RENEW): State.STARTING,
    (State.BACKING_OFF, Move.STOP): State.STOPPED,
}


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a process as ``worker`` in ``slot``."""

    slot: int
    worker: int


@dataclass(frozen=True, slots=True)
class Listen:
    """Let a worker that is ready accept connections."""

    worker: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Tell a worker to stop within ``drain_s`` seconds; told again, it hurries."""

    worker: int
    drain_s: float


@dataclass(frozen=True, slots=True)
class Kill:
    worker: int


@dataclass(frozen=True, slots=True)
class Quieten:
    """Let a slot's sockets stop listening, until a worker listens on them."""

    slot: int


@dataclass(frozen=True, slots=True)
class Close:
    """It stops: close all sockets, so that those who come now are refused and do not wait for the end."""


@dataclass(frozen=True, slots=True)
class Announce:
    """Say, once, that clients can connect."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """All workers have been replaced, as ``renew`` asked."""


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the people who run this of a worker that is lost; ``text`` has no full stop."""

    slot: int
    worker: int
    text: str


@dataclass(frozen=True, slots=True)
class Finish:
    """All workers have ended: end with ``status``. ``worker`` is one whose failure to start is why."""

    status: int
    worker: int | None = None


Effect: TypeAlias = Spawn | Listen | Drain | Kill | Quieten | Close | Announce | Renewed | Report | Finish


@dataclass(slots=True)
class Slot:
    """The place of one worker. ``since`` is when its state began."""

    number: int
    state: State = State.BACKING_OFF
    serving: int | None = None
    starting: int | None = None
    since: float = 0.0
    due: float = 0.0  # while it backs off
    give_up: float = inf  # when the starting worker is killed
    down_since: float = 0.0  # while none serves
    failures: int = 0
    listens: bool = True  # as far as we have not said otherwise
    untold: Report | None = None

    def move(self, move: Move, now: float) -> None:
        self.state = MOVES[self.state, move]
        self.since = now


class Supervision:
    """Keep ``slots`` workers running, renew them on demand, and end with them.

    ``jitter`` returns a number from 0 to 1. ``drain_s`` is how long workers have to stop.
    """

    def __init__(self, slots: int, drain_s: float, jitter: Callable[[], float]) -> None:
        self.slots: Final = {number: Slot(number) for number in range(1, slots + 1)}
        self.leaving: Final[dict[int, float]] = {}
        """When each worker that was told to leave is killed."""
        self.deadline: float | None = None
        self._left: Final[dict[int, int]] = {}  # the slot of each worker in ``leaving``
        self._drain_s = drain_s
        self._jitter = jitter
        self._workers = 0
        self._first: Final = set(self.slots)  # whose first worker is neither ready nor lost
        self._first_failures: Final[list[Finish]] = []
        self._announced = False
        self._to_renew: Final[deque[int]] = deque()
        self._renewing: int | None = None
        self._stop: Finish | None = None
        self._signals = 0
        self._signalled_at = -inf
        self._finished = False

    # What happens

    def start(self, now: float) -> list[Effect]:
        """The beginning."""
        for slot in self.slots.values():
            slot.due = slot.down_since = now
        return self._settle(now, [])

    def ready(self, worker: int, now: float) -> list[Effect]:
        """The application of ``worker`` is ready. One that was told to leave meanwhile is too late."""
        effects: list[Effect] = []
        slot = self._slot_of(worker)
        if slot is None or slot.starting != worker:
            return effects
        old, slot.serving, slot.starting, slot.give_up = slot.serving, worker, None, inf
        slot.move(Move.STARTED, now)
        slot.listens, slot.untold = True, None
        self._first.discard(slot.number)
        effects.append(Listen(worker))
        if old is not None:
            self._let_go(slot, old, self._drain_s, now, effects)
        return self._settle(now, effects)

    def exited(self, worker: int, status: int, now: float) -> list[Effect]:
        """``worker`` is no more; ``status`` is below 0 if a signal has ended it."""
        effects: list[Effect] = []
        slot = self._slot_of(worker)
        if slot is None:
            self._gone(worker, status, effects)
        elif slot.serving == worker:
            self._ended(slot, worker, status, now, effects)
        else:
            self._failed(slot, worker, status, now, effects)
        return self._settle(now, effects)

    def terminate(self, now: float) -> list[Effect]:
        """SIGTERM: stop and let clients go in peace; again: at once."""
        return self._signalled(self._drain_s, now)

    def interrupt(self, now: float) -> list[Effect]:
        """SIGINT: stop, and do not wait for clients."""
        return self._signalled(0.0, now)

    def renew(self, now: float) -> list[Effect]:
        """SIGHUP: replace all workers, one slot after the other. Asked again, it begins anew."""
        if self._stop is None:
            self._to_renew.clear()
            self._to_renew.extend(self.slots)
        return self._settle(now, [])

    def wake(self, now: float) -> list[Effect]:
        """The deadline may have passed."""
        return self._settle(now, [])

    # What is done about it

    def _slot_of(self, worker: int) -> Slot | None:
        for slot in self.slots.values():
            if worker in (slot.serving, slot.starting):
                return slot
        return None

    def _spawn(self, slot: Slot, now: float, effects: list[Effect]) -> None:
        self._workers += 1
        slot.starting = self._workers
        slot.give_up = now + START_S
        if slot.untold is not None:
            effects.append(slot.untold)
            slot.untold = None
        effects.append(Spawn(slot.number, self._workers))

    def _ended(self, slot: Slot, worker: int, status: int, now: float, effects: list[Effect]) -> None:
        steady = now - slot.since >= STEADY_S
        slot.serving, slot.down_since = None, now
        slot.move(Move.ENDED, now)
        text = f"ended {_how(status)}"
        if slot.state is State.BACKING_OFF:
            text += self._back_off(slot, now, effects, steady)
        effects.append(Report(slot.number, worker, text))

    def _failed(self, slot: Slot, worker: int, status: int, now: float, effects: list[Effect]) -> None:
        killed = slot.give_up == inf
        slot.starting, slot.give_up = None, inf
        slot.move(Move.FAILED, now)
        text = f"was not ready within {START_S:g} s" if killed else f"did not start: it ended {_how(status)}"
        if slot.state is State.READY:  # what is broken would break all others too
            self._to_renew.clear()
            self._renewing = None
            effects.append(Report(slot.number, worker, f"{text}; the workers that run go on"))
            return
        report = Report(slot.number, worker, text + self._back_off(slot, now, effects))
        if slot.number not in self._first:
            effects.append(report)
            return
        slot.untold = report  # if all fail alike, it is said once, at the end
        self._first.discard(slot.number)
        if status > 0:
            self._first_failures.append(Finish(status, worker))
        if len(self._first_failures) == len(self.slots):  # as with one process: a mistake is told and ends it
            self._stop_all(0.0, self._first_failures[0], now, effects)

    def _back_off(self, slot: Slot, now: float, effects: list[Effect], steady: bool = False) -> str:
        if steady:
            slot.failures = 0
            slot.due = now
            return "; another one takes its place"
        slot.failures += 1
        delay_s = min(BACK_OFF_S * 2.0 ** min(slot.failures - 1, 30), BACK_OFF_MOST_S)
        delay_s *= 1 + BACK_OFF_SPREAD * self._jitter()
        slot.due = now + delay_s
        if delay_s > QUIET_BACK_OFF_S:
            self._quieten(slot, effects)
        return f"; the next one comes in {delay_s:.1f} s"

    def _quieten(self, slot: Slot, effects: list[Effect]) -> None:
        if slot.listens:
            slot.listens = False
            effects.append(Quieten(slot.number))

    def _let_go(self, slot: Slot, worker: int, drain_s: float, now: float, effects: list[Effect]) -> None:
        self.leaving[worker] = now + drain_s + END_S
        self._left[worker] = slot.number
        effects.append(Drain(worker, drain_s))
        for old in list(self.leaving)[: -LEAVING_MOST * len(self.slots)]:
            self.leaving[old] = min(self.leaving[old], now + END_S)
            effects.append(Drain(old, 0.0))

    def _gone(self, worker: int, status: int, effects: list[Effect]) -> None:
        """A worker that was told to leave has ended: by itself, or its clients and its shutdown were cut off."""
        kill_at, slot = self.leaving.pop(worker, None), self._left.pop(worker, None)
        if slot is not None and status < 0:
            how = (
                "was killed: it did not stop in time"
                if kill_at == inf
                else f"ended {_how(status)} while it was stopping"
            )
            effects.append(Report(slot, worker, how))

    def _signalled(self, drain_s: float, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if now - self._signalled_at < SAME_S:
            return effects
        self._signals += 1
        self._signalled_at = now
        if self._stop is None:
            self._stop_all(drain_s, Finish(0), now, effects)
        else:
            self._hurry(0.0 if self._signals > 2 else HURRY_S, now, effects)
        return self._settle(now, effects)

    def _stop_all(self, drain_s: float, finish: Finish, now: float, effects: list[Effect]) -> None:
        self._stop = finish
        self._to_renew.clear()
        effects.append(Close())
        for worker, kill_at in self.leaving.items():
            # A worker that was renewed has no more time than the others.
            self.leaving[worker] = min(kill_at, now + drain_s + END_S)
            if not drain_s:
                effects.append(Drain(worker, 0.0))
        for slot in self.slots.values():
            slot.move(Move.STOP, now)
            if slot.serving is not None:
                self._let_go(slot, slot.serving, drain_s, now, effects)
            if slot.starting is not None:
                self._let_go(slot, slot.starting, 0.0, now, effects)
            slot.serving = slot.starting = None
            slot.give_up = inf

    def _hurry(self, within_s: float, now: float, effects: list[Effect]) -> None:
        for worker, kill_at in self.leaving.items():
            self.leaving[worker] = min(kill_at, now + within_s)
            effects.append(Drain(worker, 0.0))

    # Time

    def _settle(self, now: float, effects: list[Effect]) -> list[Effect]:
        """Do what is due, and note when the next thing is."""
        if self._finished:
            return effects
        for worker, kill_at in self.leaving.items():
            if kill_at <= now:
                self.leaving[worker] = inf
                effects.append(Kill(worker))
        if self._stop is None:
            self._renew_next(now, effects)
            for slot in self.slots.values():
                self._settle_slot(slot, now, effects)
            if not self._announced and not self._first and self._serving():
                self._announced = True
                effects.append(Announce())
        elif not self.leaving:
            self._finished = True
            effects.append(self._stop)
        self.deadline = self._next(now)
        return effects

    def _settle_slot(self, slot: Slot, now: float, effects: list[Effect]) -> None:
        if slot.state is State.BACKING_OFF and slot.due <= now:
            slot.move(Move.DUE, now)
            self._spawn(slot, now, effects)
        if slot.starting is not None and slot.give_up <= now:
            slot.give_up = inf
            effects.append(Kill(slot.starting))
        if self._may_quieten(slot) and slot.down_since + QUIET_S <= now:
            self._quieten(slot, effects)

    def _may_quieten(self, slot: Slot) -> bool:
        return slot.state is State.STARTING and slot.listens and self._serving()

    def _serving(self) -> bool:
        return any(slot.serving is not None for slot in self.slots.values())

    def _renew_next(self, now: float, effects: list[Effect]) -> None:
        """The next slot gets a new worker once that of the slot before is ready, or lost."""
        if self._renewing is not None and self.slots[self._renewing].starting is not None:
            return
        renewed, self._renewing = self._renewing, None
        if not self._to_renew:
            if renewed is not None and self.slots[renewed].state is State.READY:
                effects.append(Renewed())
            return
        slot = self.slots[self._to_renew.popleft()]
        self._renewing = slot.number
        stale = slot.starting
        slot.move(Move.RENEW, now)
        slot.failures = 0
        if stale is not None:  # it has no clients, and may have the old code
            self._let_go(slot, stale, 0.0, now, effects)
        self._spawn(slot, now, effects)

    def _next(self, now: float) -> float | None:
        times = list(self.leaving.values())
        for slot in self.slots.values():
            times.append(slot.give_up)
            if slot.state is State.BACKING_OFF:
                times.append(slot.due)
            if self._may_quieten(slot):
                times.append(slot.down_since + QUIET_S)
        first = min(times, default=inf)
        return None if first == inf else first


def _how(status: int) -> str:
    return f"by signal {-status}" if status < 0 else f"with status {status}"
