"""What ``startproject`` writes: no WebSockets."""

from django.core.asgi import get_asgi_application

application = get_asgi_application()
