"""A named channel, from anywhere."""

from __future__ import annotations

from functools import partial
from typing import Any

from raceway.database import after_commit
from raceway.layers.configured import channel_layers
from raceway.layers.spec import require_channel_name


class Channel:
    """Send to one listener of a channel: a consumer's ``channel_name``, or a name that workers listen to.

    ``send`` is for code without an event loop and for any thread, ``asend`` for coroutines. In a database
    transaction the message waits for the commit, unless ``immediate``.
    """

    def __init__(self, name: str, alias: str = "default") -> None:
        require_channel_name(name)
        self.name = name
        self.alias = alias

    def send(self, message: dict[str, Any], *, immediate: bool = False) -> None:
        """Send ``message``; ``{"text": ...}`` and ``{"bytes": ...}`` go to the client as they are.

        Raises ``ChannelFull``, ``MessageTooLarge``, and ``TypeError`` for what no layer carries.
        """
        layer = channel_layers[self.alias]
        prepared = layer.prepare(as_client_message(message))
        send = partial(layer.send_from_thread, self.name, prepared)
        if immediate or not after_commit(send):
            send()

    async def asend(self, message: dict[str, Any], *, immediate: bool = False) -> None:
        """``send`` for coroutines."""
        layer = channel_layers[self.alias]
        prepared = layer.prepare(as_client_message(message))
        if immediate or not after_commit(partial(layer.send_from_thread, self.name, prepared)):
            await layer.start_send(self.name, prepared)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Channel({self.name!r})"


def as_client_message(message: dict[str, Any]) -> dict[str, Any]:
    """``message``, with the type that the short form ``{"text": ...}`` or ``{"bytes": ...}`` leaves out."""
    if isinstance(message, dict) and message.keys() in ({"text"}, {"bytes"}):
        return {"type": "websocket.send", **message}
    return message
