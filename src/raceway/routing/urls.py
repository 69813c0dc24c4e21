"""Routing by path, with Django's patterns."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, URLResolver
from django.urls.resolvers import RegexPattern, RoutePattern

from raceway.consumers.functions import is_function_consumer, websocket_consumer
from raceway.routing.begin import begin
from raceway.routing.paths import path_to_route
from raceway.routing.refuse import refuse
from raceway.types import ASGIApplication, Prepare, RacewayApplication, Receive, Scope, Send

Route: TypeAlias = URLPattern | URLResolver


class Match(NamedTuple):
    """Where a path leads: the application, the captured arguments, and the rest of the path for it to route."""

    application: ASGIApplication
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    rest: str


class URLRouter(RacewayApplication):
    """Call the application of the first route that matches the path: ``path()``, ``re_path()``, ``include()``.

    A route leads to ``SomeConsumer.as_asgi()``, to ``async def echo(socket)``, or to any ASGI application. Routers
    nest: a route to another ``URLRouter``, or to a ``Mount``, is a prefix. The captured arguments are
    ``scope["url_route"] = {"args": (...), "kwargs": {...}}``. A path without a route is refused with 404; where a
    server cannot say that to a WebSocket, with 403.
    """

    is_path_router = True

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = [_as_route(route) for route in routes]
        self._included: dict[URLResolver, list[Route]] = {}

    def raceway_begin(
        self, scope: Scope, receive: Receive, send: Send, prepares: tuple[Prepare, ...] = ()
    ) -> Awaitable[None]:
        match = self.resolve(path_to_route(scope))
        if match is None:
            return refuse(scope, receive, send, 404, "Not Found")
        outer = scope.get("url_route", {"args": (), "kwargs": {}})
        scope = {
            **scope,
            "path_remaining": match.rest,
            "url_route": {
                "args": outer["args"] + match.args,
                "kwargs": {**outer["kwargs"], **match.kwargs},
            },
        }
        return begin(match.application, scope, receive, send, prepares)

    @cached_property
    def urlpatterns(self) -> list[Route]:
        """The routes as Django knows them, so that it can reverse them: nested routers as ``include()``."""
        return _without_routers(self.routes)

    def resolve(self, path: str) -> Match | None:
        """Where ``path``, without its leading slash, leads; ``None`` if nowhere."""
        return self._resolve(self.routes, path)

    def _resolve(self, routes: Iterable[Route], path: str) -> Match | None:
        for route in routes:
            matched = route.pattern.match(path)
            if not matched:
                continue
            rest, args, kwargs = matched
            if isinstance(route, URLResolver):
                kwargs.update(route.default_kwargs)
                inner = self._resolve(self._routes_in(route), rest)
            else:
                kwargs.update(route.default_args)
                router = router_in(route.callback)
                if router is not None and router is not route.callback:
                    if router.resolve(rest) is None:
                        continue
                    router = None  # what is around it wants to be called first
                if router is None:
                    return Match(route.callback, args, kwargs, rest)
                inner = router.resolve(rest)
            if inner is not None:
                return inner._replace(args=args + inner.args, kwargs={**kwargs, **inner.kwargs})
        return None

    def _routes_in(self, resolver: URLResolver) -> list[Route]:
        """The routes of an ``include()``: its module may not be complete before the first path comes."""
        routes = self._included.get(resolver)
        if routes is None:
            routes = self._included[resolver] = [_as_route(route) for route in resolver.url_patterns]
        return routes


def router_in(application: object) -> URLRouter | None:
    """The router that ``application`` is, or that middleware is around."""
    innermost = behind_middleware(application)
    return innermost if isinstance(innermost, URLRouter) else None


def behind_middleware(application: object) -> object:
    """The application that middleware is around."""
    while (inner := getattr(application, "inner", None)) is not None:
        application = inner
    return application


def prefix_of(route: URLPattern) -> RoutePattern | RegexPattern:
    """The pattern of a route, made to match the beginning of a path."""
    pattern = route.pattern
    if isinstance(pattern, RoutePattern):
        return RoutePattern(str(pattern), pattern.name, is_endpoint=False)
    if isinstance(pattern, RegexPattern):
        return RegexPattern(str(pattern), pattern.name, is_endpoint=False)
    raise ImproperlyConfigured(f"A URLRouter takes path() and re_path(), not {pattern!r}")


def _without_routers(routes: Iterable[Route]) -> list[Route]:
    converted: list[Route] = []
    for route in routes:
        if isinstance(route, URLResolver):
            inner = _without_routers(route.url_patterns)
            names = route.app_name, route.namespace
            converted.append(URLResolver(route.pattern, inner, route.default_kwargs, *names))
            continue
        converted.append(route)
        router = router_in(route.callback)
        if router is not None:
            converted.append(URLResolver(prefix_of(route), router.urlpatterns, route.default_args))
    return converted


def _as_route(route: Route) -> Route:
    """A route as the router needs it: to another path router as a prefix, to a function as an application."""
    if isinstance(route, URLResolver):
        return route
    callback: Any = route.callback
    if getattr(callback, "__name__", None) == "as_asgi" and hasattr(callback, "__self__"):
        raise ImproperlyConfigured(
            f"The route {route.pattern!s} leads to a method; call it: {callback.__self__.__qualname__}.as_asgi()."
        )
    if isinstance(callback, type) and hasattr(callback, "as_asgi"):
        raise ImproperlyConfigured(
            f"The route {route.pattern!s} leads to a class; write {callback.__qualname__}.as_asgi()."
        )
    if getattr(behind_middleware(callback), "is_path_router", False):
        return URLPattern(prefix_of(route), callback, route.default_args, route.name)
    if is_function_consumer(callback):
        try:
            application = websocket_consumer(callback)
        except TypeError as error:
            raise ImproperlyConfigured(f"The route {route.pattern!s}: {error}") from error
        return URLPattern(route.pattern, application, route.default_args, route.name)
    return route
