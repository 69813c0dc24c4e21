import os

from django.urls import path, re_path
from raceway.asgi import get_application
from raceway.routing import ProtocolTypeRouter, URLRouter

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

project = get_application()  # sets Django up, which the next imports need

from raceway.auth import AuthMiddlewareStack  # noqa: E402

from orders.streams import KitchenStream, NextOrder  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": URLRouter(
            [
                path("kitchen/stream/", AuthMiddlewareStack(KitchenStream.as_asgi())),
                path("kitchen/next/", NextOrder.as_asgi()),
                re_path(r"", project),
            ]
        ),
        "websocket": project,
        "channel": project,
    }
)
