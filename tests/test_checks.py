from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.test import override_settings
from django.urls import path

import tests.project  # noqa: F401  Django's settings
from raceway.consumers import AsyncWebsocketConsumer
from raceway.layers import channel_layers
from raceway.layers.memory import MemoryLayer
from raceway.testing import fresh_channel_layers
from tests.project import routing

AUTH = ["django.contrib.auth", "django.contrib.contenttypes"]
"""Their own checks, once registered, cannot do without them."""

SESSIONS = "django.contrib.sessions"


def found(*, deploy: bool = False, **settings: Any) -> dict[str, str]:
    """Our checks' findings under these settings: hint by id."""
    with override_settings(**settings):
        messages = run_checks(app_configs=apps.get_app_configs(), include_deployment_checks=deploy)
    ours = [message for message in messages if str(message.id).startswith("raceway.")]
    assert all(message.hint for message in ours)
    return {str(message.id): f"{message.msg} {message.hint}" for message in ours}


def test_a_good_project_has_none() -> None:
    assert found() == {}


@pytest.mark.parametrize(
    ("settings", "check", "says"),
    [
        (
            {"INSTALLED_APPS": [*AUTH, SESSIONS, "django.contrib.staticfiles", "raceway"]},
            "raceway.E001",
            'Put "raceway" first',
        ),
        ({"RACEWAY": {"ROUTNG": ""}}, "raceway.E002", "did you mean 'ROUTING'"),
        ({"RACEWAY": {"ROUTING": "tests.nowhere"}}, "raceway.E003", "'tests.nowhere', which is not there"),
        ({"RACEWAY": {"ROUTING": "tests.project.urls"}}, "raceway.E003", "no websocket_urlpatterns"),
        (
            {"ROOT_URLCONF": "tests.project.silent.urls"},
            "raceway.W001",
            "There is no module tests.project.silent.routing",
        ),
        (
            {"CHANNEL_LAYERS": {"default": {"BACKEND": "nowhere.Layer"}}},
            "raceway.E004",
            "cannot be imported",
        ),
        (
            {"INSTALLED_APPS": [*AUTH, SESSIONS, "tests.project.runner", "raceway"]},
            "raceway.E001",
            "runner comes before",
        ),
        (
            {"ASGI_APPLICATION": "tests.nowhere.application"},
            "raceway.E005",
            "No module named 'tests.nowhere'",
        ),
        ({"ASGI_APPLICATION": "tests.project.urls.nothing"}, "raceway.E005", '"project.asgi.application"'),
        (
            {
                "ASGI_APPLICATION": "tests.project.asgi_of_django.application",
                "ROOT_URLCONF": "tests.project.silent.urls",
            },
            "raceway.W006",
            "serves no WebSocket",
        ),
        (
            {"ASGI_APPLICATION": "tests.project.broken.application"},
            "raceway.E005",
            "Correct what tests.project.broken does",
        ),
        (
            {"ASGI_APPLICATION": "tests.project.asgi_of_django.application"},
            "raceway.W006",
            "raceway.asgi.get_application()",
        ),
        ({"RACEWAY": {"TICKET_CACHE": "tickets"}}, "raceway.E006", "Name one of 'default'"),
        (
            {"RACEWAY": {"SYNC_THREADS": 0}},
            "raceway.E002",
            "RACEWAY['SYNC_THREADS'] is a number of at least 1, not 0",
        ),
        (
            {"CHANNEL_LAYERS": {"other": {"BACKEND": "raceway.layers.memory.MemoryLayer"}}},
            "raceway.W002",
            "CHANNEL_LAYERS has no 'default'",
        ),
        ({"INSTALLED_APPS": ["raceway", *AUTH]}, "raceway.W003", "a WebSocket with a session cookie fails"),
    ],
)
def test_what_is_wrong_is_named(settings: dict[str, Any], check: str, says: str) -> None:
    problems = found(**settings)
    assert list(problems) == [check]
    assert says in problems[check]


@pytest.mark.parametrize("name", ["mapped", "wrapped", "nested", "function"])
def test_a_project_that_routes_its_sockets_itself(name: str) -> None:
    """As projects do that come from Channels."""
    path = f"tests.project.asgi_of_its_own.{name}"
    assert found(ROOT_URLCONF="tests.project.silent.urls", ASGI_APPLICATION=path) == {}


@pytest.mark.parametrize("name", ["made", "http_only"])
def test_a_project_that_routes_no_sockets(name: str) -> None:
    path = f"tests.project.asgi_of_its_own.{name}"
    assert list(found(ROOT_URLCONF="tests.project.silent.urls", ASGI_APPLICATION=path)) == ["raceway.W001"]


def test_a_mistake_in_the_routing_module_is_told_once() -> None:
    settings = {
        "RACEWAY": {"ROUTING": "tests.project.urls"},
        "ASGI_APPLICATION": "tests.project.broken.application",
    }
    assert list(found(**settings)) == ["raceway.E003"]


def test_a_route_to_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "websocket_urlpatterns", [path("echo/", AsyncWebsocketConsumer)])  # type: ignore[arg-type]
    assert "write AsyncWebsocketConsumer.as_asgi()" in found()["raceway.E003"]


def test_routes_pass_the_checks_that_those_of_pages_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "websocket_urlpatterns", [path("/echo/", AsyncWebsocketConsumer.as_asgi())])
    messages = run_checks(app_configs=apps.get_app_configs())
    assert [message.id for message in messages] == ["urls.W002"]


def test_raceway_before_or_without_staticfiles() -> None:
    assert found(INSTALLED_APPS=["raceway", *AUTH, SESSIONS]) == {}
    assert found(INSTALLED_APPS=["raceway", *AUTH, SESSIONS, "django.contrib.staticfiles"]) == {}
    assert found(INSTALLED_APPS=[*AUTH, SESSIONS, "raceway"]) == {}


def test_users_whose_sessions_need_no_table() -> None:
    engine = "django.contrib.sessions.backends.signed_cookies"
    assert found(INSTALLED_APPS=["raceway", *AUTH], SESSION_ENGINE=engine) == {}


def test_an_application_that_can_be_imported() -> None:
    assert found(ASGI_APPLICATION="raceway.routing.protocol.answer_lifespan") == {}


def test_no_layer_at_all_is_a_choice() -> None:
    assert found(CHANNEL_LAYERS={}) == {}


# With --deploy

MEMORY = {"BACKEND": "raceway.layers.memory.MemoryLayer"}


def test_any_page_on_the_web() -> None:
    for debug in (False, True):
        problems = found(deploy=True, ALLOWED_HOSTS=["example.com", "*"], CHANNEL_LAYERS={}, DEBUG=debug)
        assert list(problems) == ["raceway.W004"]
        assert "any page on the web may open a WebSocket" in problems["raceway.W004"]
    assert found(ALLOWED_HOSTS=["*"]) == {}


class SyncOnly:
    """Middleware as it was written before Django was async."""


def test_middleware_that_holds_threads() -> None:
    common = "django.middleware.common.CommonMiddleware"
    ours = f"{__name__}.SyncOnly"
    problems = found(deploy=True, CHANNEL_LAYERS={}, MIDDLEWARE=[common, ours, "no.such.Middleware"])
    assert list(problems) == ["raceway.W007"]
    assert problems["raceway.W007"].startswith(f"{ours}: middleware that is not async_capable")
    assert found(deploy=True, CHANNEL_LAYERS={}, MIDDLEWARE=[common]) == {}


def test_a_memory_layer_where_several_processes_may_run() -> None:
    problems = found(deploy=True, CHANNEL_LAYERS={"default": MEMORY})
    assert list(problems) == ["raceway.W005"]
    assert "reaches only the process that sends" in problems["raceway.W005"]
    assert "Name raceway.layers.local.LocalLayer" in problems["raceway.W005"]
    assert found(CHANNEL_LAYERS={"default": MEMORY}) == {}
    assert "raceway.W005" not in found(deploy=True, CHANNEL_LAYERS={"default": {"BACKEND": "nowhere.Layer"}})


def test_what_stands_in_for_a_layer_in_tests_is_not_warned_of() -> None:
    assert isinstance(channel_layers["default"], MemoryLayer)  # as under every test runner
    assert found(deploy=True) == {}
    theirs = {"BACKEND": f"{__name__}.BetweenProcesses"}
    with fresh_channel_layers():
        assert found(deploy=True, CHANNEL_LAYERS={"default": theirs}) == {}


class BetweenProcesses:
    extensions: list[str] = []
