"""Routing by kind of connection."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from raceway.errors import ConfigurationError
from raceway.layers.hosting import close_layers, open_layers
from raceway.routing.begin import begin
from raceway.routing.channels import channel_names
from raceway.threads import in_test
from raceway.types import ASGIApplication, Prepare, RacewayApplication, Receive, Scope, Send


class ProtocolTypeRouter(RacewayApplication):
    """Call the application that ``scope["type"]`` names: ``{"http": ..., "websocket": ...}``.

    ``lifespan`` is answered if no application is named for it. Raises ``ValueError`` for other types.
    """

    def __init__(self, application_mapping: Mapping[str, ASGIApplication]) -> None:
        self.application_mapping: dict[str, ASGIApplication] = {
            "lifespan": answer_lifespan,
            **application_mapping,
        }

    def channel_names(self) -> set[str] | None:
        """The named channels that are served, for workers; ``None`` if the application for them does not say."""
        application = self.application_mapping.get("channel")
        return set() if application is None else channel_names(application)

    def raceway_begin(
        self, scope: Scope, receive: Receive, send: Send, prepares: tuple[Prepare, ...] = ()
    ) -> Awaitable[None]:
        try:
            application = self.application_mapping[scope["type"]]
        except KeyError:
            raise ValueError(
                f"No application configured for scope type {scope['type']!r}; there is one for "
                f"{', '.join(map(repr, self.application_mapping))}"
            ) from None
        return begin(application, scope, receive, send, prepares)


async def answer_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Have the channel layers ready before the first connection, and say what is wrong with them (ASGI lifespan 2.0).

    On servers without a lifespan they are made when they are first used. A live server of tests has layers of their
    own, and hosts nothing for others.
    """
    await receive()
    try:
        if not in_test.get():
            await open_layers()
    except ConfigurationError as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    if not in_test.get():
        await close_layers()
    await send({"type": "lifespan.shutdown.complete"})
