"""A channel layer in one SQLite file, for the processes of one machine."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from raceway import clock
from raceway.errors import ChannelFull, LayerUnavailable
from raceway.layers.distributed import DistributedLayer
from raceway.layers.distributed.carrier import (
    Carrier,
    Ears,
    Popped,
    ThreadCarrier,
    channel_address,
    group_address,
)
from raceway.layers.spec import non_local_name
from raceway.layers.statistics import Statistics

POLL_S = 0.01
"""How often a process looks for frames: SQLite tells nobody."""
BEAT_S = 1.0
"""How often it says that it is alive."""
LEASE_S = 15.0
"""A process that has not said so for so long counts as dead."""
KEPT_S = 10.0
"""Frames are kept for so long; a process that looks later has a gap."""

TABLES = """
    PRAGMA journal_mode = PERSIST;
    PRAGMA synchronous = OFF;
    CREATE TABLE IF NOT EXISTS frames (id INTEGER PRIMARY KEY AUTOINCREMENT, address, frame, at);
    CREATE TABLE IF NOT EXISTS hearers (hearer, address, since, seen_at, PRIMARY KEY (hearer, address));
    CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, channel, prefix, entry, due_at, expires_at, token);
    CREATE TABLE IF NOT EXISTS members (name, channel, until, PRIMARY KEY (name, channel));
    CREATE TABLE IF NOT EXISTS roles (role PRIMARY KEY, holder, until);
    CREATE INDEX IF NOT EXISTS frames_by_address ON frames (address, id);
    CREATE INDEX IF NOT EXISTS entries_by_channel ON entries (channel, due_at, id);
"""


class SqliteFile(ThreadCarrier):
    """The file, with a connection that is made on first use. Each method is one transaction."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[Callable[..., sqlite3.Cursor]]:
        """Raises ``LayerUnavailable`` for whatever SQLite cannot do."""
        try:
            with self._lock:
                if self._connection is None:
                    self._connection = sqlite3.connect(
                        self._path, isolation_level=None, check_same_thread=False
                    )
                    self._connection.executescript(TABLES)
                with self._connection:
                    self._connection.execute(f"BEGIN {kind}")
                    yield self._connection.execute
        except sqlite3.Error as error:
            raise LayerUnavailable(f"SQLite: {error}") from error

    def close(self) -> None:
        with self._lock:
            self.forsake()

    def forsake(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # Frames

    def subscribe(self, hearer: str, address: str) -> None:
        with self._transaction() as execute:
            row = hearer, address, last_id(execute), time.monotonic()
            execute("INSERT OR IGNORE INTO hearers VALUES (?, ?, ?, ?)", row)

    def unsubscribe(self, hearer: str, address: str) -> None:
        with self._transaction() as execute:
            execute("DELETE FROM hearers WHERE hearer = ? AND address = ?", (hearer, address))

    def end(self, hearer: str) -> None:
        with self._transaction() as execute:
            execute("DELETE FROM hearers WHERE hearer = ?", (hearer,))

    def beat(self, hearer: str) -> int:
        """Say that it is alive, and clear away what is old; to how many addresses it is subscribed."""
        with self._transaction() as execute:
            now = time.monotonic()
            execute("DELETE FROM hearers WHERE seen_at < ?", (now - LEASE_S,))
            execute("DELETE FROM frames WHERE at < ?", (now - KEPT_S,))
            return execute("UPDATE hearers SET seen_at = ? WHERE hearer = ?", (now, hearer)).rowcount

    def look(self, hearer: str, position: int) -> tuple[int, list[tuple[str, bytes]], bool]:
        """What has come since ``position``: where that ends, the frames, and whether some were cleared away."""
        with self._transaction("DEFERRED") as execute:
            last = last_id(execute)
            if last == position:
                return last, [], False
            frames = execute(
                "SELECT address, frame FROM frames JOIN hearers USING (address)"
                " WHERE hearer = ? AND id > since AND id > ? ORDER BY id",
                (hearer, position),
            ).fetchall()
            kept = execute("SELECT count(*) FROM frames WHERE id > ?", (position,)).fetchone()[0]
            return last, frames, 0 <= position < last - kept

    def cast(self, address: str, frame: bytes) -> int:
        with self._transaction() as execute:
            return cast(execute, address, frame)

    def publish(self, group: str, frame: bytes) -> list[str]:
        with self._transaction() as execute:
            cast(execute, group_address(group), frame)
            return named(execute, group)

    def gather(
        self, address: str, make_frame: Callable[[str], bytes], wait_s: float
    ) -> tuple[list[bytes], int]:
        hearer = secrets.token_hex(8)
        self.subscribe(hearer, reply_to := f"r:{hearer}")
        expected, answers, position = self.cast(address, make_frame(reply_to)), [], 0
        deadline = time.monotonic() + wait_s
        while len(answers) < expected and time.monotonic() < deadline:
            time.sleep(POLL_S)
            position, frames, _ = self.look(hearer, position)
            answers += [frame for _, frame in frames]
        self.end(hearer)
        return answers, expected - len(answers)

    # Queues of named channels. What is not delayed was due when it came.

    def put(self, channel: str, entry: bytes, capacity: int, expiry_s: float) -> None:
        with self._transaction() as execute:
            now = clock.monotonic()
            execute("DELETE FROM entries WHERE expires_at <= ?", (now,))
            due = execute("SELECT count(*) FROM entries WHERE channel = ? AND due_at <= ?", (channel, now))
            if due.fetchone()[0] >= capacity:
                raise ChannelFull(f"The channel {channel!r} holds {capacity} messages already.")
            insert(execute, channel, entry, now, now + expiry_s)

    def put_later(self, channel: str, entry: bytes, expiry_s: float, delay_s: float, token: str) -> None:
        with self._transaction() as execute:
            due_at = clock.monotonic() + delay_s
            insert(execute, channel, entry, due_at, due_at + expiry_s, token)

    def cancel(self, channel: str, token: str) -> bool:
        with self._transaction() as execute:
            what = channel, token, clock.monotonic()
            deleted = execute("DELETE FROM entries WHERE channel = ? AND token = ? AND due_at > ?", what)
            return deleted.rowcount > 0

    def pop(self, channel: str, hold: bool) -> Popped:
        column = "prefix" if channel.endswith("!") else "channel"
        with self._transaction() as execute:
            now = clock.monotonic()
            first = execute(
                "SELECT id, channel, entry, due_at, expires_at FROM entries"
                f" WHERE {column} = ? AND expires_at > ? ORDER BY due_at, id LIMIT 1",
                (channel, now),
            ).fetchone()
            if first is None:
                return Popped(None)
            number, name, entry, due_at, expires_at = first
            if due_at > now:
                return Popped(None, wait_s=due_at - now)
            execute("DELETE FROM entries WHERE id = ?", (number,))
            return Popped(entry, name, handle=(due_at, expires_at))

    def put_back(self, popped: Popped) -> None:
        with self._transaction() as execute:
            insert(execute, popped.channel, popped.entry, *popped.handle)  # due before all others, as it was

    def flush(self) -> None:
        with self._transaction() as execute:
            execute("DELETE FROM entries")
            execute("DELETE FROM members")

    # Members by name

    def add_named(self, group: str, channel: str, expiry_s: float) -> None:
        with self._transaction() as execute:
            row = group, channel, clock.monotonic() + expiry_s
            execute("INSERT OR REPLACE INTO members VALUES (?, ?, ?)", row)

    def discard_named(self, group: str, channel: str) -> None:
        with self._transaction() as execute:
            execute("DELETE FROM members WHERE name = ? AND channel = ?", (group, channel))

    def named(self, group: str) -> list[str]:
        with self._transaction("DEFERRED") as execute:
            return named(execute, group)

    # Roles

    def elect(self, role: str, holder: str, lease_s: float) -> bool:
        with self._transaction() as execute:
            now = time.monotonic()
            elected = execute(
                "INSERT INTO roles VALUES (?, ?, ?) ON CONFLICT (role) DO UPDATE"
                " SET holder = excluded.holder, until = excluded.until WHERE holder = excluded.holder OR until < ?",
                (role, holder, now + lease_s, now),
            )
            return elected.rowcount > 0

    def resign(self, role: str, holder: str) -> None:
        with self._transaction() as execute:
            execute("DELETE FROM roles WHERE role = ? AND holder = ?", (role, holder))


def last_id(execute: Callable[..., sqlite3.Cursor]) -> int:
    row = execute("SELECT seq FROM sqlite_sequence WHERE name = 'frames'").fetchone()
    return row[0] if row else 0


def cast(execute: Callable[..., sqlite3.Cursor], address: str, frame: bytes) -> int:
    now = time.monotonic()
    hearers = execute(
        "SELECT count(*) FROM hearers WHERE address = ? AND seen_at > ?", (address, now - LEASE_S)
    )
    execute("INSERT INTO frames (address, frame, at) VALUES (?, ?, ?)", (address, frame, now))
    return hearers.fetchone()[0]


def insert(
    execute: Callable[..., sqlite3.Cursor],
    channel: str,
    entry: bytes | None,
    due_at: float,
    expires_at: float,
    token: str = "",
) -> None:
    row = channel, non_local_name(channel), entry, due_at, expires_at, token
    execute(
        "INSERT INTO entries (channel, prefix, entry, due_at, expires_at, token) VALUES (?, ?, ?, ?, ?, ?)",
        row,
    )
    cast(execute, channel_address(channel), b"")


def named(execute: Callable[..., sqlite3.Cursor], group: str) -> list[str]:
    rows = execute("SELECT channel FROM members WHERE name = ? AND until > ?", (group, clock.monotonic()))
    return [channel for (channel,) in rows]


def in_the_thread(method: Callable[..., Any]) -> Callable[..., asyncio.Future[Any]]:
    """A method of a carrier that has its thread call ``method``."""
    return lambda carrier, *args: carrier._begin(method, carrier._file, *args)


class SqliteCarrier(Carrier):
    """One loop's way to the file: a thread that does one thing after another, so that the loop waits for no disk."""

    def __init__(self, path: str, loop: asyncio.AbstractEventLoop, ears: Ears) -> None:
        self._loop = loop
        self._ears = ears
        self._file = SqliteFile(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-layer")
        self._hearer = secrets.token_hex(8)
        self._addresses: set[str] = set()
        self._looking = loop.create_task(self._look())

    def _begin(self, method: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        if not self._looking.done():
            return self._loop.run_in_executor(self._thread, method, *args)
        closed = self._loop.create_future()
        closed.cancel()
        return closed

    async def _look(self) -> None:
        position, beat_at = -1, 0.0
        try:
            while True:
                await asyncio.sleep(POLL_S)
                if not self._addresses:
                    continue
                try:
                    if self._loop.time() >= beat_at:
                        await self._beat()
                        beat_at = self._loop.time() + BEAT_S
                    position, frames, is_gap = await self._begin(self._file.look, self._hearer, position)
                except LayerUnavailable:
                    continue  # nothing is lost, as the frames are kept
                for address, frame in frames:
                    if address in self._addresses:
                        self._ears.heard(address, frame)
                if is_gap:
                    self._ears.missed(f"this process has not looked for {KEPT_S:g} s")
        finally:
            self._thread.submit(self._file.end, self._hearer)
            self._closed = self._thread.submit(self._file.close)
            self._thread.shutdown(wait=False)

    async def _beat(self) -> None:
        addresses = frozenset(self._addresses)
        if await self._begin(self._file.beat, self._hearer) < len(addresses):
            self._ears.lost("this process counted as dead")
            for address in addresses & self._addresses:
                await self._begin(self._file.subscribe, self._hearer, address)
            self._ears.missed(f"this process has said nothing for {LEASE_S:g} s")

    def subscribe(self, address: str) -> asyncio.Future[None]:
        self._addresses.add(address)
        return self._begin(self._file.subscribe, self._hearer, address)

    def unsubscribe(self, address: str) -> None:
        self._addresses.discard(address)
        self._begin(self._file.unsubscribe, self._hearer, address)

    def elect(self, role: str, lease_s: float) -> asyncio.Future[bool]:
        return self._begin(self._file.elect, role, self._hearer, lease_s)

    def resign(self, role: str) -> asyncio.Future[None]:
        return self._begin(self._file.resign, role, self._hearer)

    cast = in_the_thread(SqliteFile.cast)
    publish = in_the_thread(SqliteFile.publish)
    put = in_the_thread(SqliteFile.put)
    put_later = in_the_thread(SqliteFile.put_later)
    cancel = in_the_thread(SqliteFile.cancel)
    pop = in_the_thread(SqliteFile.pop)
    put_back = in_the_thread(SqliteFile.put_back)
    add_named = in_the_thread(SqliteFile.add_named)
    discard_named = in_the_thread(SqliteFile.discard_named)
    named = in_the_thread(SqliteFile.named)
    flush = in_the_thread(SqliteFile.flush)

    def release(self, popped: Popped) -> None:
        """Nothing is kept of what was popped."""

    def figures(self, channel: str | None) -> asyncio.Future[Statistics]:
        raise NotImplementedError("SqliteLayer does not offer 'statistics'.")

    async def aclose(self) -> None:
        self._looking.cancel()
        await asyncio.wait([self._looking])
        await asyncio.wrap_future(self._closed)

    def forsake(self) -> None:
        if not self._looking.done():
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._file.forsake()


class SqliteLayer(DistributedLayer):
    """Carry messages between the processes of one machine by way of the file ``path``."""

    extensions = [name for name in DistributedLayer.extensions if name != "statistics"]

    def __init__(self, *, path: str, **options: Any) -> None:
        super().__init__(**options)
        self.path = path

    def make_carrier(self, loop: asyncio.AbstractEventLoop, ears: Ears) -> SqliteCarrier:
        return SqliteCarrier(self.path, loop, ears)

    def make_thread_carrier(self) -> SqliteFile:
        return SqliteFile(self.path)
