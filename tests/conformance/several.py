"""A layer as three processes: one sends, and two others listen and receive, in turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from itertools import cycle
from typing import Any

from raceway.layers.spec import process_of


def several(layer_class: Callable[..., Any]) -> type[Any]:
    """A class of layers whose receivers and listeners are in other processes than who sends: other layer objects have
    other process ids.
    """

    class Several(layer_class):  # type: ignore[misc, valid-type]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.others = [layer_class(**options) for _ in range(2)]
            self.turns: Iterator[Any] = cycle(self.others)

        def of(self, channel: str) -> Any:
            """The process that has made the name; any, if none has."""
            owner = process_of(channel)
            return next((other for other in self.others if other._process == owner), next(self.turns))

        def new_channel_name(self, prefix: str = "specific") -> str:
            return next(self.turns).new_channel_name(prefix)

        async def new_channel(self, prefix: str = "specific") -> str:
            return await next(self.turns).new_channel(prefix)

        def open(self, channel: str, *args: Any) -> None:
            self.of(channel).open(channel, *args)

        def close(self, channel: str) -> None:
            self.of(channel).close(channel)

        async def receive(self, channel: str) -> dict[str, Any]:
            where = self.of(channel) if isinstance(channel, str) else super()
            return await where.receive(channel)

        def tell_gap(self, reason: str, missed_by: Any = None) -> None:
            super().tell_gap(reason, missed_by)
            for other in self.others if missed_by is None else ():
                other.tell_gap(reason)

        def start_enter(self, presence: str, key: str, channel: str, *args: Any) -> Awaitable[None]:
            other = self.of(channel)
            other.presence_changed = self.presence_changed
            return other.start_enter(presence, key, channel, *args)

        def start_exit(self, presence: str, channel: str) -> Awaitable[None]:
            return self.of(channel).start_exit(presence, channel)

        async def aclose(self) -> None:
            await super().aclose()
            for other in self.others:
                await other.aclose()

    return Several
