"""Settings of the project that the how-tos are taken from."""

import os

SECRET_KEY = "the snippets have no secrets"
DEBUG = True

INSTALLED_APPS = [
    "raceway",
    "orders",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.common.CommonMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SNIPPETS_DATABASE", ":memory:"),
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = "static/"
USE_TZ = True

RACEWAY = {
    "ALLOW_MISSING_ORIGIN": True,
}

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "raceway.layers.local.LocalLayer",
        "CONFIG": {
            "capacity": 100,
            "channel_capacity": {"thumbnails": 1000},
            "expiry": 60,
        },
    },
}
