"""Routing by channel name, for workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from raceway.conf import did_you_mean
from raceway.consumers.channel_functions import ChannelFunction
from raceway.consumers.functions import is_function_consumer
from raceway.errors import ConfigurationError
from raceway.layers.spec import require_channel_name
from raceway.routing.begin import begin
from raceway.types import ASGIApplication, Prepare, RacewayApplication, Receive, Scope, Send


class ChannelNameRouter(RacewayApplication):
    """Call the application of a named channel: ``{"thumbnails": ThumbnailConsumer.as_asgi(), "mail": send_mail}``.

    A function of one argument is called with each message, a dict. For scopes of type ``channel``, which a worker
    makes. Raises ``ValueError`` for other scopes and other names, ``ConfigurationError`` for what is no application.
    """

    def __init__(
        self, application_mapping: Mapping[str, ASGIApplication | Callable[[dict[str, Any]], object]]
    ) -> None:
        self.application_mapping: dict[str, ASGIApplication] = {
            name: as_channel_application(name, given) for name, given in application_mapping.items()
        }

    def channel_names(self) -> set[str]:
        """What workers listen to."""
        return set(self.application_mapping)

    def raceway_begin(
        self, scope: Scope, receive: Receive, send: Send, prepares: tuple[Prepare, ...] = ()
    ) -> Awaitable[None]:
        if "channel" not in scope:
            raise ValueError(
                f"ChannelNameRouter got a scope of type {scope['type']!r} without a 'channel': put it under "
                "'channel' in a ProtocolTypeRouter."
            )
        try:
            application = self.application_mapping[scope["channel"]]
        except KeyError:
            name = scope["channel"]
            raise ValueError(
                f"No application configured for the channel {name!r}"
                f"{did_you_mean(name, self.application_mapping)}"
            ) from None
        return begin(application, scope, receive, send, prepares)


def as_channel_application(name: str, given: Any) -> ASGIApplication:
    """What a route's value stands for. Raises ``ConfigurationError`` if it cannot serve a channel."""
    require_channel_name(name)
    if isinstance(given, type) and hasattr(given, "as_asgi"):
        raise ConfigurationError(
            f"The channel {name!r} is routed to the class {given.__qualname__}: write "
            f"{given.__qualname__}.as_asgi()."
        )
    if not callable(given):
        raise ConfigurationError(
            f"The channel {name!r} is routed to {given!r}, which is neither an application nor a function."
        )
    application: ASGIApplication = ChannelFunction(given) if is_function_consumer(given) else given
    return application


def channel_names(application: Any) -> set[str] | None:
    """The named channels that an application serves; ``None`` if it does not say.

    Routers say it by a method of this name; through middleware it is asked of what that wraps.
    """
    while application is not None:
        names = getattr(application, "channel_names", None)
        if callable(names):
            said: set[str] | None = names()
            return said
        application = getattr(application, "inner", None) or getattr(application, "application", None)
    return None
