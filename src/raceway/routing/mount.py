"""Another framework's application below a path."""

from __future__ import annotations

from collections.abc import Awaitable

from raceway.routing.begin import begin
from raceway.routing.paths import whole_path
from raceway.types import ASGIApplication, Prepare, RacewayApplication, Receive, Scope, Send


class Mount(RacewayApplication):
    """Give an ASGI application all that is below a route: ``path("api/", Mount(starlette_application))``.

    The route is a prefix, and is added to ``root_path``; ``path`` stays whole. That is what Starlette, FastAPI,
    Django and others expect of a server (ASGI HTTP, "Connection Scope"), so that the addresses they build are right.
    """

    is_path_router = True

    def __init__(self, application: ASGIApplication) -> None:
        self.application = application

    def raceway_begin(
        self, scope: Scope, receive: Receive, send: Send, prepares: tuple[Prepare, ...] = ()
    ) -> Awaitable[None]:
        scope = dict(scope)
        rest: str | None = scope.pop("path_remaining", None)
        if rest is not None:
            scope["path"] = whole_path(scope)
            scope["root_path"] = scope["path"].removesuffix(rest).rstrip("/")
        return begin(self.application, scope, receive, send, prepares)
