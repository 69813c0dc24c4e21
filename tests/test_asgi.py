from __future__ import annotations

import asyncio
import sys
from types import ModuleType
from typing import Any

import pytest
from django.test import override_settings

import tests.project  # noqa: F401  Django's settings
from raceway.asgi import STATIC_FILES_DECIDED, get_application
from raceway.errors import ConfigurationError
from raceway.routing.project import get_websocket_urlpatterns, routing_name
from tests.consumers.driver import Socket
from tests.project.urls import left_behind

ORIGIN = [(b"origin", b"https://www.example.com")]


async def get(path: str, **scope: Any) -> tuple[int, bytes]:
    """Make the application and ask it for ``path``."""
    sent: list[Any] = []
    events = [{"type": "http.request"}]

    async def receive() -> Any:
        return events.pop() if events else await asyncio.Event().wait()

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {"type": "http", "method": "GET", "headers": [(b"host", b"testserver")], **scope}
    await get_application()({**scope, "path": path, "query_string": b""}, receive, send)
    return sent[0]["status"], b"".join(event.get("body", b"") for event in sent[1:])


async def test_websockets_go_to_the_projects_routing() -> None:
    socket = Socket(get_application(), lane=True, path="/whoami/", headers=ORIGIN)
    assert await socket.connect() == {"type": "websocket.accept"}
    assert await socket.text() == '{"user":"AnonymousUser"}'
    await socket.goodbye()


async def test_the_origin_is_checked() -> None:
    socket = Socket(get_application(), lane=True, path="/echo/")
    assert await socket.connect() == {"type": "websocket.close"}
    await socket.end()


async def test_http_goes_to_django() -> None:
    status, body = await get("/hello/")
    assert (status, body) == (200, b"hello")


async def test_views_share_the_bounded_pool_of_threads() -> None:
    assert (await get("/thread/"))[1].startswith(b"raceway-view")


async def test_what_a_view_leaves_behind_still_has_threads() -> None:
    status, body = await get("/leave-a-task/")
    assert (status, body.startswith(b"raceway-view")) == (200, True)
    assert (await left_behind.pop()).startswith("raceway-view")


async def test_static_files_are_served_in_development() -> None:
    script = "/static/raceway/raceway.js"
    assert (await get(script))[0] == 404
    with override_settings(DEBUG=True):
        status, body = await get(script)
        assert (status, b"WebSocket" in body) == (200, True)
        assert (await get("/static/nothing.js"))[0] == 404
        assert (await get("/hello/")) == (200, b"hello")


async def test_who_has_decided_about_static_files_is_obeyed() -> None:
    """``runserver --nostatic`` has."""
    with override_settings(DEBUG=True):
        assert (await get("/static/raceway/raceway.js", **{STATIC_FILES_DECIDED: True}))[0] == 404


@pytest.mark.parametrize("missing", [{"INSTALLED_APPS": ["raceway"]}, {"STATIC_URL": None}])
async def test_without_the_staticfiles_app_there_are_none(missing: Any) -> None:
    with override_settings(DEBUG=True, **missing):
        assert (await get("/static/raceway/raceway.js"))[0] == 404


@pytest.mark.parametrize("apps", [["raceway"], ["raceway", "django.contrib.sessions"]])
async def test_without_the_auth_or_session_apps(apps: list[str]) -> None:
    with override_settings(INSTALLED_APPS=apps):
        application = get_application()
    socket = Socket(application, lane=True, path="/echo/", headers=ORIGIN)
    await socket.connect()
    socket.say("x")
    assert await socket.text() == "x"
    await socket.goodbye()


def test_where_routing_is_looked_for() -> None:
    assert routing_name() == "tests.project.routing"
    with override_settings(ROOT_URLCONF="urls"):
        assert routing_name() == "routing"
    with override_settings(RACEWAY={"ROUTING": "elsewhere.sockets"}):
        assert routing_name() == "elsewhere.sockets"


def test_a_project_without_routing_has_no_routes() -> None:
    with override_settings(ROOT_URLCONF="tests.project.silent.urls"):
        assert get_websocket_urlpatterns() == []


@pytest.mark.parametrize("name", ["tests.nowhere", "nowhere.at.all", "tests.project.urls.routing"])
def test_a_named_routing_must_be_there(name: str) -> None:
    with (
        override_settings(RACEWAY={"ROUTING": name}),
        pytest.raises(ConfigurationError, match="which is not there"),
    ):
        get_websocket_urlpatterns()


def test_routing_without_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "empty_routing", ModuleType("empty_routing"))
    with (
        override_settings(RACEWAY={"ROUTING": "empty_routing"}),
        pytest.raises(ConfigurationError, match="has no websocket_urlpatterns"),
    ):
        get_websocket_urlpatterns()


def test_a_broken_import_inside_routing_is_not_hidden(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_routing.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with (
        override_settings(RACEWAY={"ROUTING": "broken_routing"}),
        pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"),
    ):
        get_websocket_urlpatterns()
