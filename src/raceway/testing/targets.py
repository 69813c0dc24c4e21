"""What a test connects to: an application, a consumer, or the project's own application."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from asgiref.compatibility import guarantee_single_callable
from django.urls import URLPattern, URLResolver

from raceway.asgi import project_application
from raceway.consumers.functions import is_function_consumer, websocket_consumer
from raceway.types import ASGIApplication


def as_application(target: Any) -> ASGIApplication:
    """``target`` as an ASGI application: a consumer class, a consumer function and ``None`` (the project) are made
    into one."""
    if target is None:
        return project_application()
    if isinstance(target, type) and hasattr(target, "as_asgi"):
        return cast(ASGIApplication, target.as_asgi())
    if is_function_consumer(target):
        return websocket_consumer(target)
    return cast(ASGIApplication, guarantee_single_callable(target))  # type: ignore[no-untyped-call]


def applications_in(application: Any, depth: int = 32) -> Iterator[Any]:
    """``application`` and those inside it, as far as they can be seen: routers, and middleware with ``inner``,
    ``app`` or ``application``."""
    yield application
    if depth == 0:
        return
    insides = [getattr(application, name, None) for name in ("inner", "app", "application")]
    mapping = getattr(application, "application_mapping", None)
    if isinstance(mapping, dict):
        insides.extend(mapping.values())
    for route in getattr(application, "routes", None) or ():
        if isinstance(route, URLPattern):
            insides.append(route.callback)
        elif isinstance(route, URLResolver):
            insides.extend(_callbacks(route))
    for inside in insides:
        if inside is not None and inside is not application:
            yield from applications_in(inside, depth - 1)


def _callbacks(resolver: URLResolver) -> Iterator[Any]:
    for route in resolver.url_patterns:
        if isinstance(route, URLResolver):
            yield from _callbacks(route)
        else:
            yield route.callback
