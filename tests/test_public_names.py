"""The names that users import. A name that is taken away or moved breaks their code: this test is to be changed
with the changelog in hand."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import tests.project  # noqa: F401  Django's settings

NAMES = {
    "raceway": ["Channel", "Group", "Presence", "User", "__version__", "channel_layers", "get_channel_layer"],
    "raceway.asgi": ["get_application", "get_asgi_application"],
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
    "raceway.database": ["aclose_old_connections", "database_sync_to_async"],
    "raceway.errors": [
        "AcceptConnection",
        "ChannelFull",
        "ChannelSocketException",
        "ClientDisconnected",
        "ConfigurationError",
        "ConsumeLater",
        "DenyConnection",
        "FlowControl",
        "InvalidChannelLayerError",
        "InvalidMessage",
        "LayerUnavailable",
        "MalformedMessage",
        "MessageTooLarge",
        "RacewayError",
        "RequestAborted",
        "RequestTimeout",
        "SendNotAvailableOnDemultiplexer",
        "StopConsumer",
        "WebsocketCloseException",
    ],
    "raceway.layers": [
        "Channel",
        "ChannelLayer",
        "ChannelLayers",
        "DEFAULT_CHANNEL_LAYER",
        "Group",
        "User",
        "channel_layers",
        "decode_event",
        "get_channel_layer",
    ],
    "raceway.layers.local": ["LocalLayer"],
    "raceway.layers.memory": ["MemoryLayer"],
    "raceway.layers.postgres": ["PostgresLayer"],
    "raceway.layers.redis": ["RedisLayer"],
    "raceway.messaging": [
        "BaseConsumer",
        "JsonWebsocketConsumer",
        "LayerApplication",
        "Message",
        "MessageApplication",
        "Router",
        "SynchronousLayer",
        "ViewConsumer",
        "WebsocketConsumer",
        "WebsocketDemultiplexer",
        "WebsocketMultiplexer",
        "encode_response",
        "include",
        "request_of",
        "route",
        "route_class",
    ],
    "raceway.messaging.security": [
        "AllowedHostsOnlyOriginValidator",
        "BaseOriginValidator",
        "allowed_hosts_only",
    ],
    "raceway.messaging.sessions": [
        "channel_and_http_session",
        "channel_and_http_session_user_from_http",
        "channel_session",
        "channel_session_user",
        "channel_session_user_from_http",
        "enforce_ordering",
        "http_session",
        "http_session_user",
        "transfer_user",
    ],
    "raceway.middleware": ["BaseMiddleware"],
    "raceway.origin": ["AllowedHostsOriginValidator", "OriginValidator"],
    "raceway.presence": ["Presence"],
    "raceway.routing": [
        "ChannelNameRouter",
        "ConnectMiddleware",
        "Mount",
        "ProtocolTypeRouter",
        "URLRouter",
        "get_default_application",
        "reverse",
    ],
    "raceway.server": ["Config", "Server", "load_application", "run"],
    "raceway.sessions": ["CookieMiddleware", "SessionMiddleware", "SessionMiddlewareStack"],
    "raceway.signals": [
        "consumer_finished",
        "consumer_started",
        "message_dropped",
        "presence_joined",
        "presence_left",
        "worker_ready",
    ],
    "raceway.testing": [
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
    ],
    "raceway.testing.messaging": [
        "ChannelLiveServerTestCase",
        "ChannelTestCase",
        "Client",
        "HttpClient",
        "TransactionChannelTestCase",
        "WSClient",
        "apply_routes",
    ],
    "raceway.workers": ["WithWorker", "Worker"],
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module in NAMES for name in NAMES[module]])
def test_the_name_is_there(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("name", NAMES)
def test_a_module_that_says_what_is_public_says_exactly_these(name: str) -> None:
    module = importlib.import_module(name)
    assert sorted(getattr(module, "__all__", NAMES[name])) == sorted(NAMES[name])


def test_every_exception_is_public() -> None:
    errors = importlib.import_module("raceway.errors")
    assert sorted(name for name, value in vars(errors).items() if isinstance(value, type)) == sorted(
        NAMES["raceway.errors"]
    )


@pytest.mark.parametrize("name", ["raceway", "raceway.testing"])
def test_a_lazy_module_behaves_as_others_do(name: str) -> None:
    module = importlib.import_module(name)
    assert dir(module) == sorted(NAMES[name])
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018


def test_importing_the_package_imports_nothing_else() -> None:
    code = (
        "import sys, raceway; print([m for m in ('django', 'asyncio', 'raceway.layers') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
