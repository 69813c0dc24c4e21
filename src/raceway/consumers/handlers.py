"""Which methods of a consumer class run for what, and how; worked out once per class.

A *hook* is a method whose name a Raceway base has (``connect``, ``receive`` ...): the connection's own events
call it. A *handler* is any other public method: layer events of its name call it. So no message from a layer can
call ``close`` or ``send``, and mixins and third-party bases take part.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from inspect import getmro, isawaitable
from typing import Any, Final, NamedTuple, TypeAlias

from asgiref.sync import iscoroutinefunction, sync_to_async

Invoke: TypeAlias = Callable[..., Awaitable[Any]]
"""Call it as ``invoke(consumer, ...)`` in the loop's thread and await what it returns."""

RESERVED_PREFIXES: Final = ("websocket_", "http_", "lifespan_", "raceway_")
"""Events of these types come from servers and from Raceway, never from a layer ..."""

INTERCEPTS: Final = "websocket_send"
"""... but for the one by which a class asks to see client messages before they are sent."""


class Handlers(NamedTuple):
    """``hooks`` by method name, ``events`` by handler name, ``client`` by the type of a server's event."""

    hooks: dict[str, Invoke]
    events: dict[str, Invoke]
    client: dict[str, Invoke]

    @property
    def intercepts(self) -> bool:
        """The class handles client messages itself, and leaves the fast lane."""
        return INTERCEPTS in self.events


@cache
def handlers_of(cls: type) -> Handlers:
    """Work out the table of ``cls``."""
    hooks: dict[str, Invoke] = {}
    events: dict[str, Invoke] = {}
    reserved = {name for base in getmro(cls) if _is_ours(base) for name in vars(base)}
    for name in dir(cls):
        owner = _owner(cls, name)
        if name.startswith("_") or not _is_method(vars(owner)[name]):
            continue
        if name in reserved:
            hooks[name] = _invoke(cls, name, _is_ours(owner))
        elif name == INTERCEPTS or not name.startswith(RESERVED_PREFIXES):
            events[name] = _invoke(cls, name, False)
    client = {name.replace("_", ".", 1): hooks[name] for name in hooks if name.startswith(RESERVED_PREFIXES)}
    return Handlers(hooks, events, client)


def _owner(cls: type, name: str) -> type:
    return next(base for base in getmro(cls) if name in vars(base))


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "raceway"


def _is_method(raw: object) -> bool:
    return not isinstance(raw, type | property | classmethod | staticmethod) and (
        callable(raw) or hasattr(raw, "__get__")
    )


def _invoke(cls: type, name: str, is_ours: bool) -> Invoke:
    """How to call a method: ours never block, ``async def`` is awaited, ``def`` gets a thread."""
    method: Callable[..., Any] = getattr(cls, name)
    if is_ours or iscoroutinefunction(method):
        return method
    return _in_thread(method)


def _in_thread(method: Callable[..., Any]) -> Invoke:
    call = sync_to_async(method)

    async def invoke(consumer: Any, *args: Any, **kwargs: Any) -> None:
        connection = consumer._connection
        connection.calls_in_thread += 1
        try:
            result = await call(consumer, *args, **kwargs)
        finally:
            connection.calls_in_thread -= 1
        if isawaitable(result):  # a decorator hid an async def
            await result

    return invoke
