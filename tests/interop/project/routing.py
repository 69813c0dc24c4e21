from django.urls import path

from raceway.routing import URLRouter
from tests.interop.project import consumers

websocket_urlpatterns = [
    path("echo/", consumers.Echo.as_asgi()),
    path("room/", consumers.Room.as_asgi()),
    path("sync/", consumers.SyncRoom.as_asgi()),
    path("watch/", consumers.Watcher.as_asgi()),
    path("remembered/", consumers.Remembering.as_asgi()),
    path("refused/", consumers.Refusing.as_asgi()),
    path("function/<slug:name>/", consumers.function),
    path("nested/", URLRouter([path("echo/", consumers.Echo.as_asgi())])),
]
