"""Which methods of a consumer class run for what, and how; worked out once per class.

A *hook* is a method whose name a Raceway base has (``connect``, ``receive`` ...): the connection's own events
call it. A *handler* is any other public method that a class body defines: layer events of its name call it. So no
message from a layer can call ``close`` or ``send``, nor a function that is only kept as an attribute, and mixins and
third-party bases take part.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import cache, partialmethod
from inspect import getmro, isawaitable, unwrap
from types import FunctionType
from typing import Any, Final, NamedTuple, TypeAlias

from asgiref.sync import iscoroutinefunction, sync_to_async

from raceway.done import DONE

logger = logging.getLogger("raceway.consumers")

Invoke: TypeAlias = Callable[..., Awaitable[Any]]
"""Call it as ``invoke(consumer, ...)`` in the loop's thread and await what it returns."""

RESERVED_PREFIXES: Final = ("websocket_", "http_", "lifespan_", "raceway_")
"""Events of these types come from servers and from Raceway, never from a layer ..."""

INTERCEPTS: Final = "websocket_send"
"""... but for the one by which a class asks to see client messages before they are sent."""


UNKNOWN_TYPES: Final = 1000
"""Types without a handler that are remembered, so that each is logged once."""

_unknown_types: set[tuple[object, str]] = set()


class ByType(dict[str, Invoke]):
    """Functions by the type of what they handle; a type that has none is looked up in ``names``, or dropped."""

    def __init__(self, by_type: dict[str, Invoke], names: dict[str, Invoke]) -> None:
        super().__init__(by_type)
        self.names = names

    def __missing__(self, kind: object) -> Invoke:
        name = kind.replace(".", "_") if isinstance(kind, str) else ""
        return self.names.get(name, drop_unknown)


class Handlers(NamedTuple):
    """``hooks`` by method name, ``events`` by handler name, ``client`` by the type of a server's event."""

    hooks: dict[str, Invoke]
    events: dict[str, Invoke]
    client: ByType

    @property
    def intercepts(self) -> bool:
        """The class handles client messages itself, and leaves the fast lane."""
        return INTERCEPTS in self.events


@cache
def handlers_of(cls: type) -> Handlers:
    """Work out the table of ``cls``."""
    hooks: dict[str, Invoke] = {}
    events: dict[str, Invoke] = {}
    protocol: dict[str, Invoke] = {}
    ours = {name: raw for base in getmro(cls) if _is_ours(base) for name, raw in vars(base).items()}
    for name in dir(cls):
        owner = _owner(cls, name)
        if name.startswith("_"):
            continue
        if name in ours:
            if isinstance(ours[name], FunctionType):
                hooks[name] = _invoke(cls, name, _is_ours(owner))
        elif _is_method(vars(owner)[name], owner):
            is_protocol = name.startswith(RESERVED_PREFIXES) and name != INTERCEPTS
            (protocol if is_protocol else events)[name] = _invoke(cls, name, False)
    names = hooks | protocol if getattr(cls, "_any_runtime", None) else hooks
    client = {name.replace("_", ".", 1): names[name] for name in names if name.startswith(RESERVED_PREFIXES)}
    return Handlers(hooks, events, ByType(client, events if names is not hooks else {}))


def drop_unknown(consumer: Any, event: Any) -> Awaitable[Any]:
    """What happens to a message that nobody handles: each type is logged once."""
    kind = repr(event.get("type"))
    code = consumer._written_code
    if (code, kind) not in _unknown_types and len(_unknown_types) < UNKNOWN_TYPES:
        _unknown_types.add((code, kind))
        lacks = _what_would_handle(code, event.get("type"))
        logger.warning(
            "%s has no handler for messages of type %s%s: they are dropped.", code.__qualname__, kind, lacks
        )
    return DONE


def _what_would_handle(code: object, kind: object) -> str:
    if kind is None:
        return ", which is what names a handler"
    name = kind.replace(".", "_") if isinstance(kind, str) else ""
    reserved = name.startswith(("_", *RESERVED_PREFIXES)) or hasattr(code, name)
    return f", no method {name}" if isinstance(code, type) and name.isidentifier() and not reserved else ""


def _owner(cls: type, name: str) -> type:
    return next(base for base in getmro(cls) if name in vars(base))


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "raceway"


def _is_method(raw: object, owner: type) -> bool:
    """Whether ``raw`` is a function of the class body of ``owner``, decorated or not.

    ``encoder = json.dumps`` is none, nor are properties of any kind, classes, and static and class methods.
    """
    if isinstance(raw, partialmethod):
        raw = raw.func
    if isinstance(raw, staticmethod) or not callable(raw):
        return False
    function = unwrap(raw)
    if not isinstance(function, FunctionType):
        return False
    place = function.__qualname__.rpartition(".")[0]
    return place == owner.__qualname__ or place.endswith("<locals>")  # a decorator without functools.wraps


def _invoke(cls: type, name: str, is_ours: bool) -> Invoke:
    """How to call a method: ours never block, ``async def`` is awaited, ``def`` gets a thread."""
    method: Callable[..., Any] = getattr(cls, name)
    if is_ours or iscoroutinefunction(method):
        return method
    return _in_thread(method)


def _in_thread(method: Callable[..., Any]) -> Invoke:
    call = sync_to_async(method)

    async def invoke(consumer: Any, *args: Any, **kwargs: Any) -> None:
        runtime = consumer._runtime
        runtime.calls_in_thread += 1
        try:
            result = await call(consumer, *args, **kwargs)
        finally:
            runtime.calls_in_thread -= 1
        if isawaitable(result):  # a decorator hid an async def
            await result

    return invoke
