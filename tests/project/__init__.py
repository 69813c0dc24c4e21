"""A Django project for the tests that need one: importing this sets it up."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.project.settings")
django.setup()
