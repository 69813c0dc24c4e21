"""The client that tests use for streams of server-sent events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from raceway.testing.communicators import ApplicationCommunicator
from raceway.testing.connecting import (
    NOTHING_S,
    ORIGIN,
    WAIT_S,
    Connecting,
    communicator_of,
    leave,
    target_and_path,
)
from raceway.testing.expectations import NothingCame, difference, is_json_of
from raceway.testing.scopes import GivenHeaders, as_headers, http_scope
from raceway.testing.thread import LoopThread, in_loop
from raceway.types import Event, Headers

__tracebackhide__ = __unittest = True  # a test that fails shows its own line, not ours


def connect_sse(
    application: Any = None,
    path: str = "/",
    *,
    user: Any = None,
    session: Mapping[str, Any] | None = None,
    cookies: Any = None,
    headers: GivenHeaders = None,
    last_event_id: str | None = None,
    origin: str | None = ORIGIN,
    kwargs: Mapping[str, Any] | None = None,
    scope: Mapping[str, Any] | None = None,
    timeout_s: float = WAIT_S,
) -> OpeningStream:
    """Open a stream of server-sent events, in an ``async def`` test or (without ``await``) in a ``def`` test::

        async with connect_sse(Ticker, "/prices/") as stream:
            await stream.expect_event({"robots": 3}, event="stock")

    The arguments are those of ``connect``; ``last_event_id`` is what a browser that comes back has seen.
    """
    target, path = target_and_path(application, path)
    given = http_scope("GET", path, headers)
    given["headers"].append((b"accept", b"text/event-stream"))
    if last_event_id is not None:
        given["headers"].append((b"last-event-id", last_event_id.encode()))
    communicator, sign = communicator_of(
        target, given, user=user, session=session, cookies=cookies, origin=origin, kwargs=kwargs, more=scope
    )
    return OpeningStream(communicator, sign, timeout_s)


class OpeningStream(Connecting["EventStream", "SyncEventStream"]):
    """A request for a stream that has not been made; what ``connect_sse`` returns."""

    asked = "the stream"
    first = {"type": "http.request", "body": b"", "more_body": False}

    def _accepts(self, event: Event) -> bool:
        return bool(event["type"] == "http.response.start" and event["status"] == 200)

    def _open(self, event: Event) -> EventStream:
        return EventStream(self._communicator, event, self._timeout_s)

    def _for_plain_test(self, client: EventStream, thread: LoopThread) -> SyncEventStream:
        return SyncEventStream(client, thread)


class ServerSentEvent(NamedTuple):
    """One event as a browser would see it."""

    data: str
    event: str = "message"
    id: str | None = None


class EventStreamReader:
    """Bytes in, events out (WHATWG HTML section 9.2.6)."""

    def __init__(self) -> None:
        self._line = b""
        self._data: list[str] = []
        self._event = ""
        self._id: str | None = None

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Read on; what is incomplete waits for the rest."""
        *lines, self._line = (self._line + data).replace(b"\r\n", b"\n").split(b"\n")
        return [event for line in lines if (event := self._read(line.decode())) is not None]

    def _read(self, line: str) -> ServerSentEvent | None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id":
            self._id = value
        elif not line:
            return self._dispatch()
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        data, event = self._data, self._event
        self._data, self._event = [], ""
        return ServerSentEvent("\n".join(data), event or "message", self._id) if data else None


class EventStream:
    """The browser's end of an open stream; ``connect_sse`` makes it.

    What fails says so as ``Socket`` does.
    """

    response_headers: Headers

    def __init__(self, communicator: ApplicationCommunicator, start: Event, timeout_s: float) -> None:
        self._communicator = communicator
        self._timeout_s = timeout_s
        self._reader = EventStreamReader()
        self._events: deque[ServerSentEvent] = deque()
        self._has_ended = False
        self.response_headers = as_headers(start.get("headers"))

    async def receive_event(self) -> ServerSentEvent:
        """Wait for the next event."""
        return await self._next("an event", self._timeout_s)

    async def expect_event(
        self,
        data: Any,
        *,
        event: str = "message",
        id: str | None = None,  # noqa: A002  its name in the standard
    ) -> ServerSentEvent:
        """The next event has this name and says this: a ``str`` as it is, anything else as JSON; and this ``id``,
        if it is given."""
        received = await self._next(f"the event {event!r} {data!r}", self._timeout_s)
        same = received.data == data if isinstance(data, str) else is_json_of(data, received.data)
        if not same or received.event != event or (id is not None and received.id != id):
            expected = ServerSentEvent(data, event, id)
            raise AssertionError(f"The stream brought another event:\n{difference(expected, received)}")
        return received

    async def expect_nothing(self, within_s: float = NOTHING_S) -> None:
        """No event comes within ``within_s`` seconds, and the stream goes on."""
        try:
            received = await self._next("nothing", within_s)
        except NothingCame:
            return
        raise AssertionError(f"Expected nothing within {within_s:g} s, but this came: {received!r}")

    async def expect_end(self) -> None:
        """The application ends the stream."""
        if not self._events and not self._has_ended:
            await self._read_on("the stream to end", self._timeout_s)
        if self._events:
            raise AssertionError(f"Expected the stream to end, but this came: {self._events[0]!r}")
        await self.close()

    async def close(self) -> None:
        """Go away as the browser, and wait until the application has ended. Raises what it raised."""
        await leave(self._communicator, {}, self._timeout_s)

    async def _next(self, expected: str, timeout_s: float) -> ServerSentEvent:
        if not self._events:
            await self._read_on(expected, timeout_s)
        if not self._events:
            raise AssertionError(f"Expected {expected}, but the stream has ended.")
        return self._events.popleft()

    async def _read_on(self, expected: str, timeout_s: float) -> None:
        """Wait for an event, or the end."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self._events and not self._has_ended:
                    part = await self._communicator.receive_output(timeout_s)
                    self._events.extend(self._reader.feed(part.get("body", b"")))
                    self._has_ended = not part.get("more_body", False)
        except TimeoutError:
            if not self._communicator.has_ended:
                raise NothingCame(f"Expected {expected}, but nothing came within {timeout_s:g} s.") from None
            self._has_ended = True


class SyncEventStream:
    """``EventStream`` for ``def`` tests: the same methods, without ``await``."""

    def __init__(self, stream: EventStream, thread: LoopThread) -> None:
        self.client = stream
        self.thread = thread
        self.response_headers = stream.response_headers

    receive_event = in_loop(EventStream.receive_event)
    expect_event = in_loop(EventStream.expect_event)
    expect_nothing = in_loop(EventStream.expect_nothing)
    expect_end = in_loop(EventStream.expect_end)
    close = in_loop(EventStream.close)
