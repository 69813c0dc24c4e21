"""Settings as ``startproject`` makes them; what differs between contenders comes from the environment."""

import os
from importlib.util import find_spec

from benchmarks.servers import BUILD

RACEWAY_IS_HERE = find_spec("raceway") is not None  # Channels has environments of its own

SECRET_KEY = "a key for benchmarks"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
ASGI_APPLICATION = (
    f"benchmarks.project.on_{'raceway' if RACEWAY_IS_HERE else 'channels'}.working"  # runworker's
)
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

REDIS = [f"redis://127.0.0.1:{os.environ.get('BENCHMARKS_REDIS_PORT')}"]
if postgres_port := os.environ.get("BENCHMARKS_POSTGRES_PORT"):
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "postgres",
            "HOST": "127.0.0.1",
            "PORT": postgres_port,
        }
    }
    INSTALLED_APPS.append("raceway.layers.postgres")
else:
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BUILD / "project.sqlite3"}}

LAYERS = {
    "memory": ("raceway.layers.memory.MemoryLayer", {}),
    "local": ("raceway.layers.local.LocalLayer", {"path": os.environ.get("BENCHMARKS_LOCAL_PATH")}),
    "redis": ("raceway.layers.redis.RedisLayer", {"hosts": REDIS}),
    "postgres": ("raceway.layers.postgres.PostgresLayer", {}),
    "channels pub/sub": ("channels_redis.pubsub.RedisPubSubChannelLayer", {"hosts": REDIS}),
    "channels core": ("channels_redis.core.RedisChannelLayer", {"hosts": REDIS}),
}
if not RACEWAY_IS_HERE:
    LAYERS["memory"] = ("channels.layers.InMemoryChannelLayer", {})

backend, config = LAYERS[os.environ.get("BENCHMARKS_LAYER", "memory")]
if capacity := os.environ.get("BENCHMARKS_CAPACITY"):
    config["capacity"] = int(capacity)
CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}
