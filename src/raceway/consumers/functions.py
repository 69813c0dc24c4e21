"""Consumers that are one function: ``async def echo(socket)``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from inspect import Parameter, signature
from typing import Any, TypeAlias

from raceway.close_codes import RESTARTING
from raceway.consumers.application import ConsumerApplication
from raceway.consumers.handlers import Handlers
from raceway.consumers.websocket import WebsocketConnection
from raceway.consumers.websocket_runtime import WebsocketRuntime
from raceway.done import DONE
from raceway.errors import ClientDisconnected, DenyConnection
from raceway.json import encode_json
from raceway.layers import Group
from raceway.layers.spec import require_group_name
from raceway.registry import Closing
from raceway.threads import is_coroutine_callable
from raceway.types import Event, Receive, Scope, Send

Function: TypeAlias = Callable[["Socket"], Coroutine[Any, Any, object]]


def websocket_consumer(function: Function) -> ConsumerApplication:
    """Make an ASGI application of ``async def function(socket)``; also as a decorator.

    The function runs as long as the connection. When it returns the socket is closed, or refused with 403 if it
    was never accepted. When the client leaves, iteration ends, ``receive`` and ``send`` raise
    ``ClientDisconnected``, and after ``RACEWAY["DISCONNECT_GRACE_S"]`` the function is cancelled. Raises ``TypeError``
    for a function that is no ``async def``.
    """
    if not is_coroutine_callable(function):
        raise TypeError(f"{function!r} is no consumer: write async def, with the socket as its parameter.")
    return ConsumerApplication(Socket, {"function": function})


def is_function_consumer(callback: object) -> bool:
    """Whether ``callback`` takes a socket, rather than being an ASGI application with its three arguments."""
    if not callable(callback) or isinstance(callback, type) or hasattr(callback, "raceway_begin"):
        return False
    try:
        parameters = signature(callback).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    required = [one for one in parameters if one.kind in positional and one.default is Parameter.empty]
    return len(required) == 1


class FunctionRuntime(WebsocketRuntime):
    """A runtime whose only handler takes the messages out of the mailbox itself."""

    __slots__ = ("_in_hand", "_is_running")

    def __init__(self, handlers: Handlers, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(handlers, scope, receive, send)
        self._in_hand = False
        self._is_running = False

    def gap(self, reason: str) -> None:
        """A function has no ``on_gap``: its client is told to come again, and begins anew."""
        self.close(Closing(RESTARTING, "messages may have been missed"))

    async def call(self, function: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run the handler."""
        self._is_running = self._in_hand = True
        try:
            await function()
        finally:
            self._is_running = False

    async def next_message(self) -> str | bytes:
        """What the client said next. Raises ``ClientDisconnected`` when there is nothing more to come."""
        if self._waiter is not None and not self._waiter.done():
            raise RuntimeError("Another task waits for the next message of this socket already.")
        self._finish_message()
        while True:
            if self._mailbox:
                item = self._mailbox.pop(0)
                if isinstance(item, bytes):
                    self._layer_waiting -= 1
                    await self._start_handler(item)
                else:
                    self._in_hand = True
                    if isinstance(item, Exception):
                        raise item
                    text: str | None = item.get("text")
                    return text if text is not None else item["bytes"]
            elif self.consumer.closed:
                raise ClientDisconnected("The connection is closed.")
            else:
                self._waiter = self._loop.create_future()
                await self._waiter

    def _finish_message(self) -> None:
        if self._in_hand:
            self._in_hand = False
            self._client_waiting -= 1
            if self._client_waiting <= 0:
                self._drained()

    def _client_gone(self, event: Event) -> None:
        super()._client_gone(event)
        if self._is_running and self._grace is None:  # it waited for a message: it has been woken
            self._start_grace()


class Socket(WebsocketConnection):
    """One WebSocket, as a function consumer has it: iterate over it for what the client sends.

    ``send`` and iteration accept the handshake if ``accept`` was not called.
    """

    _runtimes = {"websocket": FunctionRuntime}

    _runtime: FunctionRuntime
    _is_saved = False

    def __init__(self, function: Function) -> None:
        self._function = function

    @property
    def _written_code(self) -> Any:
        return self._function

    @property
    def kwargs(self) -> dict[str, Any]:
        """What the route captured from the path."""
        route: dict[str, dict[str, Any]] = self.scope.get("url_route", {})
        return route.get("kwargs", {})

    async def receive(self) -> str | bytes:
        """The client's next message. Raises ``ClientDisconnected`` when the connection has ended."""
        self._accept_if_needed()
        if not self._is_saved:  # the handshake is over
            self._is_saved = True
            await self._runtime.save()
        return await self._runtime.next_message()

    def __aiter__(self) -> Socket:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()
        except ClientDisconnected:
            raise StopAsyncIteration from None

    def send(self, data: object) -> Awaitable[None]:
        """Send ``data``: ``str`` as text, ``bytes`` as binary, the rest as JSON text."""
        self._accept_if_needed()
        if isinstance(data, bytes | bytearray | memoryview):
            return self._runtime.send({"type": "websocket.send", "bytes": data})
        text = data if isinstance(data, str) else encode_json(data).decode()
        return self._runtime.send({"type": "websocket.send", "text": text})

    def join(self, group: str | Group) -> Awaitable[None]:
        """Become a member of a group: its client messages go to the client. The end of the socket leaves it."""
        require_group_name(str(group))
        return self._require_layer().start_join(str(group), self.channel_name)

    def leave(self, group: str | Group) -> Awaitable[None]:
        """Take back one ``join``."""
        require_group_name(str(group))
        return self._require_layer().start_leave(str(group), self.channel_name)

    async def websocket_connect(self, event: Event) -> None:
        with suppress(ClientDisconnected, DenyConnection):
            await self._runtime.call(self._run)
        if not self.closed:
            self.close()

    def websocket_disconnect(self, event: Event) -> Awaitable[Any]:
        return DONE

    async def _run(self) -> None:
        await self._function(self)

    def _accept_if_needed(self) -> None:
        if not self._runtime.is_accepted:
            self.accept()
