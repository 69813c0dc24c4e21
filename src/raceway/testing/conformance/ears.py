"""How the tests of a front listen and send."""

# ruff: noqa: PT009  (pytest is not needed to run it)
from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, ClassVar

from raceway.layers import Channel, Group, channel_layers, decode_event
from raceway.prepared import PreparedMessage
from raceway.testing.conformance.suite import Suite

HASTE_S = 0.05
"""A delay that is waited for where time cannot be moved: a timer has to go off."""


class Ears:
    """An open channel, and what it has been handed."""

    def __init__(self, layer: Any, channel: str, *, room: bool = True, pushes: bool = True) -> None:
        self.heard: list[Any] = []
        self.room = room
        self.channel = channel
        layer.open(
            self.channel,
            self.deliver,
            self.push if pushes else None,
            self.heard.append if pushes else None,
            self.gap,
        )

    def deliver(self, encoded: bytes) -> bool:
        if self.room:
            self.heard.append(decode_event(encoded))
        return self.room

    def push(self, message: PreparedMessage, policy: str, key: object) -> None:
        self.heard.append((message.payload, message.is_text, policy))

    def gap(self, reason: str) -> None:
        self.heard.append(f"gap: {reason}")


class FrontSuite(Suite):
    """The hooks of ``FrontConformance``, and its threads, which send by ``Group`` and ``Channel``."""

    alias: ClassVar[str] = "conformance"
    """The alias under which ``Group`` and ``Channel`` find the layer during a test; others begin with it."""

    # Hooks

    def transaction(self) -> AbstractContextManager[Any] | None:
        """A database transaction in this thread, or a savepoint in one, whose commit messages wait for; by default
        that of Django's default database; ``None`` if there is none.
        """
        from django.conf import settings
        from django.db import connections, transaction

        if not settings.configured or connections.settings["default"]["ENGINE"].endswith(".dummy"):
            return None
        return transaction.atomic()

    async def lose_connection(self, layer: Any) -> None:
        """Let ``layer`` lose its connection to what carries messages, and find it again by itself."""
        self.need(False, "a connection that can be lost (lose_connection)")

    # What the tests are made of

    async def open(self, layer: Any, **options: bool) -> Ears:
        return Ears(layer, await layer.new_channel(), **options)

    def alias_of(self, layer: Any) -> str:
        """Where ``Group`` and ``Channel`` find ``layer``."""
        aliases: dict[int, str] = vars(self).setdefault("_aliases", {})
        alias = aliases.get(id(layer))
        if alias is None:
            alias = aliases[id(layer)] = f"{self.alias}-{len(aliases)}" if aliases else self.alias
            channel_layers.set(alias, layer)
            self.addCleanup(channel_layers.set, alias, None)
        return alias

    def group(self, layer: Any, name: str = "group") -> Group:
        return Group(name, self.alias_of(layer))

    def channel(self, layer: Any, name: str = "conformance") -> Channel:
        return Channel(name, self.alias_of(layer))

    def send_from_thread(self, layer: Any, channel: str, message: dict[str, Any]) -> None:
        self.channel(layer, channel).send(message)

    def group_send_from_thread(self, layer: Any, group: str, message: dict[str, Any]) -> None:
        self.group(layer, group).send(message)

    async def assert_heard(self, ears: Ears, expected: list[Any]) -> None:
        await self.until(lambda: len(ears.heard) >= len(expected), f"{ears.heard} was heard, not {expected}")
        await self.turn()
        self.assertEqual(ears.heard, expected)
