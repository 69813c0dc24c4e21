"""What a message consumer is called with."""

from __future__ import annotations

import logging
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from copy import deepcopy
from functools import cached_property
from typing import Any, Final

from raceway.layers import Channel, ChannelLayer, channel_layers

logger = logging.getLogger("raceway.messaging")

TOLD_TEXTS: Final = 1000
"""Warnings that are remembered, so that each is logged once."""

_told: set[str] = set()


class Message:
    """One message of a channel: its ``content``, a dict, and where an answer goes, ``reply_channel``.

    ``message["path"]`` and the like read and write the content. Decorators add attributes: ``channel_session``,
    ``http_session``, ``user``. Nothing in it belongs to the process that holds the client's socket.
    """

    channel_session: Any
    http_session: Any
    user: Any
    __doomed__: bool = False
    """There will be no other try: ``ConsumeLater`` would drop the message."""

    def __init__(self, content: dict[str, Any], channel_name: str, alias: str = "default") -> None:
        self.content = content
        self.channel_name = channel_name
        self.alias = alias

    @cached_property
    def channel(self) -> Channel:
        """The channel that it came on."""
        return Channel(self.channel_name, self.alias)

    @cached_property
    def reply_channel(self) -> Channel | None:
        """The channel of the client that the message came from; ``None`` if it came from no client."""
        name = self.content.get("reply_channel")
        return None if name is None else Channel(str(name), self.alias)

    @property
    def channel_layer(self) -> ChannelLayer:
        return channel_layers[self.alias]

    @property
    def context(self) -> dict[str, Any]:
        """``content``, by a name that is often taken for it; the first use is logged."""
        tell_once("message.context is called message.content: write that.")
        return self.content

    def __getitem__(self, key: str) -> Any:
        return self.content[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.content[key] = value

    def __contains__(self, key: object) -> bool:
        return key in self.content

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def keys(self) -> KeysView[str]:
        return self.content.keys()

    def values(self) -> ValuesView[Any]:
        return self.content.values()

    def items(self) -> ItemsView[str, Any]:
        return self.content.items()

    def get(self, key: str, default: Any = None) -> Any:
        return self.content.get(key, default)

    def copy(self) -> Message:
        """Another message with a deep copy of the content."""
        return Message(deepcopy(self.content), self.channel_name, self.alias)

    def __repr__(self) -> str:
        return f"<Message on {self.channel_name} with {', '.join(map(str, self.content)) or 'nothing'}>"


def tell_once(text: str) -> None:
    """Log a warning about code that works, but not for the reason that it seems to; once for each text."""
    if text not in _told and len(_told) < TOLD_TEXTS:
        _told.add(text)
        logger.warning(text)
