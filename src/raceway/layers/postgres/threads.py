"""The connection of all threads of a process that have no event loop."""

from __future__ import annotations

import logging
import secrets
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from raceway.errors import LayerUnavailable
from raceway.layers.distributed.carrier import ThreadCarrier, group_address
from raceway.layers.postgres.commands import (
    AddNamed,
    Cancel,
    Cast,
    Command,
    DiscardNamed,
    Named,
    Names,
    Put,
    PutLater,
    Wake,
    next_batch,
)
from raceway.layers.postgres.connecting import Place, Rows, as_unavailable, forsake, has_ended
from raceway.layers.postgres.limits import ANSWER_POLL_S, COMMAND_S, SWEEP_S
from raceway.layers.postgres.queries import QUERIES

logger = logging.getLogger("raceway.layers")


class Call:
    """A command of a thread, and what it ended with."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.is_done = False
        self.result: Any = None


class PostgresThreadCarrier(ThreadCarrier):
    """Whichever thread has the connection also does what others wait to have done, in one statement."""

    def __init__(self, place: Place, *, prefix: str, wake: Wake) -> None:
        self._place = place
        self._names = Names(prefix, secrets.token_hex(8))
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: deque[Call] = deque()
        self._connection: psycopg.Connection[Any] | None = None
        self._sweep_at = time.monotonic() + SWEEP_S

    def cast(self, address: str, frame: bytes) -> int:
        count: int = self._do(Cast(address, frame))
        return count

    def publish(self, group: str, frame: bytes) -> list[str]:
        members: list[str] = self._do(Cast(group_address(group), frame, publishes=True))
        return members

    def put(self, channel: str, entry: bytes, capacity: int, expiry_s: float) -> None:
        self._do(Put(channel, entry, capacity, expiry_s))

    def put_later(self, channel: str, entry: bytes, expiry_s: float, delay_s: float, token: str) -> None:
        self._do(PutLater(channel, entry, expiry_s, delay_s, token))

    def cancel(self, channel: str, token: str) -> bool:
        was_waiting: bool = self._do(Cancel(channel, token))
        return was_waiting

    def add_named(self, group: str, channel: str, expiry_s: float) -> None:
        self._do(AddNamed(group, channel, expiry_s))

    def discard_named(self, group: str, channel: str) -> None:
        self._do(DiscardNamed(group, channel))

    def named(self, group: str) -> list[str]:
        channels: list[str] = self._do(Named(group))
        return channels

    def wake_sequencer(self) -> None:
        """What a thread has written in a transaction of its own is committed."""
        with self._held_connection():
            self._wake_if_due()

    # Answers

    def gather(
        self, address: str, make_frame: Callable[[str], bytes], wait_s: float
    ) -> tuple[list[bytes], int]:
        answer_address = f"r:{secrets.token_hex(8)}"
        [(position,)] = self._ask("position", {})
        asked = self.cast(address, make_frame(answer_address))
        answers: list[bytes] = []
        until = time.monotonic() + wait_s
        while len(answers) < asked and time.monotonic() < until:
            time.sleep(ANSWER_POLL_S)
            key = self._names.key(answer_address)
            rows = self._ask("answers", {"position": position, "address": key})
            answers += [frame for _, frame in rows]
            position = rows[-1][0] if rows else position
        return answers, max(0, asked - len(answers))

    def _ask(self, query: str, parameters: dict[str, Any]) -> Rows:
        with self._held_connection():
            return self._run(query, parameters)

    # Commands

    def _do(self, command: Command) -> Any:
        call = Call(command)
        self._waiting.append(call)
        try:
            with self._held_connection():
                while not call.is_done:
                    self._do_next()
        except LayerUnavailable:
            with suppress(ValueError):  # it has just been done, or is under way
                self._waiting.remove(call)
            raise
        if isinstance(call.result, BaseException):
            raise call.result
        return call.result

    @contextmanager
    def _held_connection(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=COMMAND_S):
            raise LayerUnavailable("PostgreSQL is too slow: other threads wait for its answers.")
        try:
            yield
        finally:
            self._lock.release()

    def _do_next(self) -> None:
        """Do what goes together at the front; who holds the connection does it for all."""
        commands = deque(call.command for call in self._waiting.copy())  # other threads add to it meanwhile
        batch = next_batch(commands)
        calls = [self._waiting.popleft() for _ in batch]
        kind = type(batch[0])
        try:
            rows = self._run(batch[0].query, kind.parameters(batch, self._names))
            results = kind.results(batch, rows, self._names)
        except BaseException as error:
            results = [error] * len(calls)
            if not isinstance(error, Exception):
                raise
        finally:
            for call, result in zip(calls, results, strict=True):
                call.result, call.is_done = result, True
        if kind.wakes and self._connection is not None:
            self._wake_if_due()

    def _wake_if_due(self) -> None:
        now = time.monotonic()
        try:
            if self._wake.is_due(now):
                self._run("wake", {})
            if now >= self._sweep_at:
                self._sweep_at = now + SWEEP_S
                self._run("sweep", {})
        except LayerUnavailable as error:  # the sequencer polls, too
            logger.debug("The sequencer could not be woken: %s", error)

    # The connection

    def _run(self, query: str, parameters: dict[str, Any]) -> Rows:
        with as_unavailable():
            connection = self._connected()
            try:
                cursor = connection.cursor(binary=True)
                cursor.execute(QUERIES[query], parameters)
                return cursor.fetchall() if cursor.description else []
            except BaseException as error:
                if not isinstance(error, psycopg.Error) or isinstance(error, psycopg.OperationalError):
                    self._end()  # an answer may come that nobody waits for
                raise

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is not None and has_ended(self._connection):
            self._end()
        if self._connection is None:
            self._connection = Impatient.connect(**self._place.parameters("threads"))
            self._end_connection = weakref.finalize(self, self._connection.close)
        return self._connection

    def _end(self) -> None:
        if self._connection is not None:
            self._end_connection()
            self._connection = None

    def close(self) -> None:
        with self._lock:
            self._end()

    def forsake(self) -> None:
        """Without the lock, which a thread of the parent process may hold for ever."""
        if self._connection is not None:
            self._end_connection.detach()
            forsake(self._connection)
            self._connection = None


class Impatient(psycopg.Connection[Any]):
    """A connection whose statements have ``COMMAND_S`` to end."""

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        return super().wait(bounded(gen, COMMAND_S), *args, **options)


def bounded(gen: Generator[Any, Any, Any], seconds: float) -> Generator[Any, Any, Any]:
    """What psycopg waits with, until it has taken too long; it is looked at every 0.1 s, whether data comes or not."""
    until = time.monotonic() + seconds
    ready = None
    while True:
        try:
            state = gen.send(ready)
        except StopIteration as ended:
            return ended.value
        ready = yield state
        if time.monotonic() > until:
            raise psycopg.OperationalError(f"no answer for {seconds:.0f} s")
