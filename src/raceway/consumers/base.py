"""What all consumer classes have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Iterable, Mapping
from inspect import signature
from threading import get_ident
from typing import Any, ClassVar

from asgiref.sync import async_to_sync

from raceway.consumers.application import ConsumerApplication
from raceway.consumers.runtime import Runtime
from raceway.done import DONE
from raceway.errors import InvalidChannelLayerError
from raceway.layers import ChannelLayer, Group
from raceway.layers.spec import as_client_message, require_group_name
from raceway.types import Event, Scope


class FromScope:
    """An attribute that reads the scope, until a consumer assigns to it."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __get__(self, consumer: Consumer | None, owner: type[Consumer]) -> Any:
        if consumer is None:
            return self
        try:
            return consumer.scope[self._key]
        except KeyError:
            raise AttributeError(
                f"The scope has no {self._key!r}: middleware puts it there, AuthMiddlewareStack for one."
            ) from None


class Consumer:
    """One connection's code: an instance lives as long as the connection.

    Methods may be ``async def`` or ``def``, mixed: the first run in the event loop, the others in a thread of
    their own. They run one at a time. Public methods that no base of Raceway has are handlers of layer events:
    ``{"type": "chat.message", ...}`` calls ``chat_message(event)``.
    """

    _runtimes: ClassVar[Mapping[str, type[Runtime]]] = {}
    """The runtime for each type of scope that the class serves ..."""
    _any_runtime: ClassVar[type[Runtime] | None] = None
    """... and for any other, if it does; then methods named for a server's events are called with those."""

    channel_layer_alias: str = "default"
    groups: Iterable[str] | None = None
    """The groups that the connection is in from the beginning to the end; may be a property."""
    disconnect_grace_s: float | None = None
    """How long a handler may go on after its client has gone; ``None``: ``RACEWAY["DISCONNECT_GRACE_S"]``."""

    scope: Scope
    """What is known of the connection (ASGI); ``scope["user"]``, ``scope["url_route"]["kwargs"]`` ..."""
    channel_layer: ChannelLayer | None = None
    channel_name: str = ""
    """What ``Channel(name)`` and ``Group.add(name)`` take to reach this connection."""
    closed: bool = False
    """The connection has ended, or is about to: sending raises ``ClientDisconnected``."""

    user: Any = FromScope("user")
    """``scope["user"]``, where ``AuthMiddleware`` or the like has put it."""

    _runtime: Runtime

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> ConsumerApplication:
        """An ASGI application that makes one instance, with ``initkwargs``, for each connection.

        Raises ``TypeError`` for arguments that ``__init__`` does not take.
        """
        try:
            signature(cls).bind(**initkwargs)
        except TypeError as error:
            raise TypeError(f"{cls.__qualname__}.as_asgi(): {error}") from None
        return ConsumerApplication(cls, initkwargs)

    def group_send(self, group: str, message: dict[str, Any]) -> Awaitable[None]:
        """Send to every member of a group, as ``raceway.Group(group).send`` does."""
        if get_ident() != self._runtime.thread:
            Group(group, self.channel_layer_alias).send(message)
            return DONE
        require_group_name(group)
        layer = self._require_layer()
        return layer.start_publish(group, layer.prepare(as_client_message(message)))

    def on_error(self, error: Exception, event: Any) -> Any:
        """Decide what an exception does: raise to end the connection (1011), return to go on.

        ``event`` is what was being handled, if it was an event. The default raises ``error``, for the server to log.
        """
        raise error

    def on_gap(self, reason: str) -> Any:
        """Messages to the groups of this connection may have been missed: the process had lost its broker, say.

        Called once the groups are whole again, so that what is read now and what comes later leave nothing out:
        send the client the present state. The default does nothing.
        """
        return DONE

    def raceway_gap(self, event: Event) -> Awaitable[Any]:
        return self._call_hook("on_gap", event["reason"])

    @property
    def _written_code(self) -> Any:
        """What was written for this connection, by which log records name it."""
        return type(self)

    def _require_layer(self) -> ChannelLayer:
        if self.channel_layer is None:
            raise InvalidChannelLayerError(
                f"{type(self).__qualname__} needs the channel layer {self.channel_layer_alias!r}, which "
                "CHANNEL_LAYERS does not have."
            )
        return self.channel_layer

    def _call_hook(self, hook: str, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        """Call a hook as its kind wants; from a handler's own thread, directly."""
        runtime = self._runtime
        if get_ident() == runtime.thread:
            return runtime.hooks[hook](self, *args, **kwargs)
        result = getattr(self, hook)(*args, **kwargs)
        return self._finish_hook(result) if isinstance(result, Coroutine) else DONE

    def _finish_hook(self, coroutine: Coroutine[Any, Any, Any]) -> Awaitable[Any]:
        """What a hook returns that has to wait: from a handler's own thread, ``super().hook()`` has done it."""
        if get_ident() == self._runtime.thread:
            return coroutine
        async_to_sync(_wait)(coroutine)
        return DONE


async def _wait(result: Awaitable[Any]) -> None:
    await result
