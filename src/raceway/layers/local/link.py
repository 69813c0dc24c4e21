"""The connection of one event loop to the broker; that of threads without a loop is in ``thread_link``."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from msgspec.structs import replace

from raceway.errors import LayerUnavailable
from raceway.layers.local.member import (
    ANSWER_S,
    CONNECT_S,
    Connect,
    Drop,
    Effect,
    Member,
    Missed,
    Settled,
    Short,
)
from raceway.layers.local.names import KeptNames
from raceway.layers.local.place import is_same_user
from raceway.layers.local.wire import (
    Answer,
    Asked,
    BrokenFrame,
    Changed,
    Deliver,
    Figures,
    FrameReader,
    FromMember,
    Publish,
    Refused,
    Reply,
    Send,
    Take,
    Taken,
    decode_from_broker,
    encode,
)

logger = logging.getLogger("raceway.layers")

LINK_BUFFER_BYTES: Final = 16 * 1024 * 1024
"""What may wait for a broker that is slow to read; who awaits a send then waits for room."""

READ_BYTES: Final = 256 * 1024


class Ears(Protocol):
    """Whoever hears what comes through a link; in the loop's thread."""

    def publish(self, frame: Publish) -> None: ...
    def deliver(self, frame: Deliver) -> None: ...
    def asked(self, frame: Asked) -> None: ...
    def changed(self, frame: Changed) -> None: ...
    def missed(self, reason: str) -> None: ...


def connect(path: Path) -> socket.socket:
    """A connection to the broker of this user at ``path``. Raises ``OSError``."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)  # a Unix socket connects at once, or not at all
        connection.connect(str(path))
        if not is_same_user(connection):
            raise PermissionError(f"The process that listens at {path} belongs to another user.")
    except BaseException:
        connection.close()
        raise
    return connection


class Link:
    """A loop's connection to the broker; all methods belong to the loop's thread.

    What is said in one pass of the loop is written at its end, at once. A file descriptor and not a socket object is
    kept, which is closed once: by ``close``, with this object, or when the process ends.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        path: Path,
        process: str,
        ears: Ears,
        names: KeptNames | None = None,
    ) -> None:
        self.path = path
        self.member: Member[asyncio.Future[Any]] = Member(
            process, str(path), random.random, time.monotonic(), names
        )
        self.dropped_count = 0
        """Messages that found ``LINK_BUFFER_BYTES`` of others waiting, and whose sender did not."""
        self.lost_count = 0
        """Messages that were not with the kernel when the connection ended, and that no other broker has heard."""
        self._told_lost_count = 0
        self._loop = loop
        self._ears = ears
        self._is_closed = False
        self._fd = -1
        self._close_fd: weakref.finalize[Any, Any] | None = None
        self._reader = FrameReader()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        # Outgoing: pieces of this pass, then what the kernel did not take
        self._pieces: list[bytes] = []
        self._rest = memoryview(b"")
        self._is_flush_due = False
        self._is_waiting_to_write = False
        self._stuck_since: float | None = None
        """The kernel has taken nothing since then."""
        self.said_bytes = 0
        self._written_bytes = 0
        self._written_n = 0
        """Nothing of requests with a higher number is with the kernel."""
        self._writers: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._unwritten: deque[tuple[Publish | Send, Written]] = deque()
        """Messages that are not with the kernel as a whole, and who may wait for them."""

    # Asking and saying

    @property
    def is_up(self) -> bool:
        return self._fd >= 0

    def find(self) -> bool:
        """Whether there is a broker; looks for one if not, which costs little."""
        if self._fd < 0 and not self._is_closed:
            self._connect()
        return self._fd >= 0

    def ask(self, make: Callable[[int], FromMember]) -> tuple[int, asyncio.Future[Any]]:
        """Make a request: its number, and its answer. Raises ``LayerUnavailable``."""
        self.find()
        if not self._has_room(0):
            raise LayerUnavailable(
                f"The broker at {self.path} is too slow: {LINK_BUFFER_BYTES} bytes wait for it."
            )
        future: asyncio.Future[Any] = self._loop.create_future()
        n = self.member.ask(make, future, time.monotonic())
        self.follow()
        return n, future

    def send(self, frame: Publish | Send) -> Awaitable[None]:
        """Say what needs no answer; awaiting waits until it is with the kernel. There has to be a broker."""
        encoded = encode(frame)
        if not self._has_room(len(encoded)):
            return WhenThereIsRoom(self, frame, encoded)
        return self.say(frame, encoded)

    def say(self, frame: Publish | Send, encoded: bytes) -> Written:
        """Say a message; if the connection ends before it is written, the next broker hears it."""
        self.write(encoded)
        written = Written(self, self.said_bytes)
        if self._fd < 0:
            self._say_again(frame, written)
            self.follow()
        else:
            self._unwritten.append((frame, written))
        return written

    def _say_again(self, frame: Publish | Send, written: Written) -> None:
        """A broker has heard nothing of this message, or not all of it, which is the same: ask the next one."""
        heard: asyncio.Future[Any] = self._loop.create_future()
        written.heard = self._loop.create_future()
        heard.add_done_callback(partial(self._said_again, frame, written.heard))
        try:
            self.member.ask(lambda n: replace(frame, n=n), heard, time.monotonic())
        except LayerUnavailable as error:
            heard.set_exception(error)

    def _said_again(
        self, frame: Publish | Send, told: asyncio.Future[None], heard: asyncio.Future[Any]
    ) -> None:
        error = heard.exception()
        if error is not None:
            self.lost_count += 1
            if self.lost_count == self._told_lost_count + 1:
                self._loop.call_soon(self._tell_lost)
        if told.done():
            return
        if error is None or isinstance(frame, Publish):  # of a group nobody is promised that there are others
            told.set_result(None)
        else:
            told.set_exception(error)
            told.exception()  # maybe nobody waits for it

    def _tell_lost(self) -> None:
        logger.warning(
            "%d messages that waited for the broker at %s when it ended are lost: no other has heard them.",
            self.lost_count - self._told_lost_count,
            self.path,
        )
        self._told_lost_count = self.lost_count

    def reply(self, reply: Reply) -> None:
        self.write(encode(reply))

    def subscribe(self, group: str) -> None:
        self.find()
        self.member.subscribe(group, time.monotonic())
        self.follow()

    def unsubscribe(self, group: str) -> None:
        self.do(self.member.unsubscribe(group))
        self.follow()

    def subscribed(self, group: str) -> asyncio.Future[Any] | None:
        """Waits until nothing that is sent to the group from now on is missed; ``None`` if that is so."""
        if not self.member.must_wait(group):
            return None
        future: asyncio.Future[Any] = self._loop.create_future()
        self.member.wait(group, future)
        return future

    def own(self) -> None:
        """From now on; it is written at once, since others may learn a name of a channel in this very moment."""
        self.find()
        self.member.own()
        if self.member.said:
            self.flush()

    def listen(self, channel: str) -> None:
        self.find()
        self.member.listen(channel)
        self.follow()

    def unlisten(self, channel: str) -> None:
        self.member.unlisten(channel)
        self.follow()

    def take(self, channel: str, hold: bool = False) -> tuple[int, asyncio.Future[Any]]:
        return self.ask(lambda n: Take(n, channel, hold))

    def done(self, take: int) -> None:
        self.member.done(take)
        self.follow()

    def cancel(self, take: int) -> None:
        self.member.cancel(take)
        self.flush()

    async def stop_taking(self) -> None:
        """Cancel all takes, and give back what is on its way for them and for those before: after the answer to what
        is asked here nothing more comes."""
        takes = self.member.takes()
        for n, ask in takes.items():
            ask.waiter.cancel()
            self.member.cancel(n)
        if self.member.has_cancelled and self.is_up:
            _, answered = self.ask(lambda n: Figures(n, "closing"))
            with suppress(LayerUnavailable, TimeoutError):
                await asyncio.wait_for(answered, CONNECT_S)

    def pass_on(self, taken: Taken) -> None:
        self.do(self.member.pass_on(taken))
        self.flush()

    def enter(
        self, presence: str, key: str, channel: str, meta: dict[str, Any], grace_s: float
    ) -> asyncio.Future[Any]:
        self.find()
        future: asyncio.Future[Any] = self._loop.create_future()
        self.do(self.member.enter(presence, key, channel, meta, grace_s, future, time.monotonic()))
        self.follow()
        return future

    def exit(self, presence: str | None, channel: str) -> None:
        self.do(self.member.exit(presence, channel))
        self.follow()

    def follow(self) -> None:
        """Write what the member has said, and heed its deadline."""
        if self.member.said:
            for frame in self.member.take_said():
                self.write(encode(frame))
        self._arm()

    def do(self, effects: list[Effect[asyncio.Future[Any]]]) -> None:
        for effect in effects:
            if isinstance(effect, Settled):
                self._settle(effect)
            elif isinstance(effect, Missed):
                self._ears.missed(effect.reason)
            elif isinstance(effect, Connect):
                self._connect()
            elif isinstance(effect, Drop):
                self._lose(effect.why)
            elif isinstance(effect, Short):
                tell_short(effect.missing)

    def _settle(self, settled: Settled[asyncio.Future[Any]]) -> None:
        future = settled.waiter
        if future.done():  # cancelled, and its task has not run yet
            if isinstance(settled.value, Taken):
                self.do(self.member.pass_on(settled.value))
        elif settled.error is None:
            future.set_result(settled.value)
        else:
            future.set_exception(settled.error)

    def count_dropped(self) -> None:
        self.dropped_count += 1
        if self.dropped_count == 1:
            logger.error(
                "The broker at %s is too slow: %d MiB wait for it, so a message that nobody waits for is dropped, and "
                "further ones are. Await what you send.",
                self.path,
                LINK_BUFFER_BYTES // 2**20,
            )

    # The connection

    def _connect(self) -> None:
        try:
            connection = connect(self.path)
        except OSError:
            self.member.refused(time.monotonic())
            self._arm()
            return
        self._fd = fd = connection.detach()
        self._close_fd = weakref.finalize(self, os.close, fd)
        self._reader = FrameReader()
        self._loop.add_reader(fd, self._readable)
        self.member.connected(time.monotonic())
        self.follow()

    def _lose(self, why: str) -> None:
        """The connection has ended."""
        if self._fd < 0:
            return
        unwritten = list(self._unwritten)
        self._disconnect()
        if self.member.is_welcome:
            logger.warning("%s: what it has not passed on yet is lost. Trying again.", why)
        self.do(self.member.lost(why, time.monotonic(), self._written_n))
        for frame, written in unwritten:
            self._say_again(frame, written)
        self._arm()

    def _disconnect(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
            self._let_go()
        self._is_waiting_to_write = False
        self._stuck_since = None
        self._pieces.clear()
        self._unwritten.clear()
        self._rest = memoryview(b"")
        self._written_bytes = self.said_bytes
        self._tell_writers()

    def _let_go(self) -> None:
        if self._close_fd is not None:
            self._close_fd()

    def close(self) -> None:
        """End the connection for good, once what was said is written, if the kernel takes it."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._fd >= 0 and not self._is_waiting_to_write:
            self._flush()
        if self._unwritten:
            self.lost_count += len(self._unwritten)
            self._tell_lost()
        self._disconnect()
        self.do(self.member.end(time.monotonic()))

    def forsake(self) -> None:
        """Close the file descriptor without the loop, which has ended, or is the parent process's."""
        self._is_closed = True
        self._fd = -1
        self._let_go()

    # Time

    def _arm(self) -> None:
        deadline = None if self._is_closed else self.member.deadline
        if deadline == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        if deadline is None:
            self._timer = None
        else:
            self._timer = self._loop.call_later(max(0.0, deadline - time.monotonic()), self._wake)

    def _wake(self) -> None:
        self._timer = self._timer_at = None
        now = time.monotonic()
        if (
            self._is_waiting_to_write
            and self._stuck_since is not None
            and now - self._stuck_since >= ANSWER_S
        ):
            self._lose(f"The broker at {self.path} has read nothing for {ANSWER_S:.0f} s")
        self.do(self.member.wake(now))
        self.follow()

    # Reading

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(f"The connection to the broker at {self.path} failed ({error.strerror})")
            return
        if not data:
            self._lose(f"The broker at {self.path} has ended the connection")
            return
        try:
            for body in self._reader.feed(data):
                self._hear(body)
        except BrokenFrame as error:
            self._lose(str(error))
        else:
            self.follow()

    def _hear(self, body: bytes) -> None:
        frame = decode_from_broker(body)
        if isinstance(frame, Publish):
            self._guard(self._ears.publish, frame)
        elif isinstance(frame, Answer | Refused | Taken):
            self.do(self.member.answer(frame))
        elif isinstance(frame, Deliver):
            self._guard(self._ears.deliver, frame)
        elif isinstance(frame, Asked):
            self._guard(self._ears.asked, frame)
        elif isinstance(frame, Changed):
            self._guard(self._ears.changed, frame)
        else:
            self.member.welcome(frame, time.monotonic())

    def _guard(self, ear: Callable[[Any], None], frame: Any) -> None:
        """One message that cannot be handed over must not take the next with it."""
        try:
            ear(frame)
        except Exception:
            logger.exception("A %s from the broker could not be handed over.", type(frame).__name__)

    # Writing

    def write(self, encoded: bytes) -> None:
        if self._fd < 0:
            return
        self._pieces.append(encoded)
        self.said_bytes += len(encoded)
        if not self._is_flush_due and not self._is_waiting_to_write:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def flush(self) -> None:
        """Write now, and not at the end of the pass: the loop may be about to end."""
        self.follow()
        if not self._is_waiting_to_write:
            self._flush()

    def _flush(self) -> None:
        self._is_flush_due = False
        data = self._rest
        if not data:
            if not self._pieces:
                return
            data = memoryview(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))
            self._pieces.clear()
        try:
            written = os.write(self._fd, data)
        except (BlockingIOError, InterruptedError):
            written = 0
        except OSError as error:
            self._lose(f"The connection to the broker at {self.path} failed ({error.strerror})")
            return
        if written:
            self._written_n = self.member.last_n
            self._stuck_since = None
        self._written_bytes += written
        while self._unwritten and self._unwritten[0][1].position <= self._written_bytes:
            self._unwritten.popleft()
        self._rest = data[written:]
        if bool(self._rest or self._pieces) != self._is_waiting_to_write:
            self._is_waiting_to_write = not self._is_waiting_to_write
            if self._is_waiting_to_write:
                self._loop.add_writer(self._fd, self._flush)
            else:
                self._loop.remove_writer(self._fd)
        if self._is_waiting_to_write and self._stuck_since is None:
            self._stuck_since = time.monotonic()
        self._tell_writers()

    def written(self, position: int) -> asyncio.Future[None] | None:
        """Waits until what stood at ``position`` is with the kernel; ``None`` if it is, or never will be."""
        if position <= self._written_bytes or self._is_closed:
            return None
        future: asyncio.Future[None] = self._loop.create_future()
        self._writers.append((position, future))
        return future

    def room(self, size: int) -> asyncio.Future[None] | None:
        """Waits until there may be room for ``size`` bytes; ``None`` if there is."""
        return None if self._has_room(size) else self.written(self.said_bytes)

    def _has_room(self, size: int) -> bool:
        waiting = self.said_bytes - self._written_bytes
        return not waiting or waiting + size <= LINK_BUFFER_BYTES

    def _tell_writers(self) -> None:
        writers = self._writers
        while writers and writers[0][0] <= self._written_bytes:
            _, future = writers.popleft()
            if not future.done():
                future.set_result(None)


class Written:
    """Awaiting it waits until what was said is with the kernel, or another broker has heard it. Raises
    ``LayerUnavailable`` if the broker ended before it had a message to a channel, and there was no other."""

    __slots__ = ("_link", "heard", "position")

    def __init__(self, link: Link, position: int) -> None:
        self._link = link
        self.position = position
        self.heard: asyncio.Future[None] | None = None
        """Of what the first broker has not heard: whether another one has."""

    def __await__(self) -> Generator[Any, None, None]:
        waiting = self._link.written(self.position)
        if waiting is not None:
            yield from waiting.__await__()
        if self.heard is not None:
            yield from self.heard.__await__()


class WhenThereIsRoom:
    """A message above the bound: who awaits it waits for room, and if nobody does it is dropped, and counted."""

    __slots__ = ("_encoded", "_frame", "_link")

    def __init__(self, link: Link, frame: Publish | Send, encoded: bytes) -> None:
        self._link = link
        self._frame = frame
        self._encoded: bytes | None = encoded

    def __await__(self) -> Generator[Any, None, None]:
        encoded, self._encoded = self._encoded, None
        if encoded is None:
            return
        while (room := self._link.room(len(encoded))) is not None:
            yield from room.__await__()
        yield from self._link.say(self._frame, encoded).__await__()

    def __del__(self) -> None:
        if self._encoded is not None:
            self._link.count_dropped()


def tell_short(missing: int) -> None:
    logger.warning("%d processes did not answer the broker in time: what was asked lacks them.", missing)
