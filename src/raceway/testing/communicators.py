"""The server's side of one connection, for tests: events go into the application, and its events come out.

``WebsocketCommunicator`` and ``HttpCommunicator`` have the names and signatures that tests written for Channels
use. New tests read better with ``raceway.testing.connect``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import copy_context
from types import TracebackType
from typing import Any, Final

from raceway.json import decode_json, encode_json
from raceway.testing.database import keep_connections
from raceway.testing.expectations import NothingCame
from raceway.testing.scopes import GivenHeaders, as_headers, http_scope, websocket_scope
from raceway.testing.targets import as_application
from raceway.threads import in_test
from raceway.types import Event, Headers, Scope

__tracebackhide__ = __unittest = True  # a test that fails shows its own line, not ours


UNREAD_EVENTS: Final = 10_000
"""Events that a test has not read yet; an application that sends more waits, as for a slow client."""


class ApplicationCommunicator:
    """Run ``application`` for one ``scope``, and hold the other end of it.

    ``application`` is anything that ``raceway.testing.connect`` takes. It starts with the first call. Whatever it
    raises is raised, with its own traceback, by the call that waits for it. Sync code of the application runs in
    the test's own thread and transaction.
    """

    def __init__(self, application: Any, scope: Scope) -> None:
        self.application = as_application(application)
        self.scope = scope
        self._input: deque[Event] = deque()
        self._output: deque[Event] = deque()
        self._came_in = asyncio.Event()
        self._came_out = asyncio.Event()
        self._went_out = asyncio.Event()
        self._has_left = False
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._failed_at: TracebackType | None = None
        self.has_told_failure = False
        """What the application raised has been raised in the test."""

    async def send_input(self, message: Event) -> None:
        """Give the application an event. Raises what the application raised, if it has."""
        self._start()
        self._raise_failure()
        self._input.append(message)
        self._came_in.set()
        if str(message.get("type")).endswith(".disconnect"):
            self._has_left = True
            self._went_out.set()

    async def receive_output(self, timeout: float = 1) -> Event:
        """Wait for the next event that the application sends, ``timeout`` seconds at most.

        Raises what the application raised, and ``NothingCame`` if it sent nothing or has ended.
        """
        if not await self._has_output(timeout):
            raise NothingCame(f"The application sent nothing within {timeout:g} s.")
        if not self._output:
            self._raise_failure()
            raise NothingCame("The application has ended: it sends nothing more.")
        self._went_out.set()
        return self._output.popleft()

    async def receive_nothing(self, timeout: float = 0.1, interval: float = 0.01) -> bool:
        """Whether the application sends nothing for ``timeout`` seconds.

        Raises what the application raised. ``interval`` has no effect: nothing is polled.
        """
        if await self._has_output(timeout) and not self._output:
            self._raise_failure()
        return not self._output

    async def wait(self, timeout: float = 1) -> None:
        """Wait until the application has ended, ``timeout`` seconds at most.

        Raises what the application raised, and ``NothingCame`` if it did not end; it is cancelled then.
        """
        task = self._start()
        done, _ = await asyncio.wait({task}, timeout=timeout)
        if not done:
            await self.abandon(timeout)
            raise NothingCame(f"The application did not end within {timeout:g} s; it was cancelled.")
        self._raise_failure()

    def stop(self, exceptions: bool = True) -> None:
        """Cancel the application; if it has ended, raise what it raised, unless ``exceptions`` is false."""
        task = self._task
        if task is None:
            return
        if not task.done():
            task.cancel()
        elif exceptions:
            self._raise_failure()
        elif not task.cancelled():
            task.exception()

    async def abandon(self, timeout: float = 1) -> None:
        """Cancel the application and wait until it has ended; what it raises is lost."""
        self.stop(exceptions=False)
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=timeout)
            self.stop(exceptions=False)

    @property
    def has_ended(self) -> bool:
        """The application has returned, or raised."""
        return self._task is not None and self._task.done()

    def _start(self) -> asyncio.Task[None]:
        if self._task is None:
            context = copy_context()
            context.run(in_test.set, True)
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name="application under test", context=context
            )
            self._task.add_done_callback(lambda _: self._came_out.set())
        return self._task

    async def _run(self) -> None:
        try:
            with keep_connections():
                await self.application(self.scope, self._receive, self._send)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._fail(
                RuntimeError("The application let a CancelledError out, of something else than itself."),
                error,
            )
        except SystemExit as error:  # a task that lets it out ends the event loop, and the test with it
            self._fail(RuntimeError(f"The application raised {error!r}."), error)
        except BaseException as error:  # pytest.fail() raises no Exception
            self._fail(error)
            raise

    def _fail(self, failure: BaseException, cause: BaseException | None = None) -> None:
        if cause is not None:
            failure.__cause__ = cause
        self._failure = failure
        self._failed_at = failure.__traceback__  # raising it again changes it

    async def _receive(self) -> Event:
        while not self._input:
            self._came_in.clear()
            await self._came_in.wait()
        return self._input.popleft()

    async def _send(self, event: Event) -> None:
        while len(self._output) >= UNREAD_EVENTS and not self._has_left:
            self._went_out.clear()
            await self._went_out.wait()
        if len(self._output) < UNREAD_EVENTS:
            self._output.append(dict(event))
        self._came_out.set()

    async def _has_output(self, timeout: float) -> bool:
        """Wait for an event or the end; ``False`` if neither comes in ``timeout`` seconds."""
        task = self._start()
        try:
            async with asyncio.timeout(timeout):
                while not self._output and not task.done():
                    self._came_out.clear()
                    await self._came_out.wait()
        except TimeoutError:
            return False
        return True

    def _raise_failure(self) -> None:
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.exception()  # asking for it also says that somebody has
        if self._failure is not None:
            self.has_told_failure = True
            raise self._failure.with_traceback(self._failed_at)


class WebsocketCommunicator(ApplicationCommunicator):
    """A WebSocket's other end: ``connect()`` first, ``disconnect()`` last.

    ``path`` may have a query string; ``headers`` are pairs or a dictionary. Before ``connect`` a test may change
    ``scope``: ``communicator.scope["user"] = leela``. After it ``response_headers`` are those of the accept.
    """

    def __init__(
        self,
        application: Any,
        path: str,
        headers: GivenHeaders = None,
        subprotocols: list[str] | None = None,
        spec_version: str | None = None,
    ) -> None:
        super().__init__(application, websocket_scope(path, headers, subprotocols, spec_version))
        self.response_headers: Headers | None = None

    async def connect(self, timeout: float = 1) -> tuple[bool, Any]:
        """Ask to connect: ``(True, subprotocol)`` if that is accepted, ``(False, code)`` if it is refused.

        ``code`` is the one of the application's close (1000 if it gave none), or the HTTP status that it answered.
        """
        await self.send_input({"type": "websocket.connect"})
        event = await self.receive_output(timeout)
        if event["type"] == "websocket.close":
            return False, event.get("code", 1000)
        if event["type"] == "websocket.http.response.start":
            self.response_headers = as_headers(event.get("headers"))
            return False, event["status"]
        if event["type"] != "websocket.accept":
            raise AssertionError(f"Expected 'websocket.accept' or 'websocket.close', but was {event!r}")
        self.response_headers = as_headers(event.get("headers"))
        return True, event.get("subprotocol")

    async def send_to(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Send a message as the client: text, or bytes; an empty one is a message too."""
        if (text_data is None) == (bytes_data is None):
            raise ValueError("send_to() takes either text_data or bytes_data.")
        if text_data is not None:
            if not isinstance(text_data, str):
                raise TypeError(f"text_data is a str, not {text_data!r}")
            await self.send_input({"type": "websocket.receive", "text": text_data})
        else:
            if not isinstance(bytes_data, bytes):
                raise TypeError(f"bytes_data is bytes, not {bytes_data!r}")
            await self.send_input({"type": "websocket.receive", "bytes": bytes_data})

    async def send_json_to(self, data: Any) -> None:
        """Send ``data`` as JSON text."""
        await self.send_to(text_data=encode_json(data).decode())

    async def receive_from(self, timeout: float = 1) -> str | bytes:
        """Wait for a message of the application: ``str`` if it is text, ``bytes`` if it is binary."""
        event = await self.receive_output(timeout)
        if event["type"] != "websocket.send":
            raise AssertionError(f"Expected type 'websocket.send', but was {event!r}")
        text: str | None = event.get("text")
        return event["bytes"] if text is None else text

    async def receive_json_from(self, timeout: float = 1) -> Any:
        """Wait for a text message of the application, and return what its JSON says."""
        received = await self.receive_from(timeout)
        if not isinstance(received, str):
            raise AssertionError(f"Expected JSON text, but the message is binary: {received!r}")
        return decode_json(received)

    async def disconnect(self, code: int = 1000, timeout: float = 1) -> None:
        """Go away as the client, and wait until the application has ended. Raises what it raised."""
        if not self.has_ended:
            await self.send_input({"type": "websocket.disconnect", "code": code, "reason": ""})
        await self.wait(timeout)


class HttpCommunicator(ApplicationCommunicator):
    """One HTTP request; ``headers`` are pairs or a dictionary, ``path`` may have a query string."""

    def __init__(
        self,
        application: Any,
        method: str,
        path: str,
        body: bytes = b"",
        headers: GivenHeaders = None,
    ) -> None:
        if not isinstance(body, bytes):
            raise TypeError(f"body is bytes, not {body!r}")
        super().__init__(application, http_scope(method, path, headers))
        self.body = body

    async def get_response(self, timeout: float = 1) -> dict[str, Any]:
        """Make the request and wait for the whole response: ``{"status": ..., "headers": [...], "body": ...}``.

        ``timeout``, in seconds, is for each event. Raises what the application raised.
        """
        await self.send_input({"type": "http.request", "body": self.body, "more_body": False})
        start = await self.receive_output(timeout)
        if start["type"] != "http.response.start":
            raise AssertionError(f"Expected type 'http.response.start', but was {start!r}")
        body = b""
        while True:
            part = await self.receive_output(timeout)
            if part["type"] != "http.response.body":
                raise AssertionError(f"Expected type 'http.response.body', but was {part!r}")
            body += part.get("body", b"")
            if not part.get("more_body", False):
                break
        if not self.has_ended:
            await self.send_input({"type": "http.disconnect"})
        await self.wait(timeout)
        return {"status": start["status"], "headers": list(start.get("headers", ())), "body": body}
