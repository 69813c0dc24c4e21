from django.urls import re_path

from chat.consumers import Chat

websocket_urlpatterns = [
    re_path(r"^chat/(?P<room>[a-zA-Z0-9_-]{1,50})/$", Chat.as_asgi()),
]
