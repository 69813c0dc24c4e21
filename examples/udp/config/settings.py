"""Settings of the UDP example. Channels are carried by the default layer, which reaches all processes of a machine."""

# An example on your own machine. A public site reads its key from elsewhere, and has DEBUG off.
SECRET_KEY = "the lines have no secrets"
DEBUG = True
ALLOWED_HOSTS = []

INSTALLED_APPS = ["raceway", "lines"]
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
DATABASES = {}
USE_TZ = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"lines": {"handlers": ["console"], "level": "INFO"}},
}
