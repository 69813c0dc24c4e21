"""What one event loop hears: its subscriptions, its place in the log, its lease; and its part in numbering the log."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from contextvars import Context
from typing import Final

from raceway.errors import LayerUnavailable
from raceway.layers.distributed.carrier import Ears
from raceway.layers.postgres.commands import Names
from raceway.layers.postgres.connecting import Place, Session, as_unavailable, forsake
from raceway.layers.postgres.limits import (
    BEAT_S,
    DEPUTY_S,
    FOLLOW_S,
    LATE_S,
    POLL_S,
    READ_BYTES,
    READ_ROWS,
    RENEWALS,
    RETRY_S,
    SEQUENCER_LOCK,
    TIDY_ROWS,
    TIDY_S,
    WAKE_EVERY_S,
)
from raceway.layers.postgres.writer import CLOSE_S, settle

logger = logging.getLogger("raceway.layers")

NEVER: Final = float("inf")

LOG_NEWS: Final = "raceway_log"
OUTBOX_NEWS: Final = "raceway_outbox"
SEQUENCER_NEWS: Final = "raceway_sequencer"

LOST: Final = "A message to %s is lost: the process that had it in its hands has not been heard of for %g s."
EMPTIED: Final = "the tables of the PostgreSQL layer were emptied"


class Turns:
    """When to number what is committed: soon after news of it, at most every ``WAKE_EVERY_S``, once more after that,
    and every ``POLL_S`` anyway. Times are the loop's.
    """

    def __init__(self) -> None:
        self._is_news = False
        self._last_at = -NEVER
        self.at = -NEVER
        """When the next one is due."""

    def news(self) -> None:
        """There is something, or may be."""
        self._is_news = True
        self.at = min(self.at, self._last_at + WAKE_EVERY_S)

    def begin(self, now: float) -> None:
        """One begins now; what is told while it lasts is for the next."""
        self._last_at = now
        self.at = now + (FOLLOW_S if self._is_news else POLL_S)
        self._is_news = False

    def moved(self, rows: int) -> None:
        """The one that began has found so many."""
        if rows:
            self.at = min(self.at, self._last_at + FOLLOW_S)


class Reader:
    """Hear what is cast to the addresses that are subscribed, from the time when ``subscribe`` ends.

    It works from the first subscription on, until it is closed; a lost connection is made again, and what has been
    written meanwhile is heard. ``log_kept_s`` is how long frames stay in the log, ``lease_s`` how long this
    carrier counts as alive without a word from it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        place: Place,
        names: Names,
        ears: Ears,
        *,
        lease_s: float,
        log_kept_s: float,
    ) -> None:
        self._loop = loop
        self._place = place
        self._names = names
        self._ears = ears
        self._lease_s = lease_s
        self._log_kept_s = log_kept_s
        # Keys of addresses: wanted, and why whoever wanted them waits; in force; to be ended.
        self._wanted: dict[str, asyncio.Future[None] | None] = {}
        self._stored: set[str] = set()
        self._leaving: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False
        self._news = asyncio.Event()
        self._reason = ""
        """Why frames may have been missed; empty while they cannot have been."""
        # The connection, and what is true as long as it lasts
        self._session: Session | None = None
        self._began_at = NEVER
        self._renew_at = NEVER
        self._tidy_at = NEVER
        self._sequences_until = -NEVER
        self._is_sequencer = False
        self._is_vacant = False
        """The sequencer has said that it goes."""
        self._turns = Turns()
        self._unseen = "0"
        self._running: list[str] = []
        # The place in the log
        self._epoch: object = None
        self._position = 0

    # What the carrier asks for

    def start(self) -> None:
        if self._task is None and not self._is_closing:
            self._task = self._loop.create_task(self._work(), context=Context())

    def subscribe(self, address: str) -> asyncio.Future[None] | None:
        key = self._names.key(address)
        waiting = self._wanted.get(key)
        if key in self._stored:
            return None
        if waiting is None or waiting.done():
            waiting = self._wanted[key] = self._loop.create_future()
            if self._is_closing:
                waiting.cancel()
        self._news.set()
        self.start()
        return waiting

    def unsubscribe(self, address: str) -> None:
        key = self._names.key(address)
        if key not in self._wanted:
            return
        waiting = self._wanted.pop(key)
        if waiting is not None:
            settle(waiting, None)
        self._stored.discard(key)
        self._leaving.add(key)
        self._news.set()

    @property
    def is_sequencing(self) -> bool:
        """Whether this carrier numbers what is written, so that nobody else needs to be woken."""
        return self._loop.time() < self._sequences_until

    def wake_sequencer(self) -> None:
        """Something was written in this loop."""
        self._turns.news()
        self._news.set()

    # Its task

    async def _work(self) -> None:
        try:
            failures = 0
            while not self._is_closing:
                try:
                    await self._connect()
                    failures = 0
                    await self._serve()
                except LayerUnavailable as error:
                    self._lose(str(error))
                except Exception as error:
                    logger.exception("What was heard from PostgreSQL could not be worked on.")
                    self._lose(f"{type(error).__name__}: {error}")
                await self._pause(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1
        finally:
            try:  # also if the loop ends, and cancels this
                await asyncio.wait_for(self._end(), CLOSE_S)
            finally:
                self._task = None
                self._sequences_until = -NEVER
                for waiting in self._wanted.values():
                    if waiting is not None:
                        waiting.cancel()
                self.drop()

    async def _connect(self) -> None:
        session = self._session = await Session.open(self._place, "listener", listens=True)
        session.connection.add_notify_handler(lambda notify: self._hear_of(notify.channel, notify.pid))
        self._began_at = self._loop.time()
        self._turns = Turns()
        self._unseen, self._running = "0", []
        self._is_sequencer = self._is_vacant = False
        self._sequences_until = -NEVER if self._place.can_listen else NEVER
        if self._place.can_listen:
            await session.run("with_plain_plans")
            await session.run("listen")
            await session.run("listen_for_vacancy")
            await self._try_to_lead()
        await self._begin()

    async def _begin(self) -> None:
        """Be there: with a lease, and with every subscription."""
        session = self._live()
        await session.run("begin", {"carrier": self._names.carrier, "lease_s": self._lease_s})
        self._renew_at = self._loop.time() + self._lease_s / RENEWALS
        self._tidy_at = self._loop.time() + TIDY_S
        self._stored.clear()
        seq = await self._resubscribe()
        if self._reason:
            while self._position < seq and await self._read():
                """What was written meanwhile; what is written now comes after the news of the gap."""
            reason, self._reason = self._reason, ""
            self._ears.missed(reason)

    async def _serve(self) -> None:
        while not self._is_closing:
            now = self._loop.time()
            if now >= self._renew_at:
                await self._renew()
            if self._leaving or len(self._stored) != len(self._wanted):
                await self._resubscribe()
            if now < self._sequences_until and now >= self._turns.at:
                await self._turn("turn")
            has_more = await self._read()
            if now < self._sequences_until and now >= self._tidy_at:
                await self._tidy()
            if not has_more:
                await self._wait()

    async def _wait(self) -> None:
        """Until there is something to do."""
        session = self._live()
        now = self._loop.time()
        until = now + POLL_S
        if now < self._sequences_until:
            until = min(until, self._turns.at)
        fd = session.connection.pgconn.socket
        self._loop.add_reader(fd, self._news.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._news.wait()
        finally:
            self._loop.remove_reader(fd)
        self._news.clear()
        with as_unavailable():
            session.connection.pgconn.consume_input()
        while notify := session.connection.pgconn.notifies():
            self._hear_of(notify.relname.decode(), notify.be_pid)

    def _hear_of(self, channel: str, pid: int) -> None:
        """Somebody has woken this connection, perhaps itself."""
        if channel == OUTBOX_NEWS:
            self._turns.news()
        elif channel == SEQUENCER_NEWS:
            self._is_vacant = True
        elif pid == self._live().connection.pgconn.backend_pid:
            return  # the log is read anyway after a turn
        self._news.set()

    async def _pause(self, seconds: float) -> None:
        until = self._loop.time() + seconds
        while not self._is_closing and self._loop.time() < until:
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._news.wait()

    # Subscriptions

    async def _resubscribe(self) -> int:
        """Bring into force what is wanted; how far the log goes."""
        session = self._live()
        leaving, self._leaving = list(self._leaving), set()
        if leaving:
            await session.run("unsubscribe", {"carrier": self._names.carrier, "addresses": leaving})
        adding = [key for key in self._wanted if key not in self._stored]
        waiting = [self._wanted[key] for key in adding]
        # What is committed has its number before the end of the log is looked at: it was sent before.
        await self._turn("turn_for_sure")
        rows = await session.run("subscribe", {"carrier": self._names.carrier, "addresses": adding})
        if not rows:
            raise LayerUnavailable("The tables of the PostgreSQL layer were emptied this instant.")
        [(epoch, seq)] = rows
        if epoch != self._epoch:
            if self._epoch is not None:
                self._tell_missed(EMPTIED)
            self._epoch, self._position = epoch, seq
        for key, future in zip(adding, waiting, strict=True):
            # Otherwise it was ended meanwhile, and perhaps begun again.
            if key in self._wanted and self._wanted[key] is future:
                self._stored.add(key)
                self._wanted[key] = None
                if future is not None:
                    settle(future, None)
        return int(seq)

    # The log

    async def _read(self) -> bool:
        """Hear what is next; whether there may be more."""
        rows = await self._live().run(
            "read",
            {
                "carrier": self._names.carrier,
                "position": self._position,
                "rows": READ_ROWS,
                "bytes": READ_BYTES,
            },
        )
        if not rows or rows[0][0] is None or rows[0][0] != self._epoch:
            await self._begin_again(EMPTIED)
            return True
        _, seq, floor, age_s, *_ = rows.pop(0)
        if self._position < floor:
            self._position = floor
            self._tell_missed("frames were pruned from the log before they were read")
        for number, key, frame in ((row[4], row[5], row[6]) for row in rows):
            self._position = number
            if key in self._stored:
                self._ears.heard(self._names.name(key), frame)
        if len(rows) == READ_ROWS or sum(len(row[6]) for row in rows) >= READ_BYTES:
            return True
        self._position = seq
        if self._place.can_listen and not self._is_sequencer:
            if self._is_vacant:
                self._is_vacant = False
                await self._try_to_lead()
            elif age_s > LATE_S:
                await self._stand_in()
        return False

    # Numbering

    async def _turn(self, query: str) -> None:
        """Run ``turn``, or ``turn_for_sure``, which waits for whoever is about to."""
        self._turns.begin(self._loop.time())
        rows = await self._live().run(
            query, {"unseen": self._unseen, "running": self._running, "beat_s": BEAT_S}
        )
        if not rows:
            return  # somebody else is about to
        [(moved, self._unseen, self._running, _)] = rows
        self._turns.moved(moved)

    async def _try_to_lead(self) -> None:
        session = self._live()
        [(self._is_sequencer,)] = await session.run("lead", {"lock": SEQUENCER_LOCK})
        if self._is_sequencer:
            self._sequences_until = NEVER
            await session.run("listen_to_writers")

    async def _stand_in(self) -> None:
        """Nobody has shown that they number what is written: do it, as the sequencer or for one that hangs."""
        await self._try_to_lead()
        if not self._is_sequencer:
            self._sequences_until = self._loop.time() + DEPUTY_S
            await self._live().run("listen_to_writers")

    async def _tidy(self) -> None:
        """Delete what has expired, a little at a time."""
        session = self._live()
        self._tidy_at = self._loop.time() + TIDY_S
        if self._loop.time() >= self._began_at + self._lease_s:  # who is alive has had time to say so
            for (key,) in await session.run("clean"):
                logger.warning(LOST, self._names.name(key), self._lease_s)
        [(log_rows,)] = await session.run("prune_log", {"kept_s": self._log_kept_s, "rows": TIDY_ROWS})
        [(queue_rows,)] = await session.run("prune_queues", {"rows": TIDY_ROWS})
        if TIDY_ROWS in (log_rows, queue_rows):
            self._tidy_at = self._loop.time()

    # The lease

    async def _renew(self) -> None:
        renewed = await self._live().run("renew", {"carrier": self._names.carrier, "lease_s": self._lease_s})
        if renewed:
            self._renew_at = self._loop.time() + self._lease_s / RENEWALS
        else:
            await self._begin_again("this process was silent for longer than its lease")

    async def _begin_again(self, reason: str) -> None:
        self._reason = reason
        await self._begin()

    def _tell_missed(self, reason: str) -> None:
        if not self._reason:  # otherwise it is told in a moment
            self._ears.missed(reason)

    # Ends

    def _lose(self, reason: str) -> None:
        self.drop()
        self._sequences_until = -NEVER
        self._stored.clear()
        is_first = not self._reason
        if self._epoch is not None:
            self._reason = self._reason or reason
        for key, waiting in self._wanted.items():
            if waiting is not None and not waiting.done():
                waiting.set_exception(LayerUnavailable(reason))
                self._reason = self._reason or reason
            self._wanted[key] = None
        if is_first and self._epoch is not None and not self._is_closing:
            self._ears.lost(reason)

    def _live(self) -> Session:
        if self._session is None or self._session.is_lost:
            raise LayerUnavailable("PostgreSQL: the connection was lost.")
        return self._session

    async def _end(self) -> None:
        if self._session is not None:
            with suppress(LayerUnavailable, TimeoutError):
                await self._session.run("end", {"carrier": self._names.carrier})
                if self._is_sequencer:
                    await self._session.run("unlock", {"lock": SEQUENCER_LOCK})
                    await self._session.run("leave")

    async def aclose(self) -> None:
        """Let the subscriptions and the lease end, and close the connection."""
        self._is_closing = True
        self._news.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=CLOSE_S)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def drop(self) -> None:
        if self._session is not None:
            self._session.drop()
            self._session = None

    def forsake(self) -> None:
        if self._session is not None:
            forsake(self._session.connection)
            self._session = None
