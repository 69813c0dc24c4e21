"""The client that tests use: a WebSocket whose expectations are one line each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from raceway.json import decode_json, encode_json
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
from raceway.testing.expectations import NothingCame, describe, difference, is_same_json
from raceway.testing.scopes import GivenHeaders, as_headers, websocket_scope
from raceway.testing.thread import LoopThread, in_loop
from raceway.types import Event, Headers, Scope

__tracebackhide__ = __unittest = True  # a test that fails shows its own line, not ours


def connect(
    application: Any = None,
    path: str = "/",
    *,
    user: Any = None,
    session: Mapping[str, Any] | None = None,
    cookies: Any = None,
    headers: GivenHeaders = None,
    subprotocols: Iterable[str] = (),
    origin: str | None = ORIGIN,
    kwargs: Mapping[str, Any] | None = None,
    scope: Mapping[str, Any] | None = None,
    timeout_s: float = WAIT_S,
) -> OpeningSocket:
    """Open a WebSocket to ``application``, in an ``async def`` test or in a ``def`` test::

        async with connect(ChatConsumer, "/chat/moon/", user=fry) as socket:
            await socket.send_json({"text": "hello"})
            await socket.expect_json({"from": "fry", "text": "hello"})

        with connect("/chat/moon/", user=fry) as socket:
            socket.send_json({"text": "hello"})
            socket.expect_json({"from": "fry", "text": "hello"})

    ``application`` is an ASGI application, a consumer class or a consumer function; without it, as in the second
    example, the project's own. ``path`` may have a query string.

    ``user`` has logged in: a session is saved, and its cookie goes through the application's own middleware; a bare
    consumer finds it in ``scope["user"]``. ``session`` is what the session holds. ``cookies`` is a dictionary, or
    those of a Django test client. ``origin`` is the page's; ``None``: no such header. ``kwargs`` are what a route
    would have captured, for a bare consumer. ``scope`` is merged into the scope. ``timeout_s`` is how long each
    expectation waits, in seconds.

    On entering, the handshake must be accepted; for one that must not be, ``await connect(...).expect_refused(403)``.
    On leaving, the client goes away and the application must end. Whatever the application raises is raised by the
    call that waits for it. Sync code of the application runs in the test's own thread and transaction.
    """
    target, path = target_and_path(application, path)
    given = websocket_scope(path, headers, subprotocols)
    given["extensions"] = {"websocket.http.response": {}}
    communicator, sign = communicator_of(
        target, given, user=user, session=session, cookies=cookies, origin=origin, kwargs=kwargs, more=scope
    )
    return OpeningSocket(communicator, sign, timeout_s)


class OpeningSocket(Connecting["Socket", "SyncSocket"]):
    """A handshake that has not begun; what ``connect`` returns."""

    asked = "the handshake"
    first = {"type": "websocket.connect"}

    def _accepts(self, event: Event) -> bool:
        return bool(event["type"] == "websocket.accept")

    def _open(self, event: Event) -> Socket:
        return Socket(self._communicator, event, self._timeout_s)

    def _for_plain_test(self, client: Socket, thread: LoopThread) -> SyncSocket:
        return SyncSocket(client, thread)


class Socket:
    """The client's end of an open WebSocket; ``connect`` makes it.

    Every ``expect_`` takes the next message, compares it, and returns it. If it is another one, the
    ``AssertionError`` shows both; if there is none in time, ``NothingCame``; if the application raised an exception,
    that one.
    """

    subprotocol: str | None
    """The one that the application has chosen."""
    response_headers: Headers
    """What the application added to the handshake's response."""

    def __init__(self, communicator: ApplicationCommunicator, accept: Event, timeout_s: float) -> None:
        self._communicator = communicator
        self._timeout_s = timeout_s
        self.subprotocol = accept.get("subprotocol")
        self.response_headers = as_headers(accept.get("headers"))

    @property
    def scope(self) -> Scope:
        """What the application was called with."""
        return self._communicator.scope

    # To the application

    async def send(self, data: Any) -> None:
        """Send ``data`` as the client: ``str`` as text, ``bytes`` as binary, anything else as JSON text."""
        if isinstance(data, str):
            await self._communicator.send_input({"type": "websocket.receive", "text": data})
        elif isinstance(data, bytes):
            await self._communicator.send_input({"type": "websocket.receive", "bytes": data})
        else:
            await self.send_json(data)

    async def send_json(self, data: Any) -> None:
        """Send ``data`` as JSON text."""
        await self.send(encode_json(data).decode())

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Go away as the client, and wait until the application has ended. Raises what it raised."""
        await leave(self._communicator, {"code": code, "reason": reason}, self._timeout_s)

    # From the application

    async def receive(self) -> str | bytes:
        """Wait for the next message: ``str`` if it is text, ``bytes`` if it is binary."""
        return await self._next_message("a message")

    async def receive_json(self) -> Any:
        """Wait for the next message, which must be text, and return what its JSON says."""
        return _read_json(await self._next_message("JSON"), "JSON")

    async def expect_text(self, text: str) -> str:
        """The next message is this text."""
        received = await self._next_message(f"the text {text!r}")
        if not isinstance(received, str) or received != text:
            raise AssertionError(f"The socket received another message:\n{difference(text, received)}")
        return received

    async def expect_bytes(self, data: bytes) -> bytes:
        """The next message is binary, and this."""
        received = await self._next_message(f"the bytes {data!r}")
        if not isinstance(received, bytes) or received != data:
            raise AssertionError(f"The socket received another message:\n{difference(data, received)}")
        return received

    async def expect_json(self, data: Any) -> Any:
        """The next message is text, and its JSON says this; ``unittest.mock.ANY`` may stand for any part of it."""
        expected = f"the JSON {data!r}"
        received = _read_json(await self._next_message(expected), expected)
        if not is_same_json(data, received):
            raise AssertionError(f"The socket received another message:\n{difference(data, received)}")
        return received

    async def expect_nothing(self, within_s: float = NOTHING_S) -> None:
        """No message comes within ``within_s`` seconds, and the socket stays open."""
        if await self._communicator.receive_nothing(within_s) and not self._communicator.has_ended:
            return
        event = await self._next_event("nothing")
        raise AssertionError(f"Expected nothing within {within_s:g} s, but {describe(event)}.")

    async def expect_close(self, code: int | None = None, reason: str | None = None) -> int:
        """The application closes the socket, with this code and reason if they are given; returns the code."""
        expected = "the application to close the socket" + ("" if code is None else f" with {code}")
        event = await self._next_event(expected)
        if event["type"] != "websocket.close":
            raise AssertionError(f"Expected {expected}, but {describe(event)}.")
        closed_with = int(event.get("code", 1000))
        if code is not None and closed_with != code:
            raise AssertionError(f"Expected {expected}, but {describe(event)}.")
        if reason is not None and event.get("reason", "") != reason:
            raise AssertionError(f"Expected {expected} and the reason {reason!r}, but {describe(event)}.")
        await leave(self._communicator, {"code": closed_with, "reason": ""}, self._timeout_s)
        return closed_with

    async def _next_message(self, expected: str) -> str | bytes:
        event = await self._next_event(expected)
        if event["type"] != "websocket.send":
            raise AssertionError(f"Expected {expected}, but {describe(event)}.")
        text: str | None = event.get("text")
        return event["bytes"] if text is None else text

    async def _next_event(self, expected: str) -> Event:
        communicator = self._communicator
        try:
            return await communicator.receive_output(self._timeout_s)
        except NothingCame:
            if communicator.has_ended:  # as every server does when the application returns
                return {"type": "websocket.close", "code": 1000}
            raise NothingCame(
                f"Expected {expected}, but nothing came within {self._timeout_s:g} s."
            ) from None


class SyncSocket:
    """``Socket`` for ``def`` tests: the same methods, without ``await``."""

    def __init__(self, socket: Socket, thread: LoopThread) -> None:
        self.client = socket
        self.thread = thread
        self.subprotocol = socket.subprotocol
        self.response_headers = socket.response_headers
        self.scope = socket.scope

    send = in_loop(Socket.send)
    send_json = in_loop(Socket.send_json)
    close = in_loop(Socket.close)
    receive = in_loop(Socket.receive)
    receive_json = in_loop(Socket.receive_json)
    expect_text = in_loop(Socket.expect_text)
    expect_bytes = in_loop(Socket.expect_bytes)
    expect_json = in_loop(Socket.expect_json)
    expect_nothing = in_loop(Socket.expect_nothing)
    expect_close = in_loop(Socket.expect_close)


def _read_json(received: str | bytes, expected: str) -> Any:
    if isinstance(received, bytes):
        raise AssertionError(f"Expected {expected}, but the message is binary: {received!r}")
    try:
        return decode_json(received)
    except ValueError:
        raise AssertionError(f"Expected {expected}, but this text came: {received!r}") from None
