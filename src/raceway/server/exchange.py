"""One HTTP request and its response, between a connection and the application (ASGI HTTP 2.5)."""

from __future__ import annotations

import asyncio
import logging
import os
from io import FileIO
from typing import TYPE_CHECKING, Any, Final

from raceway.errors import ClientDisconnected, InvalidMessage
from raceway.server.scopes import base_scope
from raceway.server.tasks import start_task
from raceway.types import Event
from raceway.wire.events import Body, End, HttpEvent, Request, Violation
from raceway.wire.http1 import Http1Response
from raceway.wire.limits import STREAM_STOP_S

if TYPE_CHECKING:
    from raceway.server.http import HttpConnection

logger = logging.getLogger("raceway.server")

EXTENSIONS_1_0: Final[dict[str, dict[str, Any]]] = {"http.response.pathsend": {}, "http.response.debug": {}}
EXTENSIONS: Final[dict[str, dict[str, Any]]] = {
    **EXTENSIONS_1_0,
    "http.response.trailers": {},
    "http.response.early_hint": {},
}
"""What the application may use beyond the specification's core; each scope has a copy."""

FILE_PIECE_BYTES: Final = 256 * 1024
"""How much of a file is read and written at a time by ``http.response.pathsend``."""


class HttpExchange:
    """Run the application for one request; ``receive`` and ``send`` are what it is called with."""

    # What a plain request never changes stays in the class: one is made per request, and its making is felt.
    parts: list[bytes] | None = None  # of the body, not yet received by the application
    receivers: list[asyncio.Future[None]] | None = None
    start_headers: Any = None  # of the response, until its body begins
    unread_bytes = 0
    sent_bytes = 0
    body_delivered = False
    disconnected = False
    asked_to_stop = False
    is_event_stream = False
    began = 0.0
    client: tuple[str, int] | None = None  # for the access log
    status = 0

    def __init__(self, connection: HttpConnection, request: Request) -> None:
        self.connection = connection
        self.request = request
        self.response = Http1Response(request.method, request.http_version, request.keep_alive)
        self.body_complete = request.ends_here
        self.continued = not request.expects_continue

    # The application's side

    def start(self) -> None:
        connection = self.connection
        request = self.request
        scope = base_scope("http", request, connection)
        scope["method"] = request.method
        scope["extensions"] = (EXTENSIONS if request.http_version == "1.1" else EXTENSIONS_1_0).copy()
        shared = connection.shared
        if shared.access is not None:
            self.began = shared.loop.time()
            self.client = scope["client"]
        shared.running.add(self)
        self.task = start_task(self._run(scope), loop=shared.loop, name="raceway-http")

    async def _run(self, scope: dict[str, Any]) -> None:
        shared = self.connection.shared
        try:
            await shared.application(scope, self.receive, self.send)
        except ClientDisconnected:
            self._ended()
        except BaseException as error:  # also sys.exit() in a view, which must not end the server
            if isinstance(error, asyncio.CancelledError) and shared.draining:
                self._failed(503, "The server is stopping.")
            else:
                self._blame(error, "raised while it answered")
                self._failed(500, "Internal Server Error")
        else:
            self._ended()
        finally:
            shared.running.discard(self)

    def _ended(self) -> None:
        """The application is done with this request."""
        if self.response.complete or self.disconnected:
            return
        if self.asked_to_stop:
            self._failed(503, "The server is stopping.")
            return
        how = "without completing its response" if self.response.started else "without a response"
        self._blame(None, f"returned {how} to")
        self._failed(500, "Internal Server Error")

    def _blame(self, error: BaseException | None, what: str) -> None:
        """Leave one log record of what the application did wrong."""
        request = self.request
        target = request.raw_path.decode("ascii", "backslashreplace")  # undecoded, it has no line ends
        logger.error("The application %s %s %s.", what, request.method, target, exc_info=error)
        self.connection.shared.counters["application_errors"] += 1

    def _failed(self, status: int, reason: str) -> None:
        """Let the client see the truth: an error if nothing was said yet, else a response that breaks off."""
        if self.response.complete or self.disconnected:
            return
        connection = self.connection
        if self.response.head_sent:
            self.disconnect()
            connection.break_off(self.response.ends_with_connection)
        else:
            self.status = status
            self._log()
            self.disconnect()
            connection.fail(status, reason)

    async def receive(self) -> Event:
        """The next piece of the body, then ``http.disconnect`` when the client has left or has its response."""
        while True:
            if self.disconnected or self.response.complete:
                return {"type": "http.disconnect"}
            if self.parts is not None or (self.body_complete and not self.body_delivered):
                return self._next_body()
            if self.asked_to_stop:
                return {"type": "http.disconnect"}
            if not self.continued:
                self.continued = True
                if not self.response.started:
                    self.connection.write(self.response.interim(100, ()))
            future = self.connection.shared.loop.create_future()
            if self.receivers is None:
                self.receivers = [future]
            else:
                self.receivers.append(future)
            try:
                await future
            except asyncio.CancelledError:
                if self.receivers is not None and future in self.receivers:
                    self.receivers.remove(future)
                raise

    def _next_body(self) -> Event:
        parts, self.parts = self.parts, None
        self.unread_bytes = 0
        self.body_delivered = self.body_complete
        connection = self.connection
        if connection.read_paused:
            connection.regulate()
        body = b"" if parts is None else parts[0] if len(parts) == 1 else b"".join(parts)
        return {"type": "http.request", "body": body, "more_body": not self.body_complete}

    async def send(self, message: Event) -> None:
        """Take one message of the response; wait while the client is behind."""
        if self.disconnected:
            raise ClientDisconnected(f"The client of {self.request.method} {self.request.path} has gone.")
        kind = message.get("type")
        connection = self.connection
        if kind == "http.response.start":
            self._start_response(message)
            return
        if kind == "http.response.body":
            response = self.response
            body = message.get("body", b"")
            data = response.body(body, message.get("more_body", False))
            self.sent_bytes += len(body)
            if response.complete and not connection.out and not connection.paused:
                connection.transport.write(data)  # nothing to join it with: the pass may as well end here
            elif data:
                connection.write(data)
            if self.start_headers is not None:
                self._look_for_stream()
        else:
            await self._send_rarer(kind, message)
        if self.response.complete:
            self._completed()
        elif connection.paused:
            await connection.room()

    def _start_response(self, message: Event) -> None:
        response = self.response
        shared = self.connection.shared
        if not self.continued or shared.draining:
            # Whether the body will come is in doubt (RFC 9110 section 10.1.1), or we are about to stop.
            response.keep_alive = False
        trailers = bool(message.get("trailers"))
        if trailers:
            response.accepts_trailers = self.request.accepts_trailers
        status: Any = message.get("status")
        headers = message.get("headers", ())
        response.start(status, headers, trailers, shared.default_headers)
        self.status = status
        self.start_headers = headers

    async def _send_rarer(self, kind: object, message: Event) -> None:
        response = self.response
        if kind == "http.response.pathsend":
            await self._send_file(message.get("path"))
        elif kind == "http.response.trailers":
            section = response.trailers(message.get("headers", ()), message.get("more_trailers", False))
            self.connection.write(section)
        elif kind == "http.response.early_hint":
            if self.request.http_version == "1.1" and not response.started:
                links = [(b"link", link) for link in message.get("links", ())]
                self.connection.write(response.interim(103, links))
        elif kind != "http.response.debug":  # which is for test clients; there is nobody here to tell
            raise InvalidMessage(
                f"A message of 'type' {kind!r} is no part of an HTTP response; expected http.response.start, .body, "
                ".trailers, .pathsend, .early_hint or .debug."
            )

    async def _send_file(self, path: object) -> None:
        """Send a file as the whole body (extension ``http.response.pathsend``), read in the default executor."""
        response = self.response
        loop = self.connection.shared.loop
        if not response.started or response.head_sent:
            raise InvalidMessage(
                "http.response.pathsend comes once, after http.response.start, without a body."
            )
        if not isinstance(path, str) or not os.path.isabs(path):
            raise InvalidMessage(f"http.response.pathsend takes the absolute 'path' of a file, not {path!r}.")
        file = await loop.run_in_executor(None, FileIO, path)
        try:
            left = os.fstat(file.fileno()).st_size
            given = self.start_headers or ()
            if not any(name.lower() == b"content-length" for name, _ in given):
                headers = [*given, (b"content-length", b"%d" % left)]
                request = self.request
                self.response = response = Http1Response(
                    request.method, request.http_version, response.keep_alive
                )
                response.start(self.status, headers, False, self.connection.shared.default_headers)
            while left:
                piece = await loop.run_in_executor(None, file.read, min(left, FILE_PIECE_BYTES))
                if not piece:
                    break  # it was cut while we read; the response ends short, and visibly so
                left -= len(piece)
                if self.disconnected:
                    raise ClientDisconnected(f"The client went away while {path} was sent.")
                self.connection.write(response.body(piece, left > 0))
                self.sent_bytes += len(piece)
                if self.connection.paused:
                    await self.connection.room()
            if not response.complete:
                self.connection.write(response.body(b"", False))
        finally:
            file.close()

    # The connection's side

    def wants(self, event: HttpEvent) -> bool:
        """Whether ``event`` belongs to this request rather than to one behind it."""
        if self.body_complete:
            return False
        return isinstance(event, Body | End | Violation)

    def feed(self, data: bytes) -> None:
        """A piece of the body has come."""
        self.continued = True  # the client did not wait to be asked
        if self.response.complete:
            self.connection.discard_body(len(data))
            return
        self.unread_bytes += len(data)
        if self.parts is None:
            self.parts = [data]
        else:
            self.parts.append(data)
        self.connection.body_progressed()
        self._wake()

    def end_body(self) -> None:
        self.body_complete = self.continued = True
        self.connection.body_progressed()
        if self.response.complete:
            self.connection.exchange_over()
        else:
            self._wake()

    def disconnect(self) -> None:
        """The client has gone, or the server gives up on it."""
        if not self.disconnected:
            if not self.response.complete and self.response.head_sent:
                self._log()
            self.disconnected = True
            self.parts = None
            self.unread_bytes = 0
            self._wake()

    def ask_to_stop(self) -> None:
        """The server drains: this is the last request here. A stream hears of a disconnect, although it may still
        send, for a moment."""
        self.response.keep_alive = False
        if self.is_event_stream and not self.asked_to_stop:
            self.asked_to_stop = True
            self.connection.shared.loop.call_later(STREAM_STOP_S, self._stop_sending)
            self._wake()

    def _stop_sending(self) -> None:
        """A stream that has not listened learns of the disconnect by being cancelled."""
        if not self.response.complete and not self.disconnected:
            self.disconnect()
            self.connection.break_off(False)
            self.task.cancel()

    def _completed(self) -> None:
        """The response is written to its end."""
        connection = self.connection
        if connection.shared.access is not None:
            self._log()
        if self.parts is not None:
            self.parts = None
            self.unread_bytes = 0
        if self.receivers is not None:
            self._wake()
        if self.response.truncated:
            self._blame(None, "sent less than its Content-Length to")
            connection.close()
        elif not self.body_complete and not self.continued:
            connection.close()
        elif self.body_complete:
            connection.exchange_over()
        else:
            connection.regulate()

    def _look_for_stream(self) -> None:
        """A response that streams events is told of a stop or of a half-closed client at once."""
        headers, self.start_headers = self.start_headers, None
        if headers is None or self.response.complete:
            return
        for name, value in headers:
            if name.lower() == b"content-type":
                self.is_event_stream = value.strip().lower().startswith(b"text/event-stream")
        if self.is_event_stream and self.connection.shared.draining:
            self.ask_to_stop()

    def _wake(self) -> None:
        receivers, self.receivers = self.receivers, None
        for future in receivers or ():
            if not future.done():
                future.set_result(None)

    def _log(self) -> None:
        shared = self.connection.shared
        if shared.access is not None:
            seconds = shared.loop.time() - self.began
            shared.access.add(self.client, self.request, self.status, self.sent_bytes, seconds)
