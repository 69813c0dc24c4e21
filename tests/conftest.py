"""Sort the tests into rings, and end each run by naming what it did not try."""

from __future__ import annotations

import inspect
import os
import platform
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import django
import pytest

HERE = Path(__file__).parent
RINGS = ("pure", "shell", "topology", "browser")
RING_OF_FOLDER = {"server": "shell", "topology": "topology", "interop": "topology", "browser": "browser"}

CHROMIUM = Path("/usr/bin/chromium")

SUPPORTED = [
    *((python, "5.2") for python in ("3.11", "3.12", "3.13", "3.14")),
    *((python, "6") for python in ("3.12", "3.13", "3.14")),
]


def ring_of(item: pytest.Item) -> str:
    """The ring of a test: its own mark, else its folder's ring, else whether it needs an event loop."""
    for ring in RINGS:
        if item.get_closest_marker(ring):
            return ring
    folder = item.path.relative_to(HERE).parts[0]
    if folder in RING_OF_FOLDER:
        return RING_OF_FOLDER[folder]
    return "shell" if inspect.iscoroutinefunction(getattr(item, "function", None)) else "pure"


def why_not(ring: str) -> str | None:
    """Why this machine cannot run a ring, or ``None``."""
    if ring == "browser" and not os.access(CHROMIUM, os.X_OK):
        return f"{CHROMIUM} is missing (on Debian, as root: apt-get install chromium)"
    return None


_sockets = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Processes that tests start find a temporary directory of this run, so that runs side by side do not meet on one
    broker. It is short: so are the paths of Unix sockets. This process keeps its own."""
    tempfile.gettempdir()  # remembered by tempfile from now on
    os.environ["TMPDIR"] = config.stash[_sockets] = tempfile.mkdtemp(prefix="rw-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if _sockets in config.stash:
        shutil.rmtree(config.stash[_sockets], ignore_errors=True)


@pytest.fixture
def broker_path() -> Iterator[Path]:
    """Where a broker may be: in a folder of its own with a short name, which pytest's folders have not."""
    with tempfile.TemporaryDirectory(prefix="rw-") as folder:
        yield Path(folder, "broker")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        ring = ring_of(item)
        item.add_marker(ring)
        item.user_properties.append(("ring", ring))
        reason = why_not(ring)
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


def tried_pair() -> tuple[str, str]:
    python = ".".join(platform.python_version_tuple()[:2])
    major, minor = django.VERSION[:2]
    return python, "5.2" if (major, minor) == (5, 2) else str(major)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [r for group in terminalreporter.stats.values() for r in group if hasattr(r, "longrepr")]
    rings = {r.nodeid: dict(r.user_properties)["ring"] for r in reports if isinstance(r, pytest.TestReport)}
    skips = {
        r.nodeid: r.longrepr[2].removeprefix("Skipped: ") for r in reports if isinstance(r.longrepr, tuple)
    }
    ran = Counter(ring for test, ring in rings.items() if test not in skips)

    say = terminalreporter.write_line
    terminalreporter.section("rings")
    for ring in RINGS:
        if ran[ring]:
            say(f"ring run: {ring}, {ran[ring]} tests")
        else:
            reasons = {reason for test, reason in skips.items() if rings.get(test) == ring}
            say(f"ring not run: {ring}, because {'; '.join(reasons) or 'no test of it was selected'}")
    for test, reason in sorted(skips.items()):
        if ran[rings.get(test)] or test not in rings:
            say(f"test not run: {test}, because {reason}")

    tried = tried_pair()
    say(f"tried: Python {platform.python_version()} with Django {django.get_version()}")
    missed = [
        f"Python {python} with Django {version}"
        for python, version in SUPPORTED
        if (python, version) != tried
    ]
    say(f"not tried: {', '.join(missed)}")
