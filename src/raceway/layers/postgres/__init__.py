"""The layer over PostgreSQL, and the Django app that makes its tables."""

from raceway.layers.postgres.layer import PostgresLayer

__all__ = ["PostgresLayer"]
