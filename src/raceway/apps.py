"""Raceway as a Django app."""

from __future__ import annotations

from django.apps import AppConfig, apps


class RacewayConfig(AppConfig):
    """``INSTALLED_APPS = ["raceway", ...]``: system checks, and ``runserver`` on our server."""

    name = "raceway"
    verbose_name = "Raceway"

    def ready(self) -> None:
        from raceway import checks  # noqa: F401  it registers them

        if apps.is_installed("django.contrib.auth"):
            from raceway import auth  # noqa: F401  whoever logs out anywhere closes the sockets of the session
