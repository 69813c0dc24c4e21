"""One member's side of its talk with the broker: what it says, what it waits for, and what of it a new broker hears
again. No socket, no clock: the time and frames go in, frames and effects come out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar, cast

from raceway.errors import ChannelFull, LayerUnavailable
from raceway.layers.local.names import KeptNames
from raceway.layers.local.wire import (
    Answer,
    Beat,
    Cancel,
    Done,
    Enter,
    Exit,
    FromMember,
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
from raceway.layers.spec import non_local_name

Waiter = TypeVar("Waiter")

CONNECT_S: Final = 1.0
"""How long joins, takes and requests wait for a broker that is just starting, or being replaced."""

ANSWER_S: Final = 5.0
"""A broker that leaves a request unanswered for so long counts as lost."""

FIRST_RETRY_S: Final = 0.02
LONGEST_RETRY_S: Final = 0.75
"""Between these, about, a member that has no broker looks for one; all have to find a new one before it says who is
present (``SETTLE_S``)."""

WAITING_ASKS: Final = 100_000
"""Requests that may wait for their answers; more are refused."""

SUBSCRIBED_AT_ONCE: Final = 10_000
"""Groups in one frame, when a new broker hears them again."""


class NoBroker(LayerUnavailable):
    """Nothing was said to anybody."""

    def __init__(self, path: object) -> None:
        super().__init__(
            f"No broker is running at {path}: start the server (raceway serve, or manage.py runserver), which runs it, "
            "as the same user and with the same settings."
        )


class State(Enum):
    DOWN = "down"
    UP = "up"
    """There is a connection, and ``Hello`` is the first that is said on it."""


class Settled(NamedTuple, Generic[Waiter]):
    """What somebody has waited for is there: a value, or an error to raise."""

    waiter: Waiter
    value: Any = None
    error: Exception | None = None


class Missed(NamedTuple):
    """All groups are subscribed again, and messages may have been missed before that."""

    reason: str


class Connect(NamedTuple):
    """Look for a broker, and call ``connected`` or ``refused``."""


class Drop(NamedTuple):
    """End the connection, and call ``lost``."""

    why: str


class Short(NamedTuple):
    """An answer lacks what some processes did not say in time."""

    missing: int


Effect: TypeAlias = Settled[Waiter] | Missed | Connect | Drop | Short


class Ask(NamedTuple, Generic[Waiter]):
    """A request without its answer yet."""

    frame: FromMember
    waiter: Waiter
    since: float


class Member(Generic[Waiter]):
    """Say to a broker what one loop wants, through any number of brokers.

    What it says is in ``said`` until ``take_said``. Subscriptions, listens, takes, presences and ``names`` stand: a new
    broker hears them again. Any other request fails with ``LayerUnavailable`` when the broker that heard it goes; it is
    never said twice. One that nobody has heard yet waits ``CONNECT_S`` for a broker; joins and presences then go on
    without.
    """

    deadline: float | None
    """When to call ``wake``."""

    def __init__(
        self,
        process: str,
        path: str,
        random: Callable[[], float],
        now: float,
        names: KeptNames | None = None,
    ) -> None:
        self.process = process
        self.path = path
        self.state = State.DOWN
        self.deadline = None
        self.said: list[FromMember] = []
        self.broker: str | None = None
        """The name of the broker that has answered last."""
        self._random = random
        self.last_n = 0
        """The highest number of a request."""
        self._lease_s = 3 * ANSWER_S
        # What stands
        self._owns = False
        self._groups: dict[str, int] = {}
        """Each with the number of its unanswered ``Subscribe``; 0: answered."""
        self._listens: dict[str, None] = {}
        self._entries: dict[str, dict[str, Enter]] = {}
        """By channel and presence."""
        self._names = KeptNames() if names is None else names
        # What is waited for
        self._asks: dict[int, Ask[Waiter]] = {}
        """In the order in which they were made."""
        self._unsaid: set[int] = set()
        self._subscribing: dict[int, tuple[list[str], float]] = {}
        self._joins: dict[str, list[Waiter]] = {}
        # The connection
        self._restoring: set[int] = set()
        self._missed: str | None = None
        self._patient_until = now + CONNECT_S
        self._has_given_up = False
        self.is_welcome = False
        """The broker of this connection has answered."""
        self._retry_s = FIRST_RETRY_S
        self._retry_at = now
        self._beat_at = now
        self.has_cancelled = False
        """A message may be under way on this connection for a take that nobody waits for any more."""

    @property
    def is_up(self) -> bool:
        return self.state is State.UP

    def take_said(self) -> list[FromMember]:
        said, self.said = self.said, []
        return said

    # The connection

    def connected(self, now: float) -> None:
        """There is a connection: greet, and say what stands and what nobody has heard yet."""
        self.state = State.UP
        self.is_welcome = False
        self._beat_at = now + ANSWER_S
        self.said = [Hello(self.process, resumed=self.broker is not None)]
        if self._owns:
            self.said.append(Own())
        self._subscribing.clear()
        self._restoring.clear()
        groups = list(self._groups)
        for at in range(0, len(groups), SUBSCRIBED_AT_ONCE):
            self._restoring.add(self._subscribe(groups[at : at + SUBSCRIBED_AT_ONCE], now))
        if not groups:
            self._missed = None
        self.said.extend(Listen(0, channel) for channel in self._listens)
        self.said.extend(enter for entries in self._entries.values() for enter in entries.values())
        for n, ask in self._asks.items():
            if not isinstance(ask.frame, Enter):  # they stand above
                self.said.append(ask.frame)
            self._asks[n] = ask._replace(since=now)
        self._unsaid.clear()
        self._set_deadline()

    def refused(self, now: float) -> None:
        """There is no broker to be found now."""
        self._retry_at = now + self._retry_s * (0.5 + self._random() / 2)
        self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)
        self._set_deadline()

    def lost(self, why: str, now: float, written_n: int | None = None) -> list[Effect[Waiter]]:
        """The connection has ended: what was asked on it, and does not stand, has failed.

        Of requests with a number above ``written_n`` nothing was written: they go to the next broker.
        """
        self.state = State.DOWN
        self.has_cancelled = False
        self.said.clear()
        if self._groups and self._missed is None:
            self._missed = why
        if self.is_welcome:
            self._patient_until = now + CONNECT_S
            self._retry_at = now
        else:  # whoever listens there ends connections, or does not answer
            self.refused(now)
        effects: list[Effect[Waiter]] = []
        for n, ask in list(self._asks.items()):
            if isinstance(ask.frame, Take | Enter) or n in self._unsaid:
                continue
            if written_n is not None and n > written_n:
                self._unsaid.add(n)
            else:
                del self._asks[n]
                error = LayerUnavailable(f"{why}; whether it had done what it was asked for is not known.")
                effects.append(Settled(ask.waiter, error=error))
        if self._has_given_up:
            effects += self._give_up()
        self._set_deadline()
        return effects

    def end(self, now: float) -> list[Effect[Waiter]]:
        """This member is not used any more. Who takes is not told: their waiting is ended by whoever ends this."""
        return [*self.lost("The channel layer was closed", now), *self._give_up()]

    def wake(self, now: float) -> list[Effect[Waiter]]:
        """The deadline may have passed."""
        effects: list[Effect[Waiter]] = []
        self._names.expire(now)
        if self.is_up:
            if now >= self._beat_at:
                if self._is_overdue(now):
                    return [Drop(f"The broker at {self.path} has not answered for {ANSWER_S:.0f} s")]
                self.said.append(Beat())
                self._beat_at = now + min(self._lease_s / 3, ANSWER_S)
        else:
            if now >= self._retry_at:
                effects.append(Connect())
                self._retry_at = now + self._retry_s  # until it is said how that went
            if now >= self._patient_until and not self._has_given_up:
                effects += self._give_up()
        self._set_deadline()
        return effects

    def _give_up(self) -> list[Effect[Waiter]]:
        self._has_given_up = True
        effects: list[Effect[Waiter]] = []
        if self._groups and self._missed is None:
            self._missed = f"There was no broker at {self.path}"
        for waiters in self._joins.values():
            effects.extend(Settled(waiter) for waiter in waiters)
        self._joins.clear()
        for n, ask in list(self._asks.items()):
            if isinstance(ask.frame, Enter):
                effects.append(Settled(ask.waiter))
            elif n in self._unsaid:
                effects.append(Settled(ask.waiter, error=NoBroker(self.path)))
            else:
                continue
            del self._asks[n]
        self._unsaid.clear()
        return effects

    def _is_overdue(self, now: float) -> bool:
        waits = [ask.since for ask in self._asks.values() if not isinstance(ask.frame, Take)]
        waits += [since for _, since in self._subscribing.values()]
        return not self.is_welcome or any(now - since >= ANSWER_S for since in waits)

    def _set_deadline(self) -> None:
        if self.is_up:
            self.deadline = self._beat_at
        elif not self._wants_broker():
            self.deadline = None
        elif self._has_given_up:
            self.deadline = self._retry_at
        else:
            self.deadline = min(self._retry_at, self._patient_until)

    def _wants_broker(self) -> bool:
        return bool(self._owns or self._groups or self._listens or self._entries or self._asks or self._names)

    # What is said

    def ask(self, make: Callable[[int], FromMember], waiter: Waiter, now: float) -> int:
        """Make a request, whose number goes into the frame; ``Settled`` tells ``waiter`` the answer.

        Raises ``LayerUnavailable`` if there has been no broker for a while, or too many requests wait.
        """
        if len(self._asks) >= WAITING_ASKS:
            raise LayerUnavailable(f"{WAITING_ASKS} requests wait for the broker at {self.path} already.")
        if not self.is_up and self._has_given_up:
            raise NoBroker(self.path)
        n = self._number()
        frame = make(n)
        self._asks[n] = Ask(frame, waiter, now)
        if self.is_up:
            self.said.append(frame)
        else:
            self._unsaid.add(n)
            self._set_deadline()
        return n

    def own(self) -> None:
        """This member takes what comes for the channels of its process."""
        if not self._owns:
            self._owns = True
            self._say(Own())

    def subscribe(self, group: str, now: float) -> None:
        if self.is_up:
            self._subscribe([group], now)
        else:
            self._groups[group] = 0
            if self._has_given_up and self._missed is None:
                self._missed = f"There was no broker at {self.path}"
            self._set_deadline()

    def unsubscribe(self, group: str) -> list[Effect[Waiter]]:
        self._groups.pop(group, None)
        self._say(Unsubscribe([group]))
        return [Settled(waiter) for waiter in self._joins.pop(group, ())]

    def must_wait(self, group: str) -> bool:
        """What is sent to the group from now on may yet be missed, and that may soon change."""
        if self._has_given_up:
            return False
        return self._groups.get(group, 0) != 0 if self.is_up else group in self._groups

    def wait(self, group: str, waiter: Waiter) -> None:
        """Have ``waiter`` settled when ``must_wait`` does not hold any more."""
        self._joins.setdefault(group, []).append(waiter)

    def listen(self, channel: str) -> None:
        self._listens[channel] = None
        self._say(Listen(0, channel))

    def unlisten(self, channel: str) -> None:
        if channel in self._listens:
            del self._listens[channel]
            self._say(Unlisten(channel))

    def takes(self) -> dict[int, Ask[Waiter]]:
        """What is still waited for as a message."""
        return {n: ask for n, ask in self._asks.items() if isinstance(ask.frame, Take)}

    def cancel(self, take: int) -> None:
        """Nobody waits any more for what was asked for as ``take``."""
        if self._asks.pop(take, None) is not None and take not in self._unsaid:
            self._say(Cancel(take))
            self.has_cancelled = True
        self._unsaid.discard(take)

    def pass_on(self, taken: Taken) -> list[Effect[Waiter]]:
        """A message that was taken is not used: who waits here for the same is next, and its own take is given up."""
        channel = taken.channel
        listened = (channel, non_local_name(channel)) if "!" in channel else (channel,)
        for n, ask in self.takes().items():
            if cast(Take, ask.frame).channel in listened:
                self.cancel(n)
                return [Settled(ask.waiter, taken)]
        self.give_back(taken)
        return []

    def give_back(self, taken: Taken) -> None:
        """A message that was taken is not used. Without the broker that gave it, it is lost with the others there."""
        self._say(GiveBack(taken.channel, taken.message, taken.expires_at, taken.n))

    def done(self, take: int) -> None:
        """What was taken as ``take`` is not in our hands any more."""
        self._say(Done(take))

    def enter(
        self,
        presence: str,
        key: str,
        channel: str,
        meta: dict[str, Any],
        grace_s: float,
        waiter: Waiter,
        now: float,
    ) -> list[Effect[Waiter]]:
        """Let a channel be there, or be there with other metadata; ``waiter`` is settled when others can see it."""
        n = self._number()
        entries = self._entries.setdefault(channel, {})
        effects = self._replaced(entries.get(presence))
        entries[presence] = frame = Enter(n, presence, key, channel, meta, grace_s)
        if self.is_up or not self._has_given_up:
            self._asks[n] = Ask(frame, waiter, now)
        else:  # the next broker hears of it
            effects.append(Settled(waiter))
        self._say(frame)
        return effects

    def exit(self, presence: str | None, channel: str) -> list[Effect[Waiter]]:
        """End one presence of a channel, or all."""
        entries = self._entries.get(channel, {})
        ended = [one for one in (presence,) if one in entries] if presence is not None else list(entries)
        effects = [effect for one in ended for effect in self._replaced(entries.pop(one))]
        if ended:
            if not entries:
                del self._entries[channel]
            self._say(Exit(0, presence, channel))
        return effects

    def _replaced(self, entry: Enter | None) -> list[Effect[Waiter]]:
        """Nobody will say this again, so nobody may go on waiting for its answer."""
        ask = None if entry is None else self._asks.pop(entry.n, None)
        return [] if ask is None else [Settled(ask.waiter)]

    def _subscribe(self, groups: list[str], now: float) -> int:
        n = self._number()
        for group in groups:
            self._groups[group] = n
        self._subscribing[n] = groups, now
        self.said.append(Subscribe(n, groups))
        return n

    def _say(self, frame: FromMember) -> None:
        if self.is_up:
            self.said.append(frame)
        else:
            self._set_deadline()

    def _number(self) -> int:
        self.last_n += 1
        return self.last_n

    # What the broker says

    def welcome(self, frame: Welcome, now: float) -> None:
        self.broker = frame.broker
        self.is_welcome = True
        self._has_given_up = False
        self._retry_s = FIRST_RETRY_S
        self._lease_s = frame.lease_s
        self._beat_at = min(self._beat_at, now + min(frame.lease_s / 3, ANSWER_S))
        self.said.extend(self._names.for_broker(frame.broker, now))
        self._set_deadline()

    def answer(self, frame: Answer | Refused | Taken) -> list[Effect[Waiter]]:
        """Who waits for this? A message that nobody waits for any more is given back."""
        ask = self._asks.pop(frame.n, None)
        if ask is None:
            if isinstance(frame, Taken):
                return self.pass_on(frame)
            return list(self._subscribed(frame.n))
        if isinstance(frame, Taken):
            return [Settled(ask.waiter, frame)]
        if isinstance(frame, Refused):
            return [Settled(ask.waiter, error=refusal(ask.frame, frame))]
        self._names.note(ask.frame)
        if frame.missing:
            return [Short(frame.missing), Settled(ask.waiter, frame.value)]
        return [Settled(ask.waiter, frame.value)]

    def _subscribed(self, n: int) -> Iterator[Effect[Waiter]]:
        groups, _ = self._subscribing.pop(n, ((), 0.0))
        for group in groups:
            if self._groups.get(group) == n:
                self._groups[group] = 0
                for waiter in self._joins.pop(group, ()):
                    yield Settled(waiter)
        if n in self._restoring:
            self._restoring.discard(n)
            if not self._restoring and self._missed is not None:
                reason, self._missed = self._missed, None
                yield Missed(reason)


def refusal(asked: FromMember, refused: Refused) -> Exception:
    if refused.why == "full" and isinstance(asked, Send):
        return ChannelFull(f"The channel {asked.channel!r} holds {asked.capacity} messages already.")
    return LayerUnavailable(f"The broker refused a {type(asked).__name__}: {refused.why}.")
