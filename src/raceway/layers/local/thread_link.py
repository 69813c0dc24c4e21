"""The connection to the broker of all threads of a process that have no event loop."""

from __future__ import annotations

import select
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from raceway.errors import LayerUnavailable
from raceway.layers.local.link import READ_BYTES, connect, tell_short
from raceway.layers.local.member import CONNECT_S, NoBroker, refusal
from raceway.layers.local.names import KeptNames
from raceway.layers.local.wire import (
    Answer,
    BrokenFrame,
    FrameReader,
    FromBroker,
    FromMember,
    Hello,
    Refused,
    Welcome,
    decode_from_broker,
    encode,
)

SYNC_S: Final = 5.0
"""How long a thread waits for the broker."""

SYNC_RETRY_S: Final = 0.02
"""A thread that had a broker looks so often for the next one, for ``CONNECT_S``."""


class ThreadLink:
    """The connection of all threads that have no event loop: request and answer, one thread after another."""

    def __init__(self, path: Path, process: str, names: KeptNames | None = None) -> None:
        self.path = path
        self._process = process
        self._names = KeptNames() if names is None else names
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._close_socket: weakref.finalize[Any, Any] | None = None
        self._reader = FrameReader()
        self._bodies: deque[bytes] = deque()
        self._last_n = 0
        self._has_had_one = False

    def ask(self, make: Callable[[int], FromMember], *, patient: bool = True) -> Any:
        """The answer to a request. Raises what the broker refuses with, and ``LayerUnavailable``.

        ``patient``: if there was a broker, wait a moment for the next one. A request that was written is never
        written again.
        """
        if not self._lock.acquire(timeout=SYNC_S):
            raise LayerUnavailable(
                f"The broker at {self.path} is too slow: other threads wait for its answers."
            )
        try:
            connection = self._connected(patient)
            self._last_n += 1
            frame = make(self._last_n)
            encoded = encode(frame)
            try:
                connection.settimeout(SYNC_S)
                connection.sendall(encoded)
                answer = self._answer(connection, self._last_n)
            except (OSError, BrokenFrame) as error:
                self._end()
                raise LayerUnavailable(
                    f"The broker at {self.path} ended, or did not answer for {SYNC_S:.0f} s, so whether it has done "
                    f"what it was asked for is not known ({error})."
                ) from None
            except BaseException:
                self._end()  # an answer may come that nobody waits for
                raise
        finally:
            self._lock.release()
        if isinstance(answer, Refused):
            raise refusal(frame, answer)
        self._names.note(frame)
        if answer.missing:
            tell_short(answer.missing)
        return answer.value

    def _connected(self, patient: bool) -> socket.socket:
        """The connection, made anew if it has ended."""
        if self._socket is not None:
            if not has_something_to_read(self._socket):
                return self._socket
            self._end()
        until = time.monotonic() + (CONNECT_S if patient and self._has_had_one else 0.0)
        while True:
            try:
                connection = connect(self.path)
                break
            except OSError as error:
                if time.monotonic() >= until:
                    raise NoBroker(self.path) from error
            time.sleep(SYNC_RETRY_S)
        self._socket = connection
        self._close_socket = weakref.finalize(self, connection.close)
        self._reader = FrameReader()
        self._bodies.clear()
        connection.settimeout(SYNC_S)
        try:
            connection.sendall(encode(Hello(self._process, resumed=self._has_had_one)))
            if self._names:  # what comes next may be for them
                self._say_names(connection)
        except (OSError, BrokenFrame) as error:
            self._end()
            raise NoBroker(self.path) from error
        self._has_had_one = True
        return connection

    def _say_names(self, connection: socket.socket) -> None:
        frame = self._next(connection, time.monotonic() + SYNC_S)
        if isinstance(frame, Welcome):
            names = self._names.for_broker(frame.broker, time.monotonic())
            connection.sendall(b"".join(map(encode, names)))

    def _answer(self, connection: socket.socket, n: int) -> Answer | Refused:
        until = time.monotonic() + SYNC_S
        while True:
            frame = self._next(connection, until)
            if isinstance(frame, Answer | Refused) and frame.n == n:
                return frame

    def _next(self, connection: socket.socket, until: float) -> FromBroker:
        """What the broker says next. Raises ``OSError`` and ``BrokenFrame``."""
        while not self._bodies:
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("timed out")
            connection.settimeout(left_s)
            data = connection.recv(READ_BYTES)
            if not data:
                raise ConnectionError("it has ended the connection")
            self._bodies.extend(self._reader.feed(data))
        return decode_from_broker(self._bodies.popleft())

    def _end(self) -> None:
        self._socket = None
        if self._close_socket is not None:
            self._close_socket()

    def close(self) -> None:
        with self._lock:
            self._end()

    def forsake(self) -> None:
        """Close the socket without the lock, which a thread of the parent process may hold for ever."""
        self._end()


def has_something_to_read(connection: socket.socket) -> bool:
    """Between requests that can only be the end of the connection, or an answer that came too late."""
    with suppress(OSError, ValueError):
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        return bool(poll.poll(0))
    return True
