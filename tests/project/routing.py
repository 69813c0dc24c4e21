from django.urls import path

from tests.project.consumers import Echo, Whoami

websocket_urlpatterns = [
    path("echo/", Echo.as_asgi()),
    path("whoami/", Whoami.as_asgi()),
]
