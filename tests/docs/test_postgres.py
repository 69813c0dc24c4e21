"""What the how-to about PostgreSQL says: its settings make the layers that it speaks of."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import pytest
from django.db import connections
from django.utils.module_loading import import_string

from raceway.layers.postgres import PostgresLayer
from tests.docs.blocks import DOCS
from tests.servers.postgres import add_alias

FILES = ["docs/snippets/postgres/layers.py"]


@pytest.fixture
def snippet(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(DOCS / "snippets/postgres"))
    yield import_module("layers")
    del sys.modules["layers"]


@pytest.fixture
def alias() -> Any:
    """A database that nobody connects to."""
    settings = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "shop",
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }
    add_alias("shop", settings)
    yield "shop"
    del connections["shop"]
    del connections.databases["shop"]


@pytest.mark.parametrize(("setting", "listens"), [("CHANNEL_LAYERS", False), ("BEHIND_A_POOLER", True)])
def test_a_setting_makes_a_layer(snippet: Any, alias: str, setting: str, listens: bool) -> None:
    config = getattr(snippet, setting)["default"]
    layer = import_string(config["BACKEND"])(**{**config["CONFIG"], "using": alias})
    assert isinstance(layer, PostgresLayer)
    assert layer.place.can_listen is listens


def test_its_app_brings_the_tables(snippet: Any) -> None:
    config = import_string("raceway.layers.postgres.apps.PostgresLayerConfig")
    assert config.name in snippet.INSTALLED_APPS
