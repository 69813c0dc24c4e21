"""Asserting that code sends to groups and channels, with nobody there to receive it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, NamedTuple, TypeAlias
from unittest import mock

from raceway.layers import Channel, Group, channel_layers
from raceway.layers.spec import as_event, decode_event
from raceway.registry import Message
from raceway.testing.database import see_commits
from raceway.testing.expectations import difference, is_json_of, is_same
from raceway.types import Event

__tracebackhide__ = __unittest = True  # a test that fails shows its own line, not ours

Kind: TypeAlias = Literal["group", "channel"]
Target: TypeAlias = str | Group | Channel
Expected: TypeAlias = Any
"""An event, a client message, the data of a broadcast, a predicate, or ``...`` for whatever it is."""


class Publication(NamedTuple):
    """One message on its way: to the ``group`` or ``channel`` called ``name``, through the layer ``alias``.

    ``message`` is what an event handler would get; a client message is ``{"type": "websocket.send", "text": ...}``.
    """

    kind: Kind
    name: str
    message: Event
    alias: str = "default"
    delay_s: float = 0
    """It is sent so many seconds later."""

    def is_for(self, target: Target) -> bool:
        """Whether it went there; a ``str`` is the name of a group or of a channel."""
        if isinstance(target, str):
            return self.name == target
        kind = "channel" if isinstance(target, Channel) else "group"
        return (kind, target.name, target.alias) == (self.kind, self.name, self.alias)

    def says(self, expected: Expected) -> bool:
        """Whether it is what a test expects; see ``Published.assert_published``."""
        if expected is ...:
            return True
        if callable(expected) and not isinstance(expected, dict):
            return bool(expected(self.message))
        if is_same(expected, self.message):
            return True
        if self.message.get("type") != "websocket.send":
            return False
        text, data = self.message.get("text"), self.message.get("bytes")
        if isinstance(expected, str | bytes):
            return bool(expected == (data if text is None else text))
        if expected == ({"bytes": data} if text is None else {"text": text}):
            return True
        return text is not None and is_json_of(expected, text)

    def __str__(self) -> str:
        later = f" in {self.delay_s:g} s" if self.delay_s else ""
        return f"{self.kind} {self.name!r}{later}: {self.message!r}"


class Published(list[Publication]):
    """What has been sent since ``published()`` was entered, in order."""

    def to(self, target: Target) -> list[Event]:
        """The messages to a group or channel: its name, or a ``Group``, ``User`` or ``Channel``."""
        return [one.message for one in self if one.is_for(target)]

    def assert_published(self, target: Target, expected: Expected = ..., times: int | None = None) -> None:
        """Something like ``expected`` was sent to ``target``, exactly ``times`` times if that is given.

        ``expected`` is the event; of a client message also its short form ``{"text": ...}`` or what was given to
        ``broadcast``; or a function that is called with each message and says whether it is the one. Without it
        any message will do.
        """
        found = [one for one in self if one.is_for(target) and one.says(expected)]
        if found if times is None else len(found) == times:
            return
        count = "" if times is None else f" {times} times, but {len(found)} times"
        wanted = "a message" if expected is ... else _name_of(expected)
        raise AssertionError(
            f"Expected {wanted} to be sent to {str(target)!r}{count}.\n{self._hint(target, expected)}"
        )

    def assert_nothing_published(self, target: Target | None = None) -> None:
        """Nothing was sent, or nothing to ``target``."""
        found = [one for one in self if target is None or one.is_for(target)]
        if found:
            raise AssertionError("Expected nothing to be sent, but this was:\n" + _lines(found))

    def _hint(self, target: Target, expected: Expected) -> str:
        near = [one for one in self if one.is_for(target)]
        if len(near) == 1 and expected is not ... and not callable(expected):
            return f"It was sent another message:\n{difference(expected, near[0].message)}"
        return "Sent were:\n" + _lines(self) if self else "Nothing was sent."


@contextmanager
def published() -> Iterator[Published]:
    """Take down what the code in the ``with`` block sends to groups and channels::

        with published() as sent:
            self.client.post("/articles/", {"title": "Robots"})
        sent.assert_published("articles", {"type": "article.saved", "title": "Robots"})

    No consumer has to run; one that does gets its messages as ever. What is sent inside ``atomic`` counts when that
    block ends, also in a ``TestCase``; what is rolled back does not. From whatever thread it is sent.
    """
    sent = Published()
    with see_commits(), ExitStack() as stack:
        for alias in channel_layers:
            layer = channel_layers[alias]
            for name, kind in _KINDS.items():
                noting = _noting(getattr(layer, name), kind, alias, sent)
                stack.enter_context(mock.patch.object(layer, name, noting))
        yield sent


@contextmanager
def assert_published(
    target: Target, expected: Expected = ..., times: int | None = None
) -> Iterator[Published]:
    """The code in the ``with`` block sends this; see ``Published.assert_published``.

    ::

        with assert_published("articles", {"type": "article.saved", "title": "Robots"}):
            article.save()
    """
    with published() as sent:
        yield sent
    sent.assert_published(target, expected, times)


_KINDS: dict[str, Kind] = {
    "start_send": "channel",
    "send_from_thread": "channel",
    "start_send_later": "channel",
    "send_later_from_thread": "channel",
    "start_publish": "group",
    "publish_from_thread": "group",
}
"""The ways into a backend."""
_LATER = ("start_send_later", "send_later_from_thread")
"""Those that take a delay in seconds behind the message."""

_inside = threading.local()  # a backend may use one of its own ways for another: that is the same message


def _noting(method: Callable[..., Any], kind: Kind, alias: str, sent: Published) -> Callable[..., Any]:
    """``method``, which also notes in ``sent`` what it is given to carry."""

    def call(name: str, message: Message, *args: Any, **kwargs: Any) -> Any:
        carriers = vars(_inside).setdefault("carriers", set())
        if id(sent) in carriers:
            return method(name, message, *args, **kwargs)
        carriers.add(id(sent))
        try:
            result = method(name, message, *args, **kwargs)
        finally:
            carriers.discard(id(sent))
        delay_s = args[0] if method.__name__ in _LATER else 0
        sent.append(Publication(kind, name, decode_event(as_event(message)), alias, delay_s))
        return result

    return call


def _name_of(expected: Expected) -> str:
    name: str = getattr(expected, "__qualname__", None) or repr(expected)
    return name


def _lines(publications: list[Publication]) -> str:
    return "\n".join(f"  {one}" for one in publications)
