"""The layer over PostgreSQL, and the Django app that makes its tables."""

from importlib.util import find_spec

if find_spec("psycopg") is None:
    raise ImportError('the PostgreSQL layer needs psycopg: pip install "raceway[postgres]"')

from raceway.layers.postgres.layer import PostgresLayer

__all__ = ["PostgresLayer"]
