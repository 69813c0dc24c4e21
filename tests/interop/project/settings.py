import json
import os

SECRET_KEY = "a key for tests"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
INSTALLED_APPS = ["raceway", "django.contrib.sessions"]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
ROOT_URLCONF = "tests.interop.project.urls"
RACEWAY = {"ALLOW_MISSING_ORIGIN": True}
if "INTEROP_DATABASE" in os.environ:  # the PostgreSQL layer's
    INSTALLED_APPS.append("raceway.layers.postgres")
    DATABASES = {"default": json.loads(os.environ["INTEROP_DATABASE"])}
CHANNEL_LAYERS = {
    "default": json.loads(os.environ.get("INTEROP_LAYER", '{"BACKEND": "raceway.layers.memory.MemoryLayer"}'))
}
