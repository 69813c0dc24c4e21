"""Routing by channel name, for workers."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from raceway.conf import did_you_mean
from raceway.routing.begin import begin
from raceway.types import ASGIApplication, Prepare, RacewayApplication, Receive, Scope, Send


class ChannelNameRouter(RacewayApplication):
    """Call the application of a named channel: ``{"thumbnails": ThumbnailConsumer.as_asgi(), ...}``.

    For scopes of type ``channel``, which a worker makes. Raises ``ValueError`` for other scopes and other names.
    """

    def __init__(self, application_mapping: Mapping[str, ASGIApplication]) -> None:
        self.application_mapping = dict(application_mapping)

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
