"""The first generation's test kit in a project's own tests, with Django's test runner and SQLite in memory."""

from __future__ import annotations

import re

import pytest

from tests.testing.test_projects import run

pytestmark = pytest.mark.topology

PROJECT = "tests.messaging.kit"


def test_with_djangos_runner() -> None:
    settings = f"--settings={PROJECT}.settings"
    ran = run("-W", "error", "-m", "django", "test", settings, "-p", "django_tests.py", PROJECT)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"Ran 10 tests.*OK", ran.stderr, re.DOTALL), ran.stderr
