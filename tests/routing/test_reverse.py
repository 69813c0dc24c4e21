from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import override_settings
from django.urls import NoReverseMatch, URLPattern, include, path, re_path, set_script_prefix

import tests.project  # noqa: F401  Django's settings
from raceway.routing import Mount, URLRouter, reverse
from tests.routing.calls import note
from tests.routing.test_urls import Nothing

CHAT = [path("<slug:room>/", note("room"), name="room"), path("", note("rooms"), name="rooms")]
ROUTER = URLRouter(
    [
        path("echo/", note("echo"), name="echo"),
        re_path(r"^old/(\d+)/$", note("old"), name="old"),
        path("docs/<int:pk>/", Nothing(URLRouter([path("edit/", note("edit"), name="edit")])), name="docs"),
        path("chat/", include((CHAT, "chat"))),
        path("staff/", include((CHAT, "chat"), namespace="staff")),
        path("plain/", include([path("in/", URLRouter([path("ner/", note("inner"), name="inner")]))])),
        path("api/", Mount(note("api")), name="api"),
    ]
)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("echo", {}, "/echo/"),
        ("old", {"args": [7]}, "/old/7/"),
        ("edit", {"kwargs": {"pk": 3}}, "/docs/3/edit/"),
        ("docs", {"args": [3]}, "/docs/3/"),
        ("chat:room", {"args": ["lobby"]}, "/chat/lobby/"),
        ("staff:room", {"kwargs": {"room": "lobby"}}, "/staff/lobby/"),
        ("chat:rooms", {}, "/chat/"),
        ("inner", {}, "/plain/in/ner/"),
        ("api", {}, "/api/"),
    ],
)
def test_a_name_leads_to_its_path(name: str, given: Any, expected: str) -> None:
    assert reverse(name, router=ROUTER, **given) == expected


@pytest.mark.parametrize("name", ["nothing", "echo:echo", "room"])
def test_an_unknown_name_is_djangos_error(name: str) -> None:
    with pytest.raises(NoReverseMatch):
        reverse(name, args=["x"], router=ROUTER)


async def test_a_reversed_path_leads_to_the_route() -> None:
    match = ROUTER.resolve(reverse("staff:room", ["lobby"], router=ROUTER).removeprefix("/"))
    assert match is not None
    assert match.kwargs == {"room": "lobby"}


def test_a_path_is_below_the_script_prefix() -> None:
    set_script_prefix("/app/")
    try:
        assert reverse("echo", router=ROUTER) == "/app/echo/"
    finally:
        set_script_prefix("/")


@pytest.fixture
def routing(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A routing module that the settings name."""
    module = SimpleNamespace(websocket_urlpatterns=[path("mine/", note("mine"), name="mine")])
    monkeypatch.setitem(__import__("sys").modules, "routing_for_reverse", module)
    with override_settings(RACEWAY={"ROUTING": "routing_for_reverse"}):
        yield module


def test_the_projects_routes_are_the_default(routing: SimpleNamespace) -> None:
    assert reverse("mine") == "/mine/"
    routing.websocket_urlpatterns = [path("other/", note("other"), name="other")]
    with override_settings(RACEWAY={"ROUTING": "routing_for_reverse", "SYNC_THREADS": 3}):
        assert reverse("other") == "/other/"


def test_the_routes_stay_as_they_are() -> None:
    kinds = [type(route) for route in ROUTER.routes]
    reverse("edit", [1], router=ROUTER)
    assert [type(route) for route in ROUTER.routes] == kinds
    assert kinds.count(URLPattern) == 4
