"""Settings of the documents demo: what `django-admin startproject` makes, plus "raceway" and the app."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

# A demo on your own machine. A public site reads its key from elsewhere, and has DEBUG off.
SECRET_KEY = "the demo has no secrets"
DEBUG = True
ALLOWED_HOSTS = []

INSTALLED_APPS = [
    "raceway",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "documents",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DEMO_DATABASE", BASE_DIR / "db.sqlite3"),
        # Four processes share the file: readers go on while one writes, and who wants to write waits for it.
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Nobody leaves by going from one page to the next: who is back within these seconds was always there.
RACEWAY = {"PRESENCE_GRACE_S": float(os.environ.get("DEMO_GRACE_S", 5))}

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "list"
LOGOUT_REDIRECT_URL = "login"

STATIC_URL = "static/"
TIME_ZONE = "UTC"
USE_TZ = True
