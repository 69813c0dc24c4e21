"""The project's application, with HTTP consumers and another framework beside Django."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.interop.project.settings")

from django.urls import path, re_path
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from raceway.asgi import get_application
from raceway.routing import Mount, ProtocolTypeRouter, URLRouter


async def address(request):
    return PlainTextResponse(str(request.url_for("address", name=request.path_params["name"]).path))


async def greet(websocket):
    await websocket.accept()
    await websocket.send_text(f"hello {websocket.path_params['name']}")
    await websocket.close()


starlette = Starlette(
    routes=[Route("/who/{name}", address, name="address"), WebSocketRoute("/greet/{name}", greet)]
)

project = get_application().application_mapping

from tests.interop.project import consumers  # noqa: E402  after Django's set-up

http = [
    path("http/", consumers.HttpEcho.as_asgi()),
    path("poll/", consumers.LongPoll.as_asgi()),
    path("events/", consumers.Events.as_asgi()),
    path("starlette/", Mount(starlette)),
    re_path("", project["http"]),
]
websocket = [path("starlette/", Mount(starlette)), re_path("", project["websocket"])]

application = ProtocolTypeRouter({"http": URLRouter(http), "websocket": URLRouter(websocket)})
