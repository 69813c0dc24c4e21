"""Settings as ``startproject`` makes them; what differs between contenders comes from the environment."""

import os
from importlib.util import find_spec

from benchmarks.servers import BUILD

RACEWAY_IS_HERE = find_spec("raceway") is not None  # Channels has environments of its own

SECRET_KEY = "a key for benchmarks"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
ROOT_URLCONF = "benchmarks.project.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "raceway" if RACEWAY_IS_HERE else "channels",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
]
MIDDLEWARE: list[str] = []
if os.environ.get("BENCHMARKS_MIDDLEWARE") == "usual":
    MIDDLEWARE = [
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ]

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BUILD / "project.sqlite3"}}

if RACEWAY_IS_HERE:
    CHANNEL_LAYERS = {"default": {"BACKEND": "raceway.layers.memory.MemoryLayer"}}
    if os.environ.get("BENCHMARKS_LAYER") == "local":
        CHANNEL_LAYERS = {"default": {"BACKEND": "raceway.layers.local.LocalLayer"}}
elif redis_port := os.environ.get("BENCHMARKS_REDIS_PORT"):
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [f"redis://127.0.0.1:{redis_port}"]},
        }
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
