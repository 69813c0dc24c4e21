import os
import tempfile

SECRET_KEY = "a key for tests"
DEBUG = False
ALLOWED_HOSTS = ["testserver", ".example.com"]
USE_TZ = True

INSTALLED_APPS = [
    "raceway",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]
ROOT_URLCONF = "tests.project.urls"
STATIC_URL = "static/"

# A file, not memory: handlers use it from threads of their own.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(tempfile.mkdtemp(prefix="raceway-tests-"), "db.sqlite3"),
    }
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
