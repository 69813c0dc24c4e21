"""Routing by path, with Django's patterns."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any, NamedTuple, TypeAlias

from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, URLResolver
from django.urls.resolvers import RegexPattern, RoutePattern

from raceway.routing.begin import begin
from raceway.routing.refuse import refuse
from raceway.types import ASGIApplication, Prepare, Receive, Scope, Send

Route: TypeAlias = URLPattern | URLResolver


class Match(NamedTuple):
    """Where a path leads: the application, the captured arguments, and the rest of the path for it to route."""

    application: ASGIApplication
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    rest: str


class URLRouter:
    """Call the application of the first route that matches the path: ``path()``, ``re_path()``, ``include()``.

    Routers nest: a route to another ``URLRouter`` is a prefix. The captured arguments are
    ``scope["url_route"] = {"args": (...), "kwargs": {...}}``. A path without a route is refused with 404.
    """

    is_path_router = True

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = [_as_prefix(route) for route in routes]
        self._included: dict[URLResolver, list[Route]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.raceway_begin(scope, receive, send)

    def raceway_begin(
        self, scope: Scope, receive: Receive, send: Send, prepare: Prepare | None = None
    ) -> Awaitable[None]:
        """What ``__call__`` does, without staying on the stack."""
        match = self.resolve(_path_of(scope))
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
        return begin(match.application, scope, receive, send, prepare)

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
                if not isinstance(route.callback, URLRouter):
                    return Match(route.callback, args, kwargs, rest)
                inner = route.callback.resolve(rest)
            if inner is not None:
                return inner._replace(args=args + inner.args, kwargs={**kwargs, **inner.kwargs})
        return None

    def _routes_in(self, resolver: URLResolver) -> list[Route]:
        """The routes of an ``include()``: its module may not be complete before the first path comes."""
        routes = self._included.get(resolver)
        if routes is None:
            routes = self._included[resolver] = [_as_prefix(route) for route in resolver.url_patterns]
        return routes


def _as_prefix(route: Route) -> Route:
    """A copy of a route to another path router that matches a prefix; any other route as it is."""
    if (
        isinstance(route, URLPattern)
        and isinstance(route.callback, type)
        and hasattr(route.callback, "as_asgi")
    ):
        name = route.callback.__qualname__
        raise ImproperlyConfigured(f"The route {route.pattern!s} leads to a class; write {name}.as_asgi().")
    if isinstance(route, URLResolver) or not getattr(route.callback, "is_path_router", False):
        return route
    pattern = route.pattern
    if isinstance(pattern, RoutePattern):
        prefix: RoutePattern | RegexPattern = RoutePattern(str(pattern), pattern.name, is_endpoint=False)
    elif isinstance(pattern, RegexPattern):
        prefix = RegexPattern(str(pattern), pattern.name, is_endpoint=False)
    else:
        raise ImproperlyConfigured(f"A URLRouter takes path() and re_path(), not {pattern!r}")
    return URLPattern(prefix, route.callback, route.default_args, route.name)


def _path_of(scope: Scope) -> str:
    """What is left of the path to route; the outermost router takes off ``root_path`` and the slash."""
    path: str | None = scope.get("path_remaining")
    if path is not None:
        return path
    path = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :]
    return path.removeprefix("/")
