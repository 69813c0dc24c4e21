"""The other way: from a route's name to its path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

from django.urls import reverse as django_reverse

from raceway.conf import on_change
from raceway.routing.project import get_websocket_urlpatterns
from raceway.routing.urls import URLRouter


def reverse(
    name: str,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    router: URLRouter | None = None,
) -> str:
    """The path of the WebSocket route of that name, for a page to connect to: ``reverse("room", ["lobby"])``.

    ``path(..., name="room")`` gives a route its name, also in nested routers; ``include()`` gives namespaces:
    ``"chat:room"``. ``router`` is where to look; ``None``: the project's ``websocket_urlpatterns``. Raises Django's
    ``NoReverseMatch``.
    """
    # Django takes any object with urlpatterns; its types do not say so.
    urlconf = cast(str, router or _project_router())
    path: str = django_reverse(name, urlconf=urlconf, args=args, kwargs=cast("dict[str, Any] | None", kwargs))
    return path


@cache
def _project_router() -> URLRouter:
    return URLRouter(get_websocket_urlpatterns())


for setting in ("RACEWAY", "ROOT_URLCONF"):
    on_change(setting, _project_router.cache_clear)
