from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, include, path, re_path
from django.urls.resolvers import LocalePrefixPattern

import tests.project  # noqa: F401  Django's settings
from raceway.consumers import AsyncWebsocketConsumer
from raceway.routing import ConnectMiddleware, URLRouter
from tests.consumers.driver import Socket
from tests.routing.calls import call, note


class Nothing(ConnectMiddleware):
    async def prepare(self, scope: Any) -> None:
        scope["passed"] = True


class Others:
    """Middleware as other people write it for Channels."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.inner({**scope, "passed": True}, receive, send)


def route_of(scope: Any) -> Any:
    return scope["name"], scope["url_route"]["args"], scope["url_route"]["kwargs"]


async def routed(router: URLRouter, path: str, **scope: Any) -> Any:
    """What the application that the path leads to was called with, or the status of the refusal."""
    scope, sent = await call(router, path=path, **scope)
    return route_of(scope) if scope is not None else sent[0].get("status", sent[0]["type"])


async def test_paths_converters_and_extra_arguments() -> None:
    router = URLRouter(
        [
            path("plain/", note("plain")),
            path("room/<int:pk>/<slug:slug>/", note("room"), {"extra": 1}),
            re_path(r"^old/(?P<year>[0-9]{4})/$", note("named")),
            re_path(r"^pos/(\w+)/(\w+)/$", note("positional")),
            path("", note("root")),
        ]
    )
    assert await routed(router, "/plain/") == ("plain", (), {})
    assert await routed(router, "/room/7/a-b/") == ("room", (), {"pk": 7, "slug": "a-b", "extra": 1})
    assert await routed(router, "/old/1999/") == ("named", (), {"year": "1999"})
    assert await routed(router, "/pos/a/b/") == ("positional", ("a", "b"), {})
    assert await routed(router, "/") == ("root", (), {})


@pytest.mark.parametrize("unrouted", ["/nope/", "/plain", "/plain/x", "//plain/", "/room/x/"])
async def test_an_unrouted_path_is_refused(unrouted: str) -> None:
    """V29b"""
    router = URLRouter([path("plain/", note("plain")), path("room/<int:pk>/", note("room"))])
    assert await routed(router, unrouted, extensions={"websocket.http.response": {}}) == 404
    assert await routed(router, unrouted) == "websocket.close"
    assert await routed(router, unrouted, type="http") == 404


async def test_the_denial_is_a_whole_response() -> None:
    _, sent = await call(URLRouter([]), path="/", extensions={"websocket.http.response": {}})
    assert sent == [
        {
            "type": "websocket.http.response.start",
            "status": 404,
            "headers": [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"10")],
        },
        {"type": "websocket.http.response.body", "body": b"Not Found\n"},
    ]


async def test_routers_nest_and_merge_what_they_capture() -> None:
    router = URLRouter(
        [
            path(
                "a/<int:x>/", URLRouter([path("b/<str:y>/", note("inner"), {"z": 3}), path("", note("leaf"))])
            ),
            re_path(r"^r/(\w+)/", URLRouter([re_path(r"^s/(\w+)/$", note("both"))])),
            path("over/<str:x>/", URLRouter([path("<int:x>/", note("overridden"))])),
        ]
    )
    assert await routed(router, "/a/1/b/two/") == ("inner", (), {"x": 1, "y": "two", "z": 3})
    assert await routed(router, "/a/1/") == ("leaf", (), {"x": 1})
    assert await routed(router, "/r/one/s/two/") == ("both", ("one", "two"), {})
    assert await routed(router, "/over/one/2/") == ("overridden", (), {"x": 2})
    assert await routed(router, "/a/1/c/", extensions={"websocket.http.response": {}}) == 404


async def test_the_next_route_is_tried_where_an_inner_router_has_none() -> None:
    router = URLRouter([path("a/", URLRouter([path("b/", note("first"))])), path("a/c/", note("second"))])
    assert await routed(router, "/a/b/") == ("first", (), {})
    assert await routed(router, "/a/c/") == ("second", (), {})


async def test_include() -> None:
    router = URLRouter([path("status/", include([path("users/<int:pk>/", note("users"))]), {"extra": 1})])
    assert await routed(router, "/status/users/3/") == ("users", (), {"pk": 3, "extra": 1})


async def test_a_router_inside_an_include_is_a_prefix_made_once() -> None:
    router = URLRouter([path("a/", include([path("b/", URLRouter([path("c/", note("deep"))]))]))])
    (resolver,) = router.routes
    assert await routed(router, "/a/b/c/") == ("deep", (), {})
    (made,) = router._routes_in(resolver)
    assert await routed(router, "/a/b/c/") == ("deep", (), {})
    assert router._routes_in(resolver) == [made]
    assert not made.pattern._is_endpoint


@pytest.mark.parametrize("middleware", [Nothing, Others])
async def test_a_router_behind_middleware_is_a_prefix_too(middleware: Any) -> None:
    router = URLRouter([path("in/<int:x>/", middleware(URLRouter([path("er/", note("inner"))])))])
    scope, _ = await call(router, path="/in/5/er/")
    assert route_of(scope) == ("inner", (), {"x": 5})
    assert scope["passed"]


async def test_the_next_route_is_tried_where_a_router_behind_middleware_has_none() -> None:
    router = URLRouter(
        [path("a/", Nothing(URLRouter([path("b/", note("first"))]))), path("a/c/", note("second"))]
    )
    assert await routed(router, "/a/b/") == ("first", (), {})
    assert await routed(router, "/a/c/") == ("second", (), {})


async def test_the_path_that_is_left_is_passed_on_and_the_scope_is_a_copy() -> None:
    async def foreign(scope: Any, receive: Any, send: Any) -> None:
        await note(scope["path_remaining"])(scope, receive, send)

    router = URLRouter([re_path(r"^mount/", foreign)])
    original = {"type": "websocket", "path": "/mount/rest", "headers": []}
    scope, _ = await call(router, **original)
    assert scope["name"] == "rest"
    assert original.keys() == {"type", "path", "headers"}


@pytest.mark.parametrize(
    ("root", "given"),
    [("/app", "/app/x/"), ("/app/", "/app/x/"), ("", "/x/"), ("/app", "/x/"), ("/ap", "/x/")],
)
async def test_root_path_is_taken_off(root: str, given: str) -> None:
    assert await routed(URLRouter([path("x/", note("x"))]), given, root_path=root) == ("x", (), {})


async def test_root_path_is_taken_off_at_a_slash_only() -> None:
    router = URLRouter([path("x/", note("x"))])
    assert await routed(router, "/apple/x/", root_path="/app") == "websocket.close"


def test_other_patterns_cannot_be_prefixes() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"takes path\(\) and re_path\(\)"):
        URLRouter([URLPattern(LocalePrefixPattern(), URLRouter([]))])


def test_the_patterns_that_were_given_are_not_changed() -> None:
    route = path("a/", URLRouter([]))
    URLRouter([route])
    assert route.pattern._is_endpoint


def test_a_class_in_place_of_its_application_is_named() -> None:
    with pytest.raises(
        ImproperlyConfigured, match=r"chat/ leads to a class; write AsyncWebsocketConsumer\.as_asgi"
    ):
        URLRouter([path("chat/", AsyncWebsocketConsumer)])  # type: ignore[arg-type]


def test_an_as_asgi_that_is_not_called_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"chat/ .* call it: AsyncWebsocketConsumer\.as_asgi\(\)"):
        URLRouter([path("chat/", AsyncWebsocketConsumer.as_asgi)])  # type: ignore[arg-type]


# Functions


async def echo(socket: Any) -> None:
    async for message in socket:
        await socket.send(f"{socket.kwargs['name']}: {message}")


async def with_defaults(socket: Any, retries: int = 3, *, loud: bool = False) -> None:
    await socket.send(str(socket.kwargs))


@pytest.mark.parametrize("lane", [True, False])
async def test_a_route_may_lead_to_a_function(lane: bool) -> None:
    route = path("f/<str:name>/", echo)
    for router in (URLRouter([route]), URLRouter([path("", include([route]))])):
        socket = Socket(router, lane=lane, path="/f/bender/")
        assert await socket.connect() == {"type": "websocket.accept"}
        socket.say("hi")
        assert await socket.text() == "bender: hi"
        await socket.goodbye()
    assert route.callback is echo


async def test_a_function_may_have_more_arguments_if_they_have_defaults() -> None:
    socket = Socket(URLRouter([path("x/<int:n>/", with_defaults)]), lane=True, path="/x/3/")
    assert await socket.connect() == {"type": "websocket.accept"}
    assert await socket.text() == "{'n': 3}"
    await socket.goodbye()


def test_a_function_that_cannot_wait_is_named() -> None:
    def chat(message: Any) -> None: ...

    with pytest.raises(ImproperlyConfigured, match=r"The route chat/: .*chat.* write async def"):
        URLRouter([path("chat/", chat)])
