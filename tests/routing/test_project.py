from __future__ import annotations

import pytest
from django.test import override_settings

import tests.project  # noqa: F401  Django's settings
from raceway.errors import ConfigurationError
from raceway.routing import get_default_application
from tests.routing.calls import note


def test_the_setting_names_the_application() -> None:
    with override_settings(ASGI_APPLICATION="tests.routing.calls.note"):
        assert get_default_application() is note


@pytest.mark.parametrize(
    ("name", "expected"),
    [(None, "is not set"), ("tests.routing.calls.nothing", "calls.nothing"), ("nowhere.app", "nowhere")],
)
def test_a_wrong_name_is_told(name: str | None, expected: str) -> None:
    with override_settings(ASGI_APPLICATION=name), pytest.raises(ConfigurationError, match=expected):
        get_default_application()
