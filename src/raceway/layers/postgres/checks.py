"""System checks of the PostgreSQL layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Warning, register  # noqa: A004

from raceway.errors import InvalidChannelLayerError
from raceway.layers.configured import channel_layers
from raceway.layers.front import ChannelLayer
from raceway.layers.postgres.layer import PostgresLayer


@register()
def check_listening(**kwargs: Any) -> Sequence[CheckMessage]:
    """Behind a pooler nobody is woken, so each message waits for the next look."""
    return [
        Warning(
            f"The channel layer {alias!r} cannot listen: DATABASES[{layer.using!r}] has DISABLE_SERVER_SIDE_CURSORS, "
            "as behind a pooler that lends connections by the transaction. It looks for messages ten times a second.",
            hint="Give the layer a listen_dsn, which leads to the same database directly.",
            id="raceway.W008",
        )
        for alias in channel_layers
        if isinstance(layer := layer_of(alias), PostgresLayer) and not layer.place.can_listen
    ]


def layer_of(alias: str) -> ChannelLayer | None:
    """``None`` for one that cannot be made, of which another check tells."""
    try:
        return channel_layers[alias]
    except InvalidChannelLayerError:
        return None
