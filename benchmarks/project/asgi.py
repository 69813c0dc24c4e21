"""Django's own ASGI application, for any server."""

from django.core.asgi import get_asgi_application

view = get_asgi_application()
