from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from django.test import override_settings

import tests.project  # noqa: F401  Django's settings
from raceway.asgi import get_application
from raceway.errors import ConfigurationError
from raceway.routing import get_default_application
from raceway.routing.project import get_channel_routes, get_websocket_urlpatterns
from tests.routing.calls import note


def test_the_setting_names_the_application() -> None:
    with override_settings(ASGI_APPLICATION="tests.routing.calls.note"):
        assert get_default_application() is note


@pytest.mark.parametrize(
    ("name", "expected"),
    [(None, "is not set"), ("tests.routing.calls.nothing", "calls.nothing"), ("nowhere.app", "nowhere")],
)
def test_a_wrong_name_is_told(name: str | None, expected: str) -> None:
    with override_settings(ASGI_APPLICATION=name), pytest.raises(ConfigurationError, match=expected):
        get_default_application()


@pytest.fixture
def routing(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """An empty routing module of the project."""
    module = ModuleType("routing_of_a_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with override_settings(RACEWAY={"ROUTING": module.__name__}):
        yield module


def test_a_routing_module_may_be_for_named_channels_only(routing: ModuleType) -> None:
    routing.channel_routes = {"work": note}  # type: ignore[attr-defined]
    assert get_channel_routes() == {"work": note}
    assert get_websocket_urlpatterns() == []


def test_a_routing_module_need_not_be_for_named_channels(routing: ModuleType) -> None:
    routing.websocket_urlpatterns = []  # type: ignore[attr-defined]
    assert get_channel_routes() == {}


def test_a_routing_module_without_routes_is_an_error(routing: ModuleType) -> None:
    for read in (get_channel_routes, get_websocket_urlpatterns):
        with pytest.raises(ConfigurationError, match="routing_of_a_test has no websocket_urlpatterns"):
            read()


def test_a_routing_module_may_have_what_channel_layers_names(routing: ModuleType) -> None:
    routing.routing = {"work": note}  # type: ignore[attr-defined]
    with override_settings(CHANNEL_LAYERS={"default": {"ROUTING": "routing_of_a_test.routing"}}):
        assert get_websocket_urlpatterns() == []
        assert get_application().channel_names() == {"work"}


def test_channel_routes_are_a_dict(routing: ModuleType) -> None:
    routing.channel_routes = [note]  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="channel_routes in routing_of_a_test is a dict"):
        get_channel_routes()


def test_the_application_of_a_project_says_which_channels_are_routed(routing: ModuleType) -> None:
    routing.channel_routes = {"work": note("work")}  # type: ignore[attr-defined]
    assert get_application().channel_names() == {"work"}
