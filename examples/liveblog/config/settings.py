"""Settings of the liveblog: what `django-admin startproject` makes, plus "raceway" and the app."""

from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

# An example on your own machine. A public site reads its key from elsewhere, and has DEBUG off.
SECRET_KEY = "the liveblog has no secrets"
DEBUG = True
ALLOWED_HOSTS = []

INSTALLED_APPS = [
    "raceway",
    "blog",
    "django.contrib.contenttypes",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = "static/"
TIME_ZONE = "UTC"
USE_TZ = True
