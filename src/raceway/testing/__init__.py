"""The test kit: sockets with one-line expectations, what was published, a clock, a live server.

Its names are imported when they are first used, since pytest loads the plugin before Django is set up.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raceway.testing.client import Socket, SyncSocket, connect
    from raceway.testing.clock import Clock
    from raceway.testing.communicators import (
        ApplicationCommunicator,
        HttpCommunicator,
        WebsocketCommunicator,
    )
    from raceway.testing.conformance import FrontConformance, LayerConformance
    from raceway.testing.connecting import Connecting
    from raceway.testing.events import EventStream, ServerSentEvent, SyncEventStream, connect_sse
    from raceway.testing.expectations import NothingCame
    from raceway.testing.layers import ChannelLayersMixin, fresh_channel_layers
    from raceway.testing.live import ChannelsLiveServerTestCase, LiveServerThread, RacewayLiveServerTestCase
    from raceway.testing.publications import Publication, Published, assert_published, published
    from raceway.testing.work import run_workers

_HOMES = {
    "ApplicationCommunicator": "communicators",
    "ChannelLayersMixin": "layers",
    "ChannelsLiveServerTestCase": "live",
    "Clock": "clock",
    "Connecting": "connecting",
    "EventStream": "events",
    "FrontConformance": "conformance",
    "HttpCommunicator": "communicators",
    "LayerConformance": "conformance",
    "LiveServerThread": "live",
    "NothingCame": "expectations",
    "Publication": "publications",
    "Published": "publications",
    "RacewayLiveServerTestCase": "live",
    "ServerSentEvent": "events",
    "Socket": "client",
    "SyncEventStream": "events",
    "SyncSocket": "client",
    "WebsocketCommunicator": "communicators",
    "assert_published": "publications",
    "connect": "client",
    "connect_sse": "events",
    "fresh_channel_layers": "layers",
    "published": "publications",
    "run_workers": "work",
}
"""The module in which each name lives."""

__all__ = [
    "ApplicationCommunicator",
    "ChannelLayersMixin",
    "ChannelsLiveServerTestCase",
    "Clock",
    "Connecting",
    "EventStream",
    "FrontConformance",
    "HttpCommunicator",
    "LayerConformance",
    "LiveServerThread",
    "NothingCame",
    "Publication",
    "Published",
    "RacewayLiveServerTestCase",
    "ServerSentEvent",
    "Socket",
    "SyncEventStream",
    "SyncSocket",
    "WebsocketCommunicator",
    "assert_published",
    "connect",
    "connect_sse",
    "fresh_channel_layers",
    "published",
    "run_workers",
]


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'raceway.testing' has no attribute {name!r}") from None
    value = getattr(import_module(f"raceway.testing.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
