"""A named channel, from anywhere."""

from __future__ import annotations

import secrets
from functools import partial
from typing import Any, Final

from raceway.database import after_commit
from raceway.layers.configured import channel_layers
from raceway.layers.front import ChannelLayer, require_no_loop
from raceway.layers.spec import as_client_message, require_channel_name
from raceway.registry import Message

LONGEST_DELAY_S: Final = 1e9
"""Some 31 years: what every layer's clock can count."""


class Channel:
    """Send to one listener of a channel: a consumer's ``channel_name``, or a name that workers listen to.

    ``send`` and ``cancel`` are for code without an event loop and for any thread, ``asend`` and ``acancel`` for
    coroutines. In a database transaction the message waits for the commit, unless ``immediate``.
    """

    def __init__(self, name: str, alias: str = "default") -> None:
        require_channel_name(name)
        self.name = name
        self.alias = alias

    def send(self, message: dict[str, Any], *, delay: float = 0, immediate: bool = False) -> str | None:
        """Send ``message``, in ``delay`` seconds; then return what ``cancel`` takes.

        To a client's channel ``{"text": ...}``, ``{"bytes": ...}`` and ``{"close": ...}`` go as they are. Raises
        ``ChannelFull``, ``MessageTooLarge``, ``LayerUnavailable``, ``TypeError`` for what no layer carries, and
        ``ValueError`` for a delay below 0, or of more than 1e9 seconds.
        """
        layer = channel_layers[self.alias]
        prepared, token = self._prepare(layer, message), token_for(delay)
        writer = None if immediate else layer.in_transaction()
        target: Any = layer if writer is None else writer
        if token is None:
            send = partial(target.send_from_thread, self.name, prepared)
        else:
            send = partial(target.send_later_from_thread, self.name, prepared, delay, token)
        if writer is not None or immediate or not after_commit(send):
            send()
        return token

    async def asend(
        self, message: dict[str, Any], *, delay: float = 0, immediate: bool = False
    ) -> str | None:
        """``send`` for coroutines."""
        layer = channel_layers[self.alias]
        prepared, token = self._prepare(layer, message), token_for(delay)
        if token is None:
            send = partial(layer.send_from_thread, self.name, prepared)
            if immediate or not after_commit(send):
                await layer.start_send(self.name, prepared)
            return None
        send = partial(layer.send_later_from_thread, self.name, prepared, delay, token)
        if immediate or not after_commit(send):
            await layer.start_send_later(self.name, prepared, delay, token)
        return token

    def cancel(self, token: str) -> bool:
        """Take back a delayed message, at once; ``False`` if its time has come already."""
        require_no_loop("acancel()")
        return channel_layers[self.alias].cancel_from_thread(self.name, token)

    async def acancel(self, token: str) -> bool:
        """``cancel`` for coroutines."""
        return await channel_layers[self.alias].cancel(self.name, token)

    def _prepare(self, layer: ChannelLayer, message: dict[str, Any]) -> Message:
        return layer.prepare(as_client_message(message) if "!" in self.name else message)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Channel({self.name!r})"


def token_for(delay: float) -> str | None:
    """A name for a message that waits ``delay`` seconds; ``None`` if it does not. Raises ``ValueError``."""
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay <= LONGEST_DELAY_S:
        raise ValueError(f"delay is a number of seconds from 0 to {LONGEST_DELAY_S:g}, not {delay!r}.")
    return secrets.token_hex(8) if delay else None
