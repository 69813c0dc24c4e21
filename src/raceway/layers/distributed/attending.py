"""Presence between processes: what each loop says to the desk, and the desk, which one loop of all keeps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from raceway.errors import LayerUnavailable
from raceway.layers.distributed.carrier import DESK, EVERYBODY
from raceway.layers.distributed.desk import LEASE_S, Desk, Effect, SayAgain
from raceway.layers.distributed.frames import (
    Ask,
    Beat,
    Changed,
    Enter,
    Exit,
    Frame,
    Gone,
    Reply,
    Whole,
    encode,
)
from raceway.layers.roster import Diff, presence_group

if TYPE_CHECKING:
    from raceway.layers.distributed.layer import DistributedLayer
    from raceway.layers.distributed.part import DistributedPart

logger = logging.getLogger("raceway.layers")

BEAT_S: Final = 5.0
"""Who has entries, or the desk, says so in this interval, and takes the desk if nobody has it."""

ENTER_S: Final = 5.0
"""How long an ``enter`` waits for the desk; then it goes on, and the desk hears of it with a beat."""

HANDOVER_S: Final = 1.0
"""How long a desk that ends waits for the next, to tell it who may come back within the grace."""


class Attending:
    """The presences of one loop's channels; all methods belong to the loop's thread.

    Entries stand until they exit: a new desk, and one that has missed something, hears them again.
    """

    def __init__(self, part: DistributedPart, layer: DistributedLayer, clock: Callable[[], float]) -> None:
        self._part = part
        self._layer = layer
        self._clock = clock
        self._entries: dict[str, dict[str, Enter]] = {}
        """By channel and presence."""
        self._desk: Desk | None = None
        self._has_desk_until = 0.0
        self._settled: asyncio.Future[None] | None = None
        """Ends when everybody has said to a new desk who is there."""
        self._is_cut_off = False
        self._is_ready = False
        """There is a desk, here or elsewhere, that hears what is said."""
        self._beating: asyncio.Task[None] | None = None
        self._inheritance: list[tuple[str, str, dict[str, Any], float]] = []
        """What the next desk hears from the one that ends here."""
        self._has_handed_over = asyncio.Event()
        self._is_told_of_the_end = False
        """The last desk has ended in good order, and no other has it yet."""
        self._beat_now = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    # Connections

    def enter(
        self, presence: str, key: str, channel: str, meta: dict[str, Any], grace_s: float
    ) -> asyncio.Future[bool]:
        """Whether the desk has heard it, within ``ENTER_S``."""
        n, answered = self._part.expect_answer(ENTER_S)
        entry = Enter(self._part.reply_to, n, presence, key, channel, meta, grace_s)
        answered.add_done_callback(partial(note_answered, entry))
        self._entries.setdefault(channel, {})[presence] = entry
        if self._is_ready:
            self._say(entry)
        self._start()
        return answered

    def exit(self, presence: str | None, channel: str) -> None:
        entries = self._entries.get(channel)
        if entries is None or (presence is not None and entries.pop(presence, None) is None):
            return
        if presence is None or not entries:
            del self._entries[channel]
        if self._is_ready:
            self._say(Exit(self._part.reply_to, presence, channel))

    @property
    def has_entries(self) -> bool:
        return bool(self._entries)

    def say_again(self) -> bool:
        """Tell a new desk of all that are there; whether they were known to one that has gone without a word."""
        inheritance, self._inheritance = self._inheritance, []
        for n, (presence, key, meta, left_s) in enumerate(inheritance):
            channel = f"{self._part.reply_to.removeprefix('r:')}!gone.{n}"
            self._say(Enter(self._part.reply_to, 0, presence, key, channel, meta, left_s, again=True))
            self._say(Exit(self._part.reply_to, None, channel))
        if inheritance:
            self._has_handed_over.set()
            return False
        was_known = any(entry.again for entries in self._entries.values() for entry in entries.values())
        is_loss, self._is_told_of_the_end = was_known and not self._is_told_of_the_end, False
        self.say_all()
        return is_loss

    def say_all(self) -> None:
        """Tell the desk of all that are there."""
        places = []
        for channel, entries in self._entries.items():
            for presence, entry in entries.items():
                places.append((presence, channel))
                self._say(entry)
        self._say(Whole(self._part.reply_to, places))

    def _say(self, frame: Enter | Exit | Beat | Whole | Gone) -> None:
        if self._desk is not None:
            self.heard(frame)
        else:
            self._part.cast(DESK, encode(frame), "What was said of a presence")

    # Beats, and who has the desk

    def _start(self) -> None:
        if self._beating is None:
            self._beating = self._part.run(self._beat())

    async def _beat(self) -> None:
        try:
            while self._entries or self._desk is not None:
                self._beat_now.clear()
                with suppress(LayerUnavailable):
                    await self._take_part()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._beat_now.wait(), BEAT_S)
                if self._desk is not None and self._desk.is_empty:
                    await self._resign()
        finally:
            self._beating = None
            self._is_ready = False

    async def _take_part(self) -> None:
        """See to it that somebody has the desk, and tell it what there is. Raises ``LayerUnavailable``."""
        await self._part.hear_answers()
        until = self._clock() + LEASE_S
        if await self._part.carrier.elect(DESK, LEASE_S):
            if self._clock() >= self._has_desk_until:  # another may have had it meanwhile
                self._drop_desk()
            self._has_desk_until = until
            if self._desk is None:
                await self._take_desk()
        elif self._desk is not None:
            self._drop_desk()
        if self._is_ready:
            count = sum(map(len, self._entries.values()))
            self._say(Beat(self._part.reply_to, count))
            return
        self._is_ready = True
        self.say_all()

    async def _take_desk(self) -> None:
        pending = self._part.subscribe(DESK)
        self._settled = self._part.loop.create_future()
        self._desk = Desk()
        if pending is not None:
            await asyncio.shield(pending)
        self._part.run(self._hear_everybody(self._settled))

    async def _hear_everybody(self, settled: asyncio.Future[None]) -> None:
        """Who was there when the desk before this one went is there still."""
        answers: list[Any] = []
        try:
            with suppress(LayerUnavailable):
                answers = await self._layer.gather(EVERYBODY, lambda r, n: Ask(r, n, "again", ""))
        finally:
            if not settled.done():
                settled.set_result(None)
        if any(answers):  # persons may have gone with the desk that had known them
            self._part.cast(EVERYBODY, encode(Ask("", 0, "lost", "")), "The loss of a desk")

    def _drop_desk(self) -> None:
        if self._desk is None:
            return
        self._desk = None
        self._part.unsubscribe(DESK)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)

    async def _resign(self) -> None:
        """Nobody is anywhere, or this loop ends: let go of the desk."""
        self._drop_desk()
        self._is_ready = False
        with suppress(LayerUnavailable):
            await self._part.carrier.resign(DESK)

    async def aclose(self) -> None:
        """End in good order: persons have their grace, and another loop takes the desk."""
        gone = Gone(self._part.reply_to)
        self._entries.clear()
        if self._desk is None:
            if self._is_ready:
                self._say(gone)
            return
        self.heard(gone)
        self._inheritance = self._desk.graces(self._clock())
        await self._resign()
        with suppress(LayerUnavailable, TimeoutError):
            hearers = await self._part.carrier.cast(EVERYBODY, encode(Ask("", 0, "elect", "")))
            if hearers > 1 and self._inheritance:
                await asyncio.wait_for(self._has_handed_over.wait(), HANDOVER_S)

    def elect(self) -> None:
        """The desk is free, in good order."""
        self._is_told_of_the_end = True
        self._beat_now.set()

    def lost(self) -> None:
        self._is_cut_off = True

    def restored(self) -> None:
        """The carrier is there again; what was said meanwhile may not have been heard."""
        self._is_cut_off = False
        if self._desk is not None:
            self._desk.refresh(self._clock())
            self._set_timer()
        self._is_ready = False
        self._beat_now.set()

    # The desk

    def heard(self, frame: Enter | Exit | Beat | Whole | Gone) -> None:
        desk, now = self._desk, self._clock()
        if desk is None or now >= self._has_desk_until:
            return  # somebody else has it by now, and asks everybody
        self._act(desk.wake(now))
        if isinstance(frame, Enter):
            self._act(
                desk.enter(
                    frame.owner,
                    frame.presence,
                    frame.key,
                    frame.channel,
                    frame.meta,
                    frame.grace_s,
                    now,
                    again=frame.again,
                )
            )
            if frame.n:
                self._when_settled(partial(self._part.reply, frame.owner, Reply(frame.n, None)))
        elif isinstance(frame, Exit):
            self._act(desk.exit(frame.owner, frame.presence, frame.channel, now))
        elif isinstance(frame, Beat):
            self._act(desk.beat(frame.owner, frame.entries, now))
        elif isinstance(frame, Whole):
            self._act(desk.whole(frame.owner, set(frame.places), now))
        else:
            self._act(desk.forget(frame.owner, now))
        self._set_timer()

    def _when_settled(self, say: Callable[[], object]) -> None:
        """Say it when everybody has been asked: what is not known before that was known to the desk before this one."""
        desk, settled = self._desk, self._settled

        def say_if_it_stands(_: object) -> None:
            if self._desk is desk:
                say()

        if settled is None or settled.done():
            say()
        else:
            settled.add_done_callback(say_if_it_stands)

    async def answer(self, what: str, presence: str) -> Any:
        """The roll or its count, if this loop has the desk; else whether it has entries."""
        if self._desk is not None and self._settled is not None:
            await asyncio.shield(self._settled)
        if self._desk is None:
            return self.has_entries
        self._act(self._desk.wake(self._clock()))
        self._set_timer()
        return [self._desk.roll(presence) if what == "roll" else self._desk.count(presence)]

    def _act(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Diff):
                self._layer.start_publish(presence_group(effect.presence), effect.encoded)
            elif isinstance(effect, SayAgain):
                self._to(effect.owner, Ask("", 0, "whole", ""))
            else:
                changed = Changed(effect.presence, effect.kind, effect.key, effect.metas)
                is_alive = self._desk is not None and self._desk.knows(str(effect.owner))
                self._to(str(effect.owner) if is_alive else self._part.reply_to, changed)

    def _to(self, owner: str, frame: Frame) -> None:
        if owner == self._part.reply_to:
            self._part.ears.heard(owner, encode(frame))
        else:
            self._part.cast(owner, encode(frame), "What was said to a process")

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._desk is not None and not self._is_cut_off and (deadline := self._desk.deadline) is not None:
            self._timer = self._part.loop.call_later(max(0.0, deadline - self._clock()), self._wake)

    def _wake(self) -> None:
        self._timer = None
        if self._desk is not None and self._clock() < self._has_desk_until:
            self._act(self._desk.wake(self._clock()))
            self._set_timer()


def note_answered(entry: Enter, answered: asyncio.Future[bool]) -> None:
    """The desk has heard of an entry: a new desk shall not take it for one that has come just now."""
    if not answered.cancelled() and answered.result():
        entry.again = True
