"""The broker's sockets: a thread of whoever hosts the broker, which does what ``Broker`` decides."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import secrets
import signal
import socket
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final, cast

from raceway import clock
from raceway.errors import ConfigurationError
from raceway.layers.local.broker import Broker, Drop, Effect, Lost
from raceway.layers.local.place import is_same_user, listen, prepare_directory, take_lock
from raceway.layers.local.wire import BrokenFrame, FrameReader

logger = logging.getLogger("raceway.layers")

MEMBER_BUFFER_BYTES: Final = 64 * 1024 * 1024
"""What may wait for a member that does not read; a member with more is dropped, which is a gap for it."""

RETRY_S: Final = 0.2
"""How often a host looks whether the owner of the broker has ended."""

TOUCH_S: Final = 3600.0
"""How old the files may look, in seconds, before a cleaner of temporary files might take them."""

CHECK_S: Final = 5.0
"""How often an owner looks whether its socket is still where members look for it."""

STOP_S: Final = 5.0
"""How long ``stop`` waits for the thread; it needs milliseconds."""

CLOSING_PASSES: Final = 3
"""Passes of the loop within which closed connections say that they are closed."""

BACKLOG: Final = 1024
"""Members that may connect at once; after a restart of the broker all do."""


class BrokerHost:
    """Run the broker of one path in a thread of this process, as soon as no other process does.

    ``lease_s``: a member that says nothing for so long is forgotten. It can be stopped and started again. In a
    forked child there is no thread, and so no host.
    """

    def __init__(self, path: Path, lease_s: float = 15.0) -> None:
        self.path = path
        self.lease_s = lease_s
        self.is_owner = False
        """Members that connect from now on reach the broker of this host."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._serving: Serving | None = None
        self._told = ""
        _hosts.add(self)

    def start(self) -> None:
        """Become the owner, now if nobody else is, else when it ends; nothing happens if it was started.

        Raises ``ConfigurationError`` if no broker can be at this path.
        """
        with self._lock:
            if self._thread is not None:
                return
            self._stopping = threading.Event()
            serving = self._acquire()
            self._thread = threading.Thread(
                target=self._run, args=(serving, self._stopping), name="raceway-broker", daemon=True
            )
            self._thread.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """End the broker: its members lose their connections, its socket goes, and others may be the owner.

        From any thread; nothing happens if it was not started.
        """
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is None:
                return
            self._stopping.set()
            serving = self._serving
            if serving is not None:
                serving.stop()
            # A collection of garbage may find a host in its own thread, which then ends by itself.
            if thread is not threading.current_thread():
                thread.join(STOP_S)
                if thread.is_alive():
                    logger.error("The broker at %s did not end within %g s.", self.path, STOP_S)
        atexit.unregister(self.stop)

    def _acquire(self) -> Serving | None:
        """What the owner serves; ``None`` if another process is the owner. Raises ``ConfigurationError``."""
        prepare_directory(self.path)
        lock = take_lock(self.path)
        if lock is None:
            return None
        try:
            serving = Serving(self.path, self.lease_s, lock, listen(self.path, BACKLOG))
        except BaseException:
            os.close(lock)
            raise
        self._serving = serving
        self.is_owner = True
        return serving

    def _run(self, serving: Serving | None, stopping: threading.Event) -> None:
        # The signals of the process are its main thread's, which may wait for them in a system call.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not stopping.is_set():
            if serving is None:
                if not stopping.wait(RETRY_S):
                    serving = self._acquire_again()
                continue
            try:
                serving.run(stopping)
            except Exception:
                logger.exception("The broker at %s failed; another one begins.", self.path)
            self._release(serving)
            serving = None
        if serving is not None:
            self._release(serving)

    def _acquire_again(self) -> Serving | None:
        try:
            serving = self._acquire()
        except (ConfigurationError, OSError) as error:  # also what was removed this very moment
            if str(error) != self._told:  # once, and not five times a second
                self._told = str(error)
                logger.error("%s", error)
            return None
        if serving is not None:
            self._told = ""
            logger.info("This process runs the broker at %s now.", self.path)
        return serving

    def _release(self, serving: Serving) -> None:
        if self._serving is serving:  # else it was stopped and started again meanwhile
            self.is_owner = False
            self._serving = None
        serving.release()

    def forget_in_child(self) -> None:
        """In a forked child: hold nothing of what is the parent's, so that its end can be seen by others."""
        self._lock = threading.Lock()
        self._thread = None
        self.is_owner = False
        atexit.unregister(self.stop)
        serving, self._serving = self._serving, None
        if serving is not None:
            serving.let_go()


class Serving:
    """One broker, from when its path is owned until it is released."""

    def __init__(self, path: Path, lease_s: float, lock: int, listener: socket.socket) -> None:
        self._path = path
        self._lock = lock
        self._listener = listener
        self._file = path.stat().st_ino
        self._broker = Broker(secrets.token_hex(8), lease_s, clock.monotonic())
        self._numbers = count(1)
        self._connections: dict[int, Connection] = {}
        self._dirty: list[Connection] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    # In the thread of the broker

    def run(self, stopping: threading.Event) -> None:
        """Serve until ``stop``, or until members cannot find the socket any more."""
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self._serve(stopping))

    async def _serve(self, stopping: threading.Event) -> None:
        loop = self._loop = asyncio.get_running_loop()
        ended = self._ended = loop.create_future()
        if stopping.is_set():  # before there was a loop to tell
            return
        server = await loop.create_unix_server(lambda: Connection(self), sock=self._listener)
        try:
            while not ended.done() and self._is_in_place():
                await asyncio.wait([ended], timeout=CHECK_S)
        finally:
            server.close()
            await self._close_connections()
            lost_count = self._broker.waiting_count(clock.monotonic())
            if lost_count:
                logger.warning(
                    "With the broker at %s end %d messages that waited in channels.", self._path, lost_count
                )

    def _is_in_place(self) -> bool:
        """Whether members still find the socket; whoever removes it, or the lock, makes a second broker possible."""
        try:
            found = self._path.stat()
        except OSError:
            found = None
        if found is not None and found.st_ino == self._file:
            if clock.now() - found.st_mtime > TOUCH_S:
                os.utime(self._path)
                os.utime(self._lock)
            return True
        logger.warning(
            "The broker's socket %s was removed or replaced; its members look for another.", self._path
        )
        return False

    async def _close_connections(self) -> None:
        self._flush()
        for end in ("close", "abort"):  # the second is for those that do not read
            for connection in list(self._connections.values()):
                getattr(connection.transport, end)()
            for _ in range(CLOSING_PASSES):
                await asyncio.sleep(0)
        if self._timer is not None:
            self._timer.cancel()

    def connected(self, connection: Connection) -> int:
        number = next(self._numbers)
        self._connections[number] = connection
        self._broker.connect(number, clock.monotonic())
        self._set_timer()
        return number

    def received(self, number: int, bodies: list[bytes]) -> None:
        now = clock.monotonic()
        receive = self._broker.receive
        for body in bodies:
            self._do(receive(number, body, now))
        self._set_timer()

    def disconnected(self, number: int) -> None:
        self._connections.pop(number, None)
        self._do(self._broker.disconnect(number, clock.monotonic()))
        self._set_timer()

    def drop(self, number: int, why: str) -> None:
        """End the connection of a member that cannot be served any more; it will notice, and come again."""
        connection = self._connections.get(number)
        if connection is not None and not connection.is_dropped:
            connection.is_dropped = True
            logger.warning("The broker at %s drops a member: %s.", self._path, why)
            connection.transport.abort()
            self._do(self._broker.disconnect(number, clock.monotonic()))
            self._set_timer()

    def _do(self, effects: list[Effect]) -> None:
        connections, dirty = self._connections, self._dirty
        for number, effect in effects:
            if isinstance(effect, Lost):
                logger.warning(
                    "A process ended with %d messages of the channel %r in its hands: they are lost.",
                    effect.number,
                    effect.channel,
                )
                continue
            connection = connections.get(number)
            if connection is None or connection.is_dropped:
                continue
            if isinstance(effect, Drop):
                self.drop(number, effect.why)
                continue
            if not connection.out:
                if not dirty:
                    cast(asyncio.AbstractEventLoop, self._loop).call_soon(self._flush)
                dirty.append(connection)
            connection.out.append(effect)

    def _flush(self) -> None:
        """Write what this pass of the loop has for each member, at once."""
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.flush()

    def _set_timer(self) -> None:
        deadline = self._broker.deadline
        loop = cast(asyncio.AbstractEventLoop, self._loop)
        if deadline is None or (self._timer is not None and self._timer_at <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = loop.call_later(max(0.0, deadline - clock.monotonic()), self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._do(self._broker.wake(clock.monotonic()))
        self._set_timer()

    # From any thread

    def stop(self) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def release(self) -> None:
        """Let others be the owner. The socket goes first, while nobody else can have made another."""
        self._listener.close()
        with suppress(OSError):
            if self._path.stat().st_ino == self._file:
                self._path.unlink()
        os.close(self._lock)

    def let_go(self) -> None:
        """In a forked child: hold neither the lock, which would outlive its owner, nor sockets, whose peers would not
        see their end."""
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        numbers = [self._lock, self._listener.fileno()]
        for connection in self._connections.values():
            numbers.append(connection.transport.get_extra_info("socket").fileno())
        for number in numbers:
            if number >= 0:
                # Not closed: whoever closes it later closes the right one.
                os.dup2(null, number, inheritable=False)
        os.close(null)


class Connection(asyncio.Protocol):
    """One member's socket."""

    transport: asyncio.Transport

    def __init__(self, serving: Serving) -> None:
        self.out: list[bytes] = []
        """What is written at the end of this pass of the loop."""
        self.is_dropped = False
        self._serving = serving
        self._reader = FrameReader()
        self._number = 0
        """0: it is a stranger's, and nobody was told."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if is_same_user(self.transport.get_extra_info("socket")):
            self._number = self._serving.connected(self)
        else:
            logger.warning("A process of another user tried to reach the broker, and was refused.")
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.is_dropped or not self._number:
            return
        try:
            bodies = self._reader.feed(data)
        except BrokenFrame as error:
            self._serving.drop(self._number, str(error))
        else:
            self._serving.received(self._number, bodies)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_dropped = True  # what is due at the end of this pass can be written no more
        if self._number:
            self._serving.disconnected(self._number)

    def flush(self) -> None:
        out, self.out = self.out, []
        if self.is_dropped:
            return
        self.transport.write(out[0] if len(out) == 1 else b"".join(out))
        if self.transport.get_write_buffer_size() > MEMBER_BUFFER_BYTES:
            self._serving.drop(self._number, f"more than {MEMBER_BUFFER_BYTES} bytes wait for it")


_hosts: weakref.WeakSet[BrokerHost] = weakref.WeakSet()


def _forget_in_child() -> None:
    for host in _hosts:
        host.forget_in_child()


os.register_at_fork(after_in_child=_forget_in_child)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop's, or asyncio's own where uvloop has no wheel."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
