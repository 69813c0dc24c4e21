"""The PostgreSQL layer as a Django app, for its migrations."""

from __future__ import annotations

from django.apps import AppConfig


class PostgresLayerConfig(AppConfig):
    """``INSTALLED_APPS = [..., "raceway.layers.postgres"]``: the tables of the layer, and its system checks."""

    name = "raceway.layers.postgres"
    label = "raceway_postgres"
    verbose_name = "Raceway's PostgreSQL layer"

    def ready(self) -> None:
        from raceway.layers.postgres import checks  # noqa: F401  it registers them
