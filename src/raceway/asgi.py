"""The application of a project: Django for HTTP, the project's ``routing`` module for WebSockets.

``project/asgi.py``::

    from raceway.asgi import get_application

    application = get_application()
"""

from __future__ import annotations

from typing import Final, cast

from django.apps import apps
from django.conf import settings
from django.core.asgi import get_asgi_application as get_django_application
from django.core.handlers.asgi import ASGIHandler

from raceway.origin import AllowedHostsOriginValidator
from raceway.routing import ProtocolTypeRouter, URLRouter
from raceway.routing.project import get_websocket_urlpatterns
from raceway.threads import enter_threads
from raceway.types import ASGIApplication, Receive, Scope, Send

STATIC_FILES_DECIDED: Final = "raceway.static_files_decided"
"""In a scope: what is outside serves static files itself, or was told that none are to be served."""


def get_application() -> ProtocolTypeRouter:
    """Make the application; sets Django up.

    WebSockets pass the origin check (``ALLOWED_HOSTS``), get ``scope["session"]`` and ``scope["user"]`` where
    those apps are installed, and go to ``websocket_urlpatterns``. Raises ``ConfigurationError`` if the routing
    module that ``RACEWAY["ROUTING"]`` names is not there.

    In development (``DEBUG``) the files of ``django.contrib.staticfiles`` are served too.
    """
    http = with_static_files(get_asgi_application())
    websocket: ASGIApplication = URLRouter(get_websocket_urlpatterns())
    if apps.is_installed("django.contrib.auth"):
        from raceway.auth import AuthMiddlewareStack

        websocket = AuthMiddlewareStack(websocket)
    elif apps.is_installed("django.contrib.sessions"):
        from raceway.sessions import SessionMiddlewareStack

        websocket = SessionMiddlewareStack(websocket)
    return ProtocolTypeRouter({"http": http, "websocket": AllowedHostsOriginValidator(websocket)})


def get_asgi_application() -> ASGIApplication:
    """Django's own application, whose sync code shares the bounded pool of threads (``RACEWAY["SYNC_THREADS"]``).

    By itself Django starts a thread for each request, and one more to end it, also for an ``async def`` view: that
    is half of what such a view costs.
    """
    django = cast(ASGIApplication, get_django_application())

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        enter_threads()  # never left: a task that a view leaves behind may go on using the database
        await django(scope, receive, send)

    return serve


def with_static_files(http: ASGIApplication) -> ASGIApplication:
    """Serve static files in development, unless who calls has decided that (``STATIC_FILES_DECIDED``)."""
    if not (settings.DEBUG and settings.STATIC_URL and apps.is_installed("django.contrib.staticfiles")):
        return http
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

    static_files_and_http = cast(ASGIApplication, ASGIStaticFilesHandler(cast(ASGIHandler, http)))

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await (http if STATIC_FILES_DECIDED in scope else static_files_and_http)(scope, receive, send)

    return serve
