"""Opening a connection in a test, in its own event loop or in one that is made for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, Protocol, TypeVar

from asgiref.sync import sync_to_async

from raceway.testing.communicators import ApplicationCommunicator
from raceway.testing.expectations import NothingCame, describe
from raceway.testing.login import sign_in
from raceway.testing.scopes import HOST
from raceway.testing.thread import LoopThread, in_either, is_loop_running, loop_thread
from raceway.types import Event, Scope

__tracebackhide__ = __unittest = True  # a test that fails shows its own line, not ours

WAIT_S: Final = 5.0
"""How long a test waits for what must come, in seconds."""

NOTHING_S: Final = 0.1
"""How long a test looks whether something comes that must not, in seconds."""

ORIGIN: Final = f"http://{HOST}"
"""The page that a test's connections are opened from."""


class Client(Protocol):
    """The client's end of an open connection."""

    async def close(self) -> None: ...


ClientT = TypeVar("ClientT", bound=Client)
SyncT = TypeVar("SyncT")


class Connecting(ABC, Generic[ClientT, SyncT]):
    """A connection that has not begun: enter it to get the client's end, or ``expect_refused``."""

    asked: str
    """What it asks for, in a sentence."""
    first: Event
    """The event that it begins with."""

    _client: ClientT
    _thread: LoopThread

    def __init__(
        self, communicator: ApplicationCommunicator, sign: Callable[[], None] | None, timeout_s: float
    ) -> None:
        self._communicator = communicator
        self._sign = sign
        self._timeout_s = timeout_s
        self._stack = ExitStack()

    def expect_refused(self, status: int | None = None) -> Awaitable[None]:
        """The application refuses: with this HTTP status (403 for a WebSocket that it just closes) or close code.

        To be awaited in an ``async def`` test.
        """
        return in_either(partial(self._expect_refused, status))

    async def __aenter__(self) -> ClientT:
        event = await self._ask(f"{self.asked} to be accepted")
        if not self._accepts(event):
            await self._abandon()
            raise AssertionError(f"Expected {self.asked} to be accepted, but {_refusal(event)}.")
        self._client = self._open(event)
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self._client.close()
        else:
            await self._abandon()  # the test has failed already: what it said is to be read

    def __enter__(self) -> SyncT:
        if is_loop_running():
            raise RuntimeError("In an async def test, write: async with connect(...) as socket.")
        self._thread = self._stack.enter_context(loop_thread())
        try:
            return self._for_plain_test(self._thread.run(self.__aenter__()), self._thread)
        except BaseException:
            self._stack.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            self._thread.run(self.__aexit__(kind, error, trace))

    @abstractmethod
    def _accepts(self, event: Event) -> bool:
        """Whether the application's first event lets the client in."""

    @abstractmethod
    def _open(self, event: Event) -> ClientT:
        """The client that was let in by ``event``."""

    @abstractmethod
    def _for_plain_test(self, client: ClientT, thread: LoopThread) -> SyncT:
        """The same without ``await``."""

    async def _ask(self, expected: str) -> Event:
        if self._sign is not None:
            await sync_to_async(self._sign)()
        await self._communicator.send_input({**self.first})
        try:
            return await self._communicator.receive_output(self._timeout_s)
        except NothingCame as nothing:
            await self._abandon()
            raise NothingCame(f"Expected {expected}, but: {nothing}") from None

    async def _expect_refused(self, status: int | None) -> None:
        expected = f"{self.asked} to be refused" + ("" if status is None else f" with {status}")
        event = await self._ask(expected)
        if self._accepts(event):
            await self._abandon()
            raise AssertionError(f"Expected {expected}, but it was accepted.")
        if status is not None and status not in _codes(event):
            await self._abandon()
            raise AssertionError(f"Expected {expected}, but {_refusal(event)}.")
        await leave(self._communicator, {"code": 1006, "reason": ""}, self._timeout_s)

    async def _abandon(self) -> None:
        await self._communicator.abandon(self._timeout_s)


def communicator_of(
    application: Any,
    scope: Scope,
    *,
    user: Any,
    session: Mapping[str, Any] | None,
    cookies: Any,
    origin: str | None,
    kwargs: Mapping[str, Any] | None,
    more: Mapping[str, Any] | None,
) -> tuple[ApplicationCommunicator, Callable[[], None] | None]:
    """The connection that a test asks for, and what remains to be done with the database, if anything."""
    names = {name for name, _ in scope["headers"]}
    if b"host" not in names:
        scope["headers"].append((b"host", HOST.encode()))
    if origin is not None and b"origin" not in names:
        scope["headers"].append((b"origin", origin.encode()))
    if kwargs is not None:
        scope["url_route"] = {"args": (), "kwargs": dict(kwargs)}
    communicator = ApplicationCommunicator(application, {**scope, **(more or {})})
    if user is None and session is None and not cookies:
        return communicator, None
    sign = partial(sign_in, communicator.scope, communicator.application, user, session, cookies)
    return communicator, sign


def target_and_path(application: Any, path: str) -> tuple[Any, str]:
    """Both, of arguments of which the first may have been left out."""
    if isinstance(application, str):
        application, path = None, application
    return application, path if path.startswith("/") else f"/{path}"


async def leave(communicator: ApplicationCommunicator, end: dict[str, Any], timeout_s: float) -> None:
    """Go away as the client, and wait until the application has ended. Raises what it raised, if the test does not
    know it yet."""
    if communicator.has_told_failure:
        return
    if not communicator.has_ended:
        kind = communicator.scope["type"]
        await communicator.send_input({"type": f"{kind}.disconnect", **(end if kind == "websocket" else {})})
    try:
        await communicator.wait(timeout_s)
    except NothingCame:
        raise NothingCame(
            f"The application did not end within {timeout_s:g} s after the connection had; it was cancelled."
        ) from None


def _codes(event: Event) -> tuple[int, ...]:
    """What a refusal may be called by: its HTTP status, and the code of a close."""
    if event["type"] == "websocket.close":
        return 403, int(event.get("code", 1000))
    return (int(event.get("status", 0)),)


def _refusal(event: Event) -> str:
    if event["type"] != "websocket.close":
        return describe(event)
    return "the application refused it with 403" + (f" (code {event['code']})" if "code" in event else "")
