"""Routing of messages by channel and by what they say: which consumer a message goes to, and with what arguments."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Final, TypeAlias

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from raceway.messaging.message import Message

Consumer: TypeAlias = Callable[..., Any]
Match: TypeAlias = tuple[Consumer, dict[str, Any]]
"""A consumer and the keyword arguments that filters have captured for it."""
Routing: TypeAlias = "str | Mapping[str, Consumer | str] | Iterable[Routes]"
"""A list of routes, a dict of consumers by channel, or the dotted name of one of these."""

CONNECT: Final = "websocket.connect"
RECEIVE: Final = "websocket.receive"
DISCONNECT: Final = "websocket.disconnect"
HTTP_REQUEST: Final = "http.request"
HTTP_DISCONNECT: Final = "http.disconnect"
GAP: Final = "raceway.gap"
OF_SOCKETS: Final = frozenset({CONNECT, RECEIVE, DISCONNECT})
OF_CONNECTIONS: Final = OF_SOCKETS | {HTTP_REQUEST, HTTP_DISCONNECT, GAP}
"""The channels that clients' connections fill; workers listen to all others."""


class Routes(ABC):
    """What a routing is made of; any object with these two methods is as good."""

    @abstractmethod
    def match(self, message: Message) -> Match | None:
        """Where ``message`` goes; ``None`` if this is no way for it."""

    @abstractmethod
    def channel_names(self) -> set[str]:
        """The channels that may match."""


class Route(Routes):
    """One way: the messages of some channels that pass all filters go to ``consumer``."""

    def __init__(
        self, channels: Iterable[str], consumer: Consumer, filters: Mapping[str, str | bytes]
    ) -> None:
        self.channels = frozenset(channels)
        self.consumer = consumer
        self.filters = compile_filters(filters)

    def match(self, message: Message) -> Match | None:
        if message.channel_name not in self.channels:
            return None
        matched = match_filters(self.filters, message)
        return None if matched is None else (self.consumer, captured(matched))

    def channel_names(self) -> set[str]:
        return set(self.channels)

    def __repr__(self) -> str:
        name = getattr(self.consumer, "__qualname__", repr(self.consumer))
        return f"<Route of {', '.join(sorted(self.channels))} to {name}>"


class Include(Routes):
    """A routing inside another, for messages that begin as the filters say."""

    def __init__(self, routes: list[Routes], filters: Mapping[str, str | bytes]) -> None:
        self.routes = routes
        self.filters = compile_filters(filters)

    def match(self, message: Message) -> Match | None:
        matched = match_filters(self.filters, message)
        if matched is None:
            return None
        rest = {name: text_of(message[name])[match.end() :] for name, match in matched.items()}
        inner = first_match(
            self.routes, Message({**message.content, **rest}, message.channel_name, message.alias)
        )
        return None if inner is None else (inner[0], {**captured(matched), **inner[1]})

    def channel_names(self) -> set[str]:
        return {name for route in self.routes for name in route.channel_names()}


def route(channels: str | Iterable[str], consumer: Consumer | str, **filters: str | bytes) -> Route:
    """Send the messages of ``channels`` to ``consumer``, a callable or its dotted name.

    ``filters`` are regular expressions that values of the message begin with: ``path=r"^/chat/(?P<room>\\w+)/$"``.
    All must match; named groups become keyword arguments. Raises ``ValueError`` for groups without a name, and
    ``ImproperlyConfigured`` for a name that cannot be imported.
    """
    return Route([channels] if isinstance(channels, str) else channels, as_consumer(consumer), filters)


def route_class(consumer: Any, **filters: str | bytes) -> Route:
    """``route`` for a class, which says itself what its channels are. Raises ``ValueError`` for one that does not."""
    cls = as_consumer(consumer)
    if not hasattr(cls, "channel_names"):
        raise ValueError(
            f"{cls!r} does not say its channels: route_class() takes a class of raceway.messaging, such as "
            "WebsocketConsumer; route() takes any callable."
        )
    return Route(cls.channel_names(), cls, filters)


def include(routing: Routing, **filters: str | bytes) -> Include:
    """Take in another routing, for messages that begin as ``filters`` say: ``include("chat.routing", path=r"^/chat")``.

    The routes inside see the message without what has matched here. Groups captured inside win.
    """
    return Include(resolve_routing(routing), filters)


class Router(Routes):
    """The whole of a project's routing; the first route that matches counts."""

    def __init__(self, routing: Routing) -> None:
        self.routes = self.resolve_routing(routing)

    @classmethod
    def resolve_routing(cls, routing: Routing) -> list[Routes]:
        return resolve_routing(routing)

    @property
    def channels(self) -> set[str]:
        """The channels that some route is for."""
        return self.channel_names()

    def channel_names(self) -> set[str]:
        return {name for one in self.routes for name in one.channel_names()}

    def add_route(self, route: Routes) -> None:
        self.routes.append(route)

    def match(self, message: Message) -> Match | None:
        return first_match(self.routes, message)

    def check_default(self, http_consumer: Consumer | None = None) -> None:
        """Add what a message of a client goes to if nothing else is for it: requests to Django's views (or
        ``http_consumer``), handshakes to nothing, which accepts them, and the rest to nothing."""
        from raceway.messaging.views import ViewConsumer  # which is itself a consumer

        self.add_route(route(HTTP_REQUEST, http_consumer or ViewConsumer))
        self.add_route(route((CONNECT, RECEIVE, DISCONNECT, HTTP_DISCONNECT, GAP), do_nothing))


async def do_nothing(message: Message, **kwargs: Any) -> None:
    """The consumer of what nobody wants to know."""


# Resolving


def resolve_routing(routing: Routing) -> list[Routes]:
    """Any form of a routing as a list of routes. Raises ``ImproperlyConfigured``."""
    if isinstance(routing, str):
        return resolve_routing(imported_routing(routing))
    if isinstance(routing, Mapping):
        return [route(channel, consumer) for channel, consumer in routing.items()]
    routes = list(routing)
    for one in routes:
        if not hasattr(one, "match") or not hasattr(one, "channel_names"):
            raise ImproperlyConfigured(
                f"{one!r} is no route: a routing is a list of route(), route_class() and include(), or a dict of "
                "consumers by channel."
            )
    return routes


def imported_routing(name: str) -> Any:
    """What a dotted name stands for: a routing, or a module with ``channel_routing``."""
    try:
        found = import_string(name)
    except ImportError as error:
        try:
            found = import_module(name)
        except ImportError:
            raise ImproperlyConfigured(f"The routing {name!r} cannot be imported: {error}") from error
    if not isinstance(found, ModuleType):
        return found
    if not hasattr(found, "channel_routing"):
        raise ImproperlyConfigured(f"The module {name!r} has no channel_routing.")
    return found.channel_routing


def as_consumer(consumer: Any) -> Any:
    """The callable that ``consumer`` is or names."""
    if isinstance(consumer, str):
        try:
            consumer = import_string(consumer)
        except ImportError as error:
            raise ImproperlyConfigured(f"The consumer {consumer!r} cannot be imported: {error}") from error
    if not callable(consumer):
        raise ImproperlyConfigured(f"{consumer!r} is no consumer: it cannot be called.")
    return consumer


# Filters


def compile_filters(filters: Mapping[str, str | bytes]) -> dict[str, re.Pattern[str]]:
    compiled = {name: re.compile(text_of(pattern)) for name, pattern in filters.items()}
    for name, pattern in compiled.items():
        if pattern.groups != len(pattern.groupindex):
            raise ValueError(
                f"{name}={pattern.pattern!r} captures something without a name: write (?P<name>...), or (?:...) to "
                "capture nothing."
            )
    return compiled


def match_filters(
    filters: Mapping[str, re.Pattern[str]], message: Message
) -> dict[str, re.Match[str]] | None:
    """How each filter matches; ``None`` if one does not."""
    matched: dict[str, re.Match[str]] = {}
    for name, pattern in filters.items():
        value = message.get(name)
        match = pattern.match(text_of(value)) if isinstance(value, str | bytes) else None
        if match is None:
            return None
        matched[name] = match
    return matched


def captured(matched: Mapping[str, re.Match[str]]) -> dict[str, Any]:
    return {name: value for match in matched.values() for name, value in match.groupdict().items()}


def first_match(routes: Iterable[Routes], message: Message) -> Match | None:
    for one in routes:
        match = one.match(message)
        if match is not None:
            return match
    return None


def text_of(value: str | bytes) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
