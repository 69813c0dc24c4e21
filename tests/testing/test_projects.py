"""The kit in a project's own tests: with Django's test runner, and with pytest-django and pytest-asyncio.

Each is a process of its own, since each wants to set Django up, and to make the database, itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = "tests.testing.project"
DEADLINE_S = 120

pytestmark = pytest.mark.topology


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def run_django(pattern: str) -> subprocess.CompletedProcess[str]:
    return run(
        "-W", "error", "-m", "django", "test", f"--settings={PROJECT}.settings", "-p", pattern, PROJECT
    )


def run_pytest(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run("-m", "pytest", "-p", "no:cacheprovider", *arguments)


def test_with_djangos_runner() -> None:
    """Async and plain tests in TestCase, TransactionTestCase and a live server, with SQLite in memory."""
    ran = run_django("django_tests.py")
    assert ran.returncode == 0, ran.stderr
    assert "OK" in ran.stderr


def test_what_fails_says_why() -> None:
    ran = run_django("failing_tests.py")
    assert ran.returncode != 0
    assert "ZeroDivisionError: in the consumer" in ran.stderr
    assert "Host 'no.such.host.invalid' has no address" in ran.stderr
    assert "LookupError: at the end" in ran.stderr
    assert "FAILED (failures=1, errors=3)" in ran.stderr
    assert 'socket.expect_json({"user": "leela"})' in ran.stderr
    assert "raceway/testing" not in ran.stderr.partition("expect_json")[2].partition("AssertionError")[0]


def test_with_pytest() -> None:
    ran = run_pytest("-c", "tests/testing/project/pytest.ini", "tests/testing/project")
    assert ran.returncode == 0, ran.stdout
    assert "18 passed" in ran.stdout


def test_without_django(tmp_path: Path) -> None:
    """The plugin is there, and imports nothing of Django's."""
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it(request):\n"
        "    assert request.config.pluginmanager.has_plugin('raceway')\n"
        "    assert 'django' not in sys.modules\n"
    )
    ran = run_pytest("-c", "/dev/null", "-p", "no:django", "--rootdir", str(tmp_path), str(tmp_path))
    assert ran.returncode == 0, ran.stdout
