"""What a project can tell the layer, and what it is told if that cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import override_settings

from raceway.errors import ConfigurationError, InvalidChannelLayerError
from raceway.layers import channel_layers
from raceway.layers.postgres import PostgresLayer
from raceway.layers.postgres.checks import check_listening
from raceway.layers.postgres.connecting import Place
from tests.servers.postgres import Database

BACKEND = "raceway.layers.postgres.PostgresLayer"
PASSWORD = "planetexpress"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"using": "nowhere"}, "using='nowhere' is no alias of DATABASES"),
        ({"using": "default"}, "using='default' is a database of sqlite, not of PostgreSQL"),
        ({"lease_s": 0}, "lease_s is a number above 0"),
        ({"expiry": -1}, "expiry is a number above 0"),
        ({"prefix": "a b"}, "prefix name must be"),
        ({"listen_dns": ""}, "has no option 'listen_dns': did you mean 'listen_dsn'"),
    ],
)
def test_an_option_that_cannot_be_is_named(database: Database, options: dict[str, Any], said: str) -> None:
    given = {"using": database.alias, **options}
    with (
        override_settings(CHANNEL_LAYERS={"default": {"BACKEND": BACKEND, "CONFIG": given}}),
        pytest.raises(InvalidChannelLayerError, match=said),
    ):
        channel_layers["default"]


def test_a_connection_string_that_is_none_is_not_repeated(database: Database) -> None:
    with pytest.raises(ConfigurationError, match="listen_dsn is no connection string") as caught:
        PostgresLayer(using=database.alias, listen_dsn=f"postgres:{PASSWORD}@/nowhere")
    assert PASSWORD not in str(caught.value)


def test_without_its_app_it_has_no_tables(database: Database) -> None:
    apps = [app for app in settings.INSTALLED_APPS if app != "raceway.layers.postgres"]
    with (
        override_settings(INSTALLED_APPS=apps),
        pytest.raises(ConfigurationError, match="INSTALLED_APPS lacks"),
    ):
        PostgresLayer(using=database.alias)


def test_behind_a_pooler_a_check_asks_for_a_way_to_listen(database: Database) -> None:
    pooled = Database(database.server, DISABLE_SERVER_SIDE_CURSORS=True)
    layers = {
        "direct": {"BACKEND": BACKEND, "CONFIG": {"using": database.alias}},
        "pooled": {"BACKEND": BACKEND, "CONFIG": {"using": pooled.alias}},
        "around": {"BACKEND": BACKEND, "CONFIG": {"using": pooled.alias, "listen_dsn": "host=127.0.0.1"}},
        "wrong": {"BACKEND": BACKEND, "CONFIG": {"using": "nowhere"}},
        "other": {"BACKEND": "raceway.layers.memory.MemoryLayer"},
    }
    with override_settings(CHANNEL_LAYERS=layers):
        [warning] = check_listening()
    assert warning.id == "raceway.W008"
    assert "'pooled'" in warning.msg


def test_connections_are_named_and_prepare_nothing(database: Database) -> None:
    place = Place(database.alias, "postgresql://fry@localhost/direct")
    writer, listener = place.parameters("writer"), place.parameters("listener", listens=True)
    assert (writer["dbname"], listener["dbname"]) == (database.name, "direct")
    assert listener["user"] == "fry"
    for parameters, name in ((writer, "writer"), (listener, "listener")):
        assert parameters["application_name"] == f"raceway {name}"
        assert parameters["prepare_threshold"] is None
        assert parameters["autocommit"] is True


def test_the_migration_can_be_taken_back_and_leaves_other_databases_alone(database: Database) -> None:
    own = Database(database.server)
    tables = "SELECT count(*) FROM pg_class WHERE relname LIKE 'raceway%%' AND relkind = 'r'"
    assert own.run(tables)[0][0] > 5
    call_command("migrate", "raceway_postgres", "zero", database=own.alias, verbosity=0)
    assert own.run(tables) == [(0,)]
    call_command("migrate", "raceway_postgres", database="default", verbosity=0)
    call_command("migrate", "raceway_postgres", "zero", database="default", verbosity=0)
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
