"""Applications that are put together by hand, as projects have them that come from Channels."""

from django.test import override_settings
from django.urls import path

from raceway.asgi import get_application, get_asgi_application
from raceway.auth import AuthMiddlewareStack
from raceway.origin import AllowedHostsOriginValidator
from raceway.routing import ProtocolTypeRouter, URLRouter


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def function(scope, receive, send):
    """A router of somebody else."""


router = URLRouter([path("echo/", echo)])
mapped = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": router})
wrapped = ProtocolTypeRouter({"websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(router))})
nested = ProtocolTypeRouter({"websocket": mapped})

http_only = ProtocolTypeRouter({"http": get_asgi_application()})
with override_settings(ROOT_URLCONF="tests.project.silent.urls"):
    made = get_application()
