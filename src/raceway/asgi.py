"""The application of a project: Django for HTTP, the project's ``routing`` module for WebSockets.

``project/asgi.py``::

    from raceway.asgi import get_application

    application = get_application()
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Final, cast

from django.apps import apps
from django.conf import settings
from django.core.asgi import get_asgi_application as get_django_application
from django.core.handlers.asgi import ASGIHandler

from raceway.auth import AuthMiddlewareStack
from raceway.conf import django_setting
from raceway.messaging.application import MessageApplication, RoutedFirst
from raceway.messaging.routing import HTTP_REQUEST, OF_SOCKETS
from raceway.origin import AllowedHostsOriginValidator
from raceway.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter, get_default_application
from raceway.routing.begin import begin
from raceway.routing.project import get_channel_routes, get_channel_routing, get_websocket_urlpatterns
from raceway.sessions import SessionMiddlewareStack
from raceway.threads import enter_threads, view_pool
from raceway.types import ASGIApplication, Prepare, RacewayApplication, Receive, Scope, Send

STATIC_FILES_DECIDED: Final = "raceway.static_files_decided"
"""In a scope: a ``StaticFiles`` has seen it."""


def get_application() -> ProtocolTypeRouter:
    """Make the application; sets Django up.

    WebSockets pass the origin check (``ALLOWED_HOSTS``), get ``scope["session"]`` and ``scope["user"]`` where
    those apps are installed, and go to ``websocket_urlpatterns``. Named channels go to ``channel_routes``, in workers.
    With a ``channel_routing``, as the first generation had it, that serves what nothing else is for. Raises
    ``ConfigurationError`` if the routing module that ``RACEWAY["ROUTING"]`` names is not there.

    In development (``DEBUG``) the files of ``django.contrib.staticfiles`` are served too.
    """
    http = get_asgi_application()
    websocket: ASGIApplication = URLRouter(get_websocket_urlpatterns())
    channels: Mapping[str, ASGIApplication] = get_channel_routes()
    channel_routing = get_channel_routing()
    if channel_routing is not None:
        messages = MessageApplication(channel_routing, http=http)
        channels = {**dict.fromkeys(messages.channel_names(), messages), **channels}
        if HTTP_REQUEST in messages.routed_channels:
            http = messages
        if messages.routed_channels & OF_SOCKETS:
            websocket = RoutedFirst(URLRouter(get_websocket_urlpatterns()), messages)
    if apps.is_installed("django.contrib.auth"):
        websocket = AuthMiddlewareStack(websocket)
    elif apps.is_installed("django.contrib.sessions"):
        websocket = SessionMiddlewareStack(websocket)
    return ProtocolTypeRouter(
        {
            "http": StaticFiles(http, serve=settings.DEBUG),
            "websocket": AllowedHostsOriginValidator(websocket),
            "channel": ChannelNameRouter(channels),
        }
    )


def project_application() -> ASGIApplication:
    """What ``runserver`` and tests serve: ``ASGI_APPLICATION``, or what ``get_application`` makes."""
    return get_default_application() if django_setting("ASGI_APPLICATION", None) else get_application()


def get_asgi_application() -> ASGIApplication:
    """Django's own application, whose sync code has a bounded pool of threads (``RACEWAY["VIEW_THREADS"]``).

    By itself Django starts a thread for each request, and one more to end it, also for an ``async def`` view: that
    is half of what such a view costs.
    """
    django = cast(ASGIApplication, get_django_application())

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        enter_threads(view_pool)  # never left: a task that a view leaves behind may go on using the database
        await django(scope, receive, send)

    return serve


class StaticFiles(RacewayApplication):
    """Serve static files before ``application``, as ``django.contrib.staticfiles`` does, if ``serve`` and it can.

    The outermost one decides: those inside it, such as that of ``get_application``, serve none by themselves.
    """

    def __init__(self, application: ASGIApplication, *, serve: bool) -> None:
        self.application = self._http = application
        if serve and settings.STATIC_URL and apps.is_installed("django.contrib.staticfiles"):
            from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

            self._http = cast(ASGIApplication, ASGIStaticFilesHandler(cast(ASGIHandler, application)))

    def raceway_begin(
        self, scope: Scope, receive: Receive, send: Send, prepares: tuple[Prepare, ...] = ()
    ) -> Awaitable[None]:
        if scope["type"] != "http" or STATIC_FILES_DECIDED in scope:
            return begin(self.application, scope, receive, send, prepares)
        return begin(self._http, {**scope, STATIC_FILES_DECIDED: True}, receive, send, prepares)
