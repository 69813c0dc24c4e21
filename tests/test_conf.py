from __future__ import annotations

import pytest
from django.test import override_settings

import tests.project  # noqa: F401  Django's settings
from raceway.conf import did_you_mean, django_setting, get_settings
from raceway.errors import ConfigurationError


def test_defaults_and_changes() -> None:
    assert get_settings().allow_missing_origin is False
    with override_settings(RACEWAY={"ALLOW_MISSING_ORIGIN": True, "SYNC_THREADS": 5}):
        assert get_settings().allow_missing_origin is True
        assert get_settings().sync_threads == 5
    assert get_settings().allow_missing_origin is False


def test_an_unknown_name_is_named_with_the_right_one() -> None:
    with (
        override_settings(RACEWAY={"ROUTNG": "x"}),
        pytest.raises(ConfigurationError, match="no setting 'ROUTNG': did you mean 'ROUTING'"),
    ):
        get_settings()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"SYNC_THREADS": 0}, r"RACEWAY\['SYNC_THREADS'\] is a number of at least 1, not 0"),
        ({"SYNC_THREADS": 2.5}, "at least 1, not 2.5"),
        ({"SYNC_THREADS": True}, "at least 1, not True"),
        ({"DISCONNECT_GRACE_S": "2"}, "is a number of seconds, not '2'"),
        ({"PRESENCE_GRACE_S": -1}, "is a number of seconds, not -1"),
        ({"ALLOW_MISSING_ORIGIN": "no"}, "is True or False, not 'no'"),
        ({"ROUTING": ["project.routing"]}, "is the name of a module, not"),
        ({"TICKET_CACHE": None}, "is an alias of CACHES, not None"),
    ],
)
def test_a_value_that_cannot_be(setting: dict[str, object], says: str) -> None:
    with override_settings(RACEWAY=setting), pytest.raises(ConfigurationError, match=says):
        get_settings()


def test_did_you_mean() -> None:
    assert did_you_mean("capasity", ["expiry", "capacity"]) == ": did you mean 'capacity'?"
    assert did_you_mean("xyz", ["b", "a"]) == ": it can be 'a', 'b'."
    assert did_you_mean("xyz", []) == "."


def test_a_setting_that_is_missing() -> None:
    assert django_setting("NO_SUCH_SETTING", 3) == 3
