import atexit
import os
import shutil
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
    "raceway.layers.postgres",
]
ROOT_URLCONF = "tests.project.urls"
STATIC_URL = "static/"

FOLDER = tempfile.mkdtemp(prefix="raceway-tests-")


def _remove_folder(process):
    if os.getpid() == process:  # and not a fork of it
        shutil.rmtree(FOLDER, ignore_errors=True)


atexit.register(_remove_folder, os.getpid())

# A file, not memory: handlers use it from threads of their own.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(FOLDER, "db.sqlite3"),
    }
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
