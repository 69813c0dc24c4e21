"""Which consumer speaks on which WebSocket path: to sockets what urls.py is to pages."""

from django.urls import path

from documents.consumers import StatusConsumer

status = StatusConsumer.as_asgi()

websocket_urlpatterns = [
    path("status/", status),
    path("status/<slug:document>/read/", status, {"phase": "read"}),
    path("status/<slug:document>/write/", status, {"phase": "write"}),
]
