"""A named group, from anywhere."""

from __future__ import annotations

from functools import partial
from typing import Any

from raceway.conf import did_you_mean
from raceway.database import after_commit
from raceway.json import encode_json
from raceway.layers.channel import Channel
from raceway.layers.configured import channel_layers
from raceway.layers.front import require_no_loop
from raceway.layers.spec import as_client_message, client_message, require_channel_name, require_group_name
from raceway.prepared import PreparedMessage
from raceway.registry import Message
from raceway.registry.policy import POLICIES, Policy


class Group:
    """Send to every member of a group, in whatever process it is.

    The methods are for code without an event loop and for any thread; those with an ``a`` are for coroutines.
    In a database transaction a message waits for the commit, unless ``immediate``.
    """

    def __init__(self, name: str, alias: str = "default") -> None:
        require_group_name(name)
        self.name = name
        self.alias = alias

    def send(self, message: dict[str, Any], *, immediate: bool = False) -> None:
        """Send an event, which each member's handler of that name gets, or a client message.

        A client message is ``{"type": "websocket.send", "text" | "bytes": ...}``, in short ``{"text": ...}``,
        or ``{"type": "websocket.close", ...}``. Raises ``MessageTooLarge``, and ``TypeError`` for what no
        layer carries; never ``ChannelFull``.
        """
        self._publish(channel_layers[self.alias].prepare(as_client_message(message)), immediate)

    async def asend(self, message: dict[str, Any], *, immediate: bool = False) -> None:
        """``send`` for coroutines."""
        await self._apublish(channel_layers[self.alias].prepare(as_client_message(message)), immediate)

    def broadcast(
        self,
        data: object,
        *,
        exclude: str | Channel | None = None,
        policy: Policy = "close",
        immediate: bool = False,
    ) -> None:
        """Send ``data`` to every member's client: ``str`` as text, ``bytes`` as binary, the rest as JSON text.

        ``exclude`` names one channel that does not get it. ``policy`` decides what happens where a client is
        too slow: ``close`` its socket, ``drop_newest``, ``drop_oldest``, or keep the ``latest`` of the group.
        """
        self._publish(self._prepare(data, policy), immediate, channel_name(exclude), policy)

    async def abroadcast(
        self,
        data: object,
        *,
        exclude: str | Channel | None = None,
        policy: Policy = "close",
        immediate: bool = False,
    ) -> None:
        """``broadcast`` for coroutines."""
        await self._apublish(self._prepare(data, policy), immediate, channel_name(exclude), policy)

    def add(self, channel: str | Channel) -> None:
        """Make a channel a member."""
        name = str(channel)
        require_channel_name(name)
        channel_layers[self.alias].join(self.name, name)

    def discard(self, channel: str | Channel) -> None:
        """Take back one ``add``."""
        name = str(channel)
        require_channel_name(name)
        channel_layers[self.alias].leave(self.name, name)

    def members(self) -> list[str]:
        """The names of the channels in the group, in all processes.

        Raises ``NotImplementedError`` on a layer that cannot tell, ``RuntimeError`` in an event loop's thread.
        """
        require_no_loop("amembers()")
        return channel_layers[self.alias].channels_from_thread(self.name)

    async def amembers(self) -> list[str]:
        """``members`` for coroutines."""
        return await channel_layers[self.alias].group_channels(self.name)

    def count(self) -> int:
        """How many channels are in the group, in all processes; a person with two tabs counts twice.

        Raises as ``members`` does.
        """
        require_no_loop("acount()")
        return channel_layers[self.alias].count_from_thread(self.name)

    async def acount(self) -> int:
        """``count`` for coroutines."""
        return await channel_layers[self.alias].group_count(self.name)

    def _prepare(self, data: object, policy: Policy) -> PreparedMessage:
        if policy not in POLICIES:
            raise ValueError(f"{policy!r} is no policy for slow clients{did_you_mean(policy, POLICIES)}")
        message = as_prepared(data)
        channel_layers[self.alias].require_size(message)
        return message

    def _publish(
        self, message: Message, immediate: bool, exclude: str | None = None, policy: Policy = "close"
    ) -> None:
        layer = channel_layers[self.alias]
        writer = None if immediate else layer.in_transaction()
        target = layer if writer is None else writer
        publish = partial(target.publish_from_thread, self.name, message, exclude, policy)
        if writer is not None or immediate or not after_commit(publish):
            publish()

    async def _apublish(
        self, message: Message, immediate: bool, exclude: str | None = None, policy: Policy = "close"
    ) -> None:
        layer = channel_layers[self.alias]
        if immediate or not after_commit(
            partial(layer.publish_from_thread, self.name, message, exclude, policy)
        ):
            await layer.start_publish(self.name, message, exclude, policy)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Group({self.name!r})"


def as_prepared(data: object) -> PreparedMessage:
    if isinstance(data, str):
        return client_message(data, None)
    if isinstance(data, bytes | bytearray | memoryview):
        return client_message(None, data)
    return PreparedMessage.from_utf8(encode_json(data))


def channel_name(channel: str | Channel | None) -> str | None:
    return None if channel is None else str(channel)
