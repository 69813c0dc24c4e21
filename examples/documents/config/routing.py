"""Which consumer speaks on which WebSocket path: to sockets what urls.py is to pages."""

from django.urls import path

from documents.consumers import UserCounterConsumer

websocket_urlpatterns = [
    path("status/users/", UserCounterConsumer.as_asgi()),
]
