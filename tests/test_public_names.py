"""The names that users import. A name that is taken away or moved breaks their code: this test is to be changed
with the changelog in hand."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import tests.project  # noqa: F401  Django's settings

NAMES = {
    "raceway": ["Channel", "Group", "User", "channel_layers", "get_channel_layer"],
    "raceway.asgi": ["get_application"],
    "raceway.auth": [
        "AuthMiddleware",
        "AuthMiddlewareStack",
        "LoginRequiredMiddleware",
        "TokenAuthMiddleware",
        "close_sockets_of_session",
        "get_user",
        "login",
        "logout",
        "make_ticket",
        "make_token",
        "verify_token",
    ],
    "raceway.consumers": [
        "AsyncConsumer",
        "AsyncHttpConsumer",
        "AsyncJsonWebsocketConsumer",
        "AsyncWebsocketConsumer",
        "Consumer",
        "HttpConsumer",
        "JsonWebsocketConsumer",
        "Socket",
        "SseConsumer",
        "SyncConsumer",
        "WebsocketConsumer",
        "websocket_consumer",
    ],
    "raceway.database": ["aclose_old_connections", "close_old_connections", "database_sync_to_async"],
    "raceway.errors": [
        "AcceptConnection",
        "ChannelFull",
        "ClientDisconnected",
        "ConfigurationError",
        "DenyConnection",
        "InvalidChannelLayerError",
        "LayerUnavailable",
        "MalformedMessage",
        "MessageTooLarge",
        "RequestAborted",
        "RequestTimeout",
        "StopConsumer",
    ],
    "raceway.layers": ["Channel", "ChannelLayer", "Group", "User", "channel_layers", "get_channel_layer"],
    "raceway.layers.memory": ["MemoryLayer"],
    "raceway.middleware": ["BaseMiddleware"],
    "raceway.origin": ["AllowedHostsOriginValidator", "OriginValidator"],
    "raceway.routing": [
        "ChannelNameRouter",
        "ConnectMiddleware",
        "Mount",
        "ProtocolTypeRouter",
        "URLRouter",
        "get_default_application",
        "reverse",
    ],
    "raceway.server": ["Config", "Server", "run"],
    "raceway.sessions": ["CookieMiddleware", "SessionMiddleware", "SessionMiddlewareStack"],
    "raceway.testing": [
        "ApplicationCommunicator",
        "ChannelLayersMixin",
        "ChannelsLiveServerTestCase",
        "Clock",
        "HttpCommunicator",
        "LayerConformance",
        "NothingCame",
        "RacewayLiveServerTestCase",
        "WebsocketCommunicator",
        "assert_published",
        "connect",
        "fresh_channel_layers",
        "published",
    ],
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module in NAMES for name in NAMES[module]])
def test_the_name_is_there(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


def test_the_package_itself_names_exactly_these() -> None:
    import raceway

    assert sorted(raceway.__all__) == sorted([*NAMES["raceway"], "__version__"])
    assert dir(raceway) == sorted(raceway.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        raceway.nothing  # noqa: B018


def test_importing_the_package_imports_nothing_else() -> None:
    code = (
        "import sys, raceway; print([m for m in ('django', 'asyncio', 'raceway.layers') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
