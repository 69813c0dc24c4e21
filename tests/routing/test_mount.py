from __future__ import annotations

from typing import Any

import pytest
from django.urls import include, path, re_path

import tests.project  # noqa: F401  Django's settings
from raceway.routing import Mount, URLRouter
from tests.routing.calls import call, note
from tests.routing.test_urls import Nothing, routed


async def mounted(router: URLRouter, path: str, root_path: str = "") -> tuple[str, str]:
    """``path`` and ``root_path`` as the mounted application sees them."""
    scope, _ = await call(router, path=path, root_path=root_path)
    assert "path_remaining" not in scope
    return scope["path"], scope["root_path"]


@pytest.mark.parametrize(
    ("path", "root_path", "seen"),
    [
        ("/api/users/5", "", ("/api/users/5", "/api")),
        ("/api/", "", ("/api/", "/api")),
        ("/app/api/users", "/app", ("/app/api/users", "/app/api")),
        ("/app/api/users", "/app/", ("/app/api/users", "/app/api")),
        ("/api/users", "/app", ("/app/api/users", "/app/api")),  # a server that takes it off itself
    ],
)
async def test_the_prefix_goes_to_root_path(path: str, root_path: str, seen: tuple[str, str]) -> None:
    from django.urls import path as route

    assert await mounted(URLRouter([route("api/", Mount(note("api")))]), path, root_path) == seen


async def test_it_may_be_anywhere() -> None:
    inner = URLRouter([re_path(r"^v(?P<version>\d)/", Nothing(Mount(note("api"))))])
    router = URLRouter([path("a/", inner), path("b/", include([path("c/", Mount(note("api")))]))])
    assert await mounted(router, "/a/v1/x") == ("/a/v1/x", "/a/v1")
    assert await routed(router, "/a/v1/x") == ("api", (), {"version": "1"})
    assert await mounted(router, "/b/c/x") == ("/b/c/x", "/b/c")


async def test_what_is_mounted_at_the_root_gets_everything() -> None:
    assert await mounted(URLRouter([path("", Mount(note("all")))]), "/any/thing") == ("/any/thing", "")


async def test_it_stands_alone_too() -> None:
    scope, _ = await call(Mount(note("alone")), path="/x", root_path="/app")
    assert (scope["path"], scope["root_path"]) == ("/x", "/app")


async def test_a_router_inside_a_mounted_framework_routes_the_rest() -> None:
    async def framework(scope: Any, receive: Any, send: Any) -> None:
        """As Starlette mounts: ``path`` stays whole, ``root_path`` grows."""
        inner = {**scope, "root_path": scope["root_path"] + "/sockets"}
        await URLRouter([path("chat/", note("chat"))])(inner, receive, send)

    assert await routed(URLRouter([path("api/", Mount(framework))]), "/api/sockets/chat/") == ("chat", (), {})


async def test_only_the_prefix_with_its_slash_leads_there() -> None:
    router = URLRouter([path("api/", Mount(note("api")))])
    assert await routed(router, "/apis/x") == "websocket.close"
    assert await routed(router, "/api") == "websocket.close"
