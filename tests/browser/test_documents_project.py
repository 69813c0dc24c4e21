"""The documents demo is a project of its own, with tests of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.browser.conftest import DEMO

pytestmark = pytest.mark.topology


def manage(*arguments: str) -> None:
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    command = [sys.executable, "-W", "error", "manage.py", *arguments]
    done = subprocess.run(command, cwd=DEMO, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_own_tests() -> None:
    manage("test", "--verbosity", "0")


def test_its_migrations_are_complete() -> None:
    manage("makemigrations", "--check", "--dry-run")


def test_its_checks() -> None:
    manage("check", "--fail-level", "WARNING")
