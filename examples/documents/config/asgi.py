import os

from raceway.asgi import get_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# HTTP goes to Django's views. WebSockets go to config/routing.py, their origin checked, their user known.
application = get_application()
