"""Raceway as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class RacewayConfig(AppConfig):
    """``INSTALLED_APPS = ["raceway", ...]``: system checks, and ``runserver`` on our server."""

    name = "raceway"
    verbose_name = "Raceway"

    def ready(self) -> None:
        from raceway import checks  # noqa: F401  it registers them
