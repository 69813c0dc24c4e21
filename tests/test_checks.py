from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.test import override_settings

import tests.project  # noqa: F401  Django's settings

AUTH = ["django.contrib.auth", "django.contrib.contenttypes"]
"""Their own checks, once registered, cannot do without them."""


def found(**settings: Any) -> dict[str, str]:
    """Our checks' findings under these settings: hint by id."""
    with override_settings(**settings):
        messages = run_checks(app_configs=apps.get_app_configs())
    ours = [message for message in messages if str(message.id).startswith("raceway.")]
    assert all(message.hint for message in ours)
    return {str(message.id): f"{message.msg} {message.hint}" for message in ours}


def test_a_good_project_has_none() -> None:
    assert found() == {}


@pytest.mark.parametrize(
    ("settings", "check", "says"),
    [
        (
            {"INSTALLED_APPS": [*AUTH, "django.contrib.staticfiles", "raceway"]},
            "raceway.E001",
            'Put "raceway" first',
        ),
        ({"RACEWAY": {"ROUTNG": ""}}, "raceway.E002", "did you mean 'ROUTING'"),
        ({"RACEWAY": {"ROUTING": "tests.nowhere"}}, "raceway.E003", "'tests.nowhere', which is not there"),
        ({"RACEWAY": {"ROUTING": "tests.project.urls"}}, "raceway.E003", "no websocket_urlpatterns"),
        (
            {"ROOT_URLCONF": "tests.project.silent.urls"},
            "raceway.W001",
            "There is no module tests.project.silent.routing",
        ),
        (
            {"CHANNEL_LAYERS": {"default": {"BACKEND": "nowhere.Layer"}}},
            "raceway.E004",
            "cannot be imported",
        ),
    ],
)
def test_what_is_wrong_is_named(settings: dict[str, Any], check: str, says: str) -> None:
    problems = found(**settings)
    assert list(problems) == [check]
    assert says in problems[check]


def test_raceway_before_or_without_staticfiles() -> None:
    assert found(INSTALLED_APPS=["raceway", *AUTH]) == {}
    assert found(INSTALLED_APPS=["raceway", *AUTH, "django.contrib.staticfiles"]) == {}
