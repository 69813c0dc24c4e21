"""What Redis carries for the threads that have no event loop: they ask, and wait for the answer."""

from __future__ import annotations

import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar, cast

from raceway.errors import LayerUnavailable
from raceway.layers.distributed.carrier import ThreadCarrier
from raceway.layers.redis.connection import Reply, ThreadConnection, find_out_in_thread, pack
from raceway.layers.redis.kept import PLAYS_S, WAIT_S
from raceway.layers.redis.requests import Request, Requests, loading, refused, tag_of
from raceway.layers.redis.routes import ThreadRoutes
from raceway.layers.redis.topology import Place, Refusal, Topology

T = TypeVar("T")

THREAD_CONNECTIONS: Final = 64
"""Connections of all threads of a process; who needs one more waits for it."""

ANSWER_S: Final = 5.0
"""How long a thread waits for a connection, and for an answer."""

RETRY_S: Final = 0.05
"""A server that cannot be reached is tried again after so long, for ``WAIT_S``."""


class Pool:
    """The connections that no thread is using, by place.

    A place for which ``may_be_replaced`` says so is looked up again after ``PLAYS_S``.
    """

    def __init__(self, may_be_replaced: Callable[[int], bool]) -> None:
        self._may_be_replaced = may_be_replaced
        self._idle: dict[Place, list[ThreadConnection]] = {}
        self._lock = threading.Lock()
        self._permits = threading.BoundedSemaphore(THREAD_CONNECTIONS)

    @contextmanager
    def borrowed(self, place: Place, make: Callable[[Place], ThreadConnection]) -> Iterator[ThreadConnection]:
        """A connection that works, as far as can be seen; one on which something went wrong is not used again."""
        if not self._permits.acquire(timeout=ANSWER_S):
            raise LayerUnavailable(
                f"Redis is too slow: {THREAD_CONNECTIONS} threads of this process wait for its answers."
            )
        try:
            connection = self._take(place) or make(place)
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            if connection.is_open:
                with self._lock:
                    self._idle.setdefault(place, []).append(connection)
        finally:
            self._permits.release()

    def _take(self, place: Place) -> ThreadConnection | None:
        while True:
            with self._lock:
                idle = self._idle.get(place)
                if not idle:
                    return None
                connection = idle.pop()
            is_old = self._may_be_replaced(place.shard) and time.monotonic() - connection.made_at > PLAYS_S
            if not connection.is_stale and not is_old:
                return connection
            connection.close()

    def close(self) -> None:
        with self._lock:
            self.forsake()

    def forsake(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle = {}


class RedisThreadCarrier(ThreadCarrier):
    """Each thread that asks has a connection for so long, so what it asks for is done in its order."""

    def __init__(self, topology: Topology, requests: Requests) -> None:
        self._topology = topology
        self._requests = requests
        self._routes = ThreadRoutes(topology, self._answer, find_out_in_thread)
        self._pool = Pool(topology.may_be_replaced)
        self._close_pool = weakref.finalize(self, self._pool.forsake)

    def cast(self, address: str, frame: bytes) -> int:
        return self._do(self._requests.cast(address, frame))

    def publish(self, group: str, frame: bytes) -> list[str]:
        return self._do(self._requests.publish(group, frame))

    def put(self, channel: str, entry: bytes, capacity: int, expiry_s: float) -> None:
        self._do(self._requests.put(channel, entry, capacity, expiry_s))

    def put_later(self, channel: str, entry: bytes, expiry_s: float, delay_s: float, token: str) -> None:
        self._do(self._requests.put_later(channel, entry, expiry_s, delay_s, token))

    def cancel(self, channel: str, token: str) -> bool:
        return self._do(self._requests.cancel(channel, token))

    def add_named(self, group: str, channel: str, expiry_s: float) -> None:
        self._do(self._requests.add_named(group, channel, expiry_s))

    def discard_named(self, group: str, channel: str) -> None:
        self._do(self._requests.discard_named(group, channel))

    def named(self, group: str) -> list[str]:
        return self._do(self._requests.named(group))

    def gather(
        self, address: str, make_frame: Callable[[str], bytes], wait_s: float
    ) -> tuple[list[bytes], int]:
        reply_to = f"r:{secrets.token_hex(8)}"
        connection = self._subscribed(reply_to)
        try:
            heard_by = self.cast(address, make_frame(reply_to))
            frames = _frames(connection, heard_by, time.monotonic() + wait_s)
        except OSError as error:
            raise LayerUnavailable(f"The connection to Redis was lost ({error}).") from None
        finally:
            connection.close()
        return frames, heard_by - len(frames)

    def close(self) -> None:
        self._pool.close()

    def forsake(self) -> None:
        self._pool.forsake()

    # Asking

    def _do(self, request: Request[T]) -> T:
        while True:
            outcome = request.read(self._replies(request))
            if not isinstance(outcome, Request):
                return outcome
            request = outcome

    def _replies(self, request: Request[Any]) -> list[Reply]:
        shard = self._topology.shard_of(request.tag)
        try:
            if self._topology.is_cluster(shard):
                return [self._routes.call(request.tag, command) for command in request.commands]
            return self._ask(Place(shard), request.commands)
        except Refusal as error:
            raise refused(error) from None

    def _answer(self, place: Place, commands: list[bytes]) -> Reply:
        return self._ask(place, commands)[-1]

    def _ask(self, place: Place, commands: Sequence[bytes]) -> list[Reply]:
        """The answers to commands that are written at once. Raises the first ``Refusal`` and ``LayerUnavailable``."""
        until = time.monotonic() + WAIT_S
        while True:
            with self._pool.borrowed(place, self._connected) as connection:
                try:
                    replies = connection.ask(commands, ANSWER_S)
                    refusal = next((reply for reply in replies if isinstance(reply, Refusal)), None)
                    if refusal is None:
                        return replies
                    if not self._is_to_ask_again(connection, refusal, until):
                        raise refusal
                except OSError as error:
                    raise LayerUnavailable(
                        f"The connection to {connection.server} was lost, so whether a command was done is not known "
                        f"({error})."
                    ) from None

    def _is_to_ask_again(self, connection: ThreadConnection, refusal: Refusal, until: float) -> bool:
        """The server has done nothing, and there is hope."""
        code = str(refusal).partition(" ")[0]
        if code == "NOSCRIPT":  # somebody has let it forget its scripts
            return not any(isinstance(reply, Refusal) for reply in connection.ask(loading(), ANSWER_S))
        if code == "READONLY" and time.monotonic() < until:  # another one is the master now
            connection.close()
            time.sleep(RETRY_S)
            return True
        return False

    def _connected(self, place: Place, also: Sequence[bytes] | None = None) -> ThreadConnection:
        """A new connection. Nothing has been asked yet, so it is tried for ``WAIT_S``. Raises ``LayerUnavailable``."""
        until = time.monotonic() + WAIT_S
        while True:
            try:
                return ThreadConnection(self._routes.locate(place), loading() if also is None else also)
            except (OSError, Refusal, LayerUnavailable) as error:
                if time.monotonic() >= until:
                    raise LayerUnavailable(f"Redis cannot be reached: {error}.") from None
            time.sleep(RETRY_S)

    def _subscribed(self, address: str) -> ThreadConnection:
        """A connection on which frames to ``address`` come."""
        tag = tag_of(address)
        is_cluster = self._topology.is_cluster(self._topology.shard_of(tag))
        word = "SSUBSCRIBE" if is_cluster else "SUBSCRIBE"
        until = time.monotonic() + WAIT_S
        while True:
            place = self._topology.place_of(tag)
            if place is None:
                self._routes.map_all()
                place = cast(Place, self._topology.place_of(tag))
            connection = self._connected(place, ())
            try:
                (reply,) = connection.ask([pack(word, self._requests.topic(address))], ANSWER_S)
            except OSError as error:
                connection.close()
                raise LayerUnavailable(f"The connection to Redis was lost ({error}).") from None
            if not isinstance(reply, Refusal):
                return connection
            connection.close()
            if not is_cluster or time.monotonic() >= until:
                raise refused(reply)
            self._routes.map_all()


def _frames(connection: ThreadConnection, number: int, until: float) -> list[bytes]:
    """The next so many frames, or as many as come in time."""
    frames: list[bytes] = []
    while len(frames) < number and (left_s := until - time.monotonic()) > 0:
        try:
            reply = connection.hear(left_s)
        except TimeoutError:
            break
        if reply[0] in (b"message", b"smessage"):
            frames.append(reply[2])
    return frames
