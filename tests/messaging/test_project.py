"""Where a project says its routes of the first generation, beside those of today."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import override_settings
from django.urls import path
from websockets.exceptions import InvalidStatus

from raceway.asgi import get_application
from raceway.consumers import WebsocketConsumer
from raceway.errors import InvalidChannelLayerError
from raceway.layers import channel_layers, get_channel_layer
from raceway.layers.memory import MemoryLayer
from raceway.messaging import include, route
from raceway.routing.channels import channel_names
from tests.messaging.serving import serving
from tests.messaging.test_http import ask
from tests.server.running import DEADLINE_S

pytestmark = pytest.mark.shell


class Modern(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send(f"modern {text_data}")


def receive(message):
    message.reply_channel.send({"text": f"first {message['text']}"})


def answer(message):
    message.reply_channel.send({"status": 200, "content": "consumer"})


def thumbnail(message):
    """What it does is not the point here."""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The project's routing module."""
    module = ModuleType("some_project_routing")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with override_settings(RACEWAY={"ROUTING": module.__name__}):
        yield module


def say(served: Any, where: str) -> str:
    with served.socket(where, origin="http://testserver") as socket:
        socket.send("hello")
        return str(socket.recv(DEADLINE_S))


def test_channel_routing_beside_urlpatterns(module: Any) -> None:
    module.websocket_urlpatterns = [path("modern/", Modern.as_asgi())]
    module.channel_routing = [route("websocket.receive", receive)]
    with serving(get_application()) as served:
        assert say(served, "/modern/") == "modern hello"
        assert say(served, "/anything/") == "first hello"
        assert ask(served, "/hello/", headers={"Host": "testserver"}).said == b"hello"


def test_channel_routing_alone_with_requests(module: Any) -> None:
    module.channel_routing = [
        include({"websocket.receive": receive}, path="^/first"),
        route("http.request", answer, path="^/consumer"),
    ]
    with serving(get_application()) as served:
        assert say(served, "/first/") == "first hello"
        assert ask(served, "/consumer/").said == b"consumer"
        assert ask(served, "/hello/", headers={"Host": "testserver"}).said == b"hello"


def test_named_channels_are_for_workers(module: Any) -> None:
    module.channel_routing = {"thumbnail": thumbnail, "websocket.receive": receive, "http.request": answer}
    module.channel_routes = {"mail": thumbnail}
    application = get_application()
    assert channel_names(application) == {"thumbnail", "mail"}


def test_only_named_channels_leave_sockets_as_they_were(module: Any) -> None:
    module.channel_routing = {"thumbnail": thumbnail}
    with serving(get_application()) as served, pytest.raises(InvalidStatus) as refused:
        say(served, "/anything/")
    assert refused.value.response.status_code == 404


SETTING = {
    "default": {
        "BACKEND": "asgiref.inmemory.ChannelLayer",
        "ROUTING": "tests.messaging.routing_of_slide_003.channel_routing",
    },
}


def test_the_settings_of_the_slides() -> None:
    """ "Channel layers" of seed 003."""
    channel_layers.set("default", None)
    with override_settings(CHANNEL_LAYERS=SETTING, ROOT_URLCONF="tests.project.silent.urls"):
        with pytest.warns(UserWarning, match=r"raceway\.layers\.memory\.MemoryLayer is used in its place"):
            assert isinstance(get_channel_layer(), MemoryLayer)
        with (
            serving(get_application()) as served,
            served.socket("/draw", origin="http://testserver") as socket,
        ):
            socket.send('{"x": 1}')
            assert socket.recv(DEADLINE_S) == '{"x":1}'


def test_the_settings_of_the_slides_for_production() -> None:
    """ "Channel layers(production)" of seed 003: the layer is there; that it finds a server is not the point here."""
    channel_layers.set("default", None)
    production = {
        "default": {
            "BACKEND": "asgi_redis.RedisChannelLayer",
            "CONFIG": {
                "hosts": [("localhost", 6379)],
            },
            "ROUTING": "tests.messaging.routing_of_slide_003.channel_routing",
        },
    }
    with (
        override_settings(CHANNEL_LAYERS=production),
        pytest.warns(UserWarning, match=r"raceway\.layers\.redis\.RedisLayer is used in its place"),
    ):
        assert type(get_channel_layer()).__name__ == "RedisLayer"


def test_routing_of_another_layer_is_refused() -> None:
    setting = {**SETTING, "other": {**SETTING["default"]}}
    with (
        override_settings(CHANNEL_LAYERS=setting),
        pytest.raises(InvalidChannelLayerError, match=r"MessageApplication\(routing, alias='other'\)"),
    ):
        get_channel_layer("other")


def problems() -> list[str]:
    return [message.id for message in run_checks() if message.id in ("raceway.E003", "raceway.W001")]


def test_checks(module: Any) -> None:
    module.channel_routing = {"websocket.receive": receive}
    assert problems() == []
    module.channel_routing = {"websocket.receive": "tests.nowhere.receive"}
    assert problems() == ["raceway.E003"]


def test_checks_of_a_routing_in_the_settings() -> None:
    with override_settings(ROOT_URLCONF="tests.project.silent.urls"):
        assert problems() == ["raceway.W001"]
        channel_layers.set("default", MemoryLayer())
        with override_settings(CHANNEL_LAYERS=SETTING):
            channel_layers.set("default", MemoryLayer())
            assert problems() == []
