"""A real Chromium, and the documents demo as a real process."""

from __future__ import annotations

import contextlib
import copy
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from tests.conftest import CHROMIUM

DEMO = Path(__file__).parents[2] / "examples/documents"
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# Playwright's sync API holds an event loop of its own: it ends with its module, before an async test begins.
@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browsers(playwright: Playwright) -> Iterator[list[Browser]]:
    """Two Chromiums, each with a fresh profile."""
    pair = [playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS) for _ in range(2)]
    yield pair
    for browser in pair:
        browser.close()


@pytest.fixture
def browser(browsers: list[Browser]) -> Iterator[Browser]:
    yield browsers[0]
    close_windows(browsers[0])


@pytest.fixture
def other_browser(browsers: list[Browser]) -> Iterator[Browser]:
    yield browsers[1]
    close_windows(browsers[1])


def close_windows(browser: Browser) -> None:
    for context in list(browser.contexts):
        context.close()


class Demo:
    """The documents demo, served by processes that can be killed and started again on their port.

    ``workers``: how many; with one there is no supervisor. ``grace_s``: how long somebody may be away unnoticed.
    """

    def __init__(self, folder: Path, workers: int, grace_s: float) -> None:
        self.log = folder / "log"
        self.workers = workers
        self.grace_s = grace_s
        self.env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DEMO_DATABASE": str(folder / "db.sqlite3"),
            "DEMO_GRACE_S": str(grace_s),
            "PYTHONUNBUFFERED": "1",
            # One broker for each demo; the path of a Unix socket is short, which pytest's folders are not.
            "TMPDIR": tempfile.mkdtemp(prefix="rw-demo-"),
        }
        self._kept = str(folder / "kept.sqlite3")
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def keep(self) -> None:
        """Remember the database as it is now."""
        self._copy(self.env["DEMO_DATABASE"], self._kept)

    def restore(self) -> None:
        """Make the database what it was, whoever has it open."""
        self._copy(self._kept, self.env["DEMO_DATABASE"])

    @staticmethod
    def _copy(source: str, target: str) -> None:
        with (
            contextlib.closing(sqlite3.connect(source)) as old,
            contextlib.closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)

    def manage(self, *arguments: str) -> None:
        """Run a command in a process of its own."""
        subprocess.run([sys.executable, "manage.py", *arguments], cwd=DEMO, env=self.env, check=True)

    def shell(self, code: str) -> None:
        """Run Python in a process of its own, with ``Document`` and ``User``."""
        names = "from django.contrib.auth.models import User; from documents.models import Document"
        self.manage("shell", "--verbosity", "0", "-c", f"{names}\n{code}")

    def start(self, timeout_s: float = 30) -> None:
        command = [sys.executable, "-m", "raceway", "serve", "config.asgi:application"]
        command += ["--port", str(self.port)]
        if self.workers > 1:
            command += ["--workers", str(self.workers)]
        with self.log.open("ab") as log:
            begin = log.tell()
            self.process = subprocess.Popen(command, cwd=DEMO, env=self.env, stdout=log, stderr=log)
        deadline = time.monotonic() + timeout_s
        while (address := re.search(r"http://127\.0\.0\.1:(\d+)", self.log.read_text()[begin:])) is None:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        self.port = int(address[1])

    def worker_pids(self) -> list[int]:
        """The processes of the supervisor (Linux)."""
        if self.process is None or self.process.poll() is not None:
            return []
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def kill_worker(self, pid: int, timeout_s: float = 30) -> None:
        """Kill a worker, and wait until another one has taken its place."""
        before = self.worker_pids()
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + timeout_s
        while len(set(self.worker_pids()) - {pid}) < len(before):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the server with all its processes."""
        if self.process is None:
            return
        pids = self.worker_pids()
        self.process.kill()
        self.process.wait()
        self.process = None
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def beside(self) -> Demo:
        """One more server of the same project, on a port of its own."""
        other = copy.copy(self)
        other.log = self.log.with_name("log-beside")
        other.port, other.process = 0, None
        other.start()
        return other

    def clear(self) -> None:
        self.kill()
        shutil.rmtree(self.env["TMPDIR"], ignore_errors=True)


class Demos:
    """Demos to choose from; each is started once."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._demos: dict[tuple[int, float], Demo] = {}

    def __call__(self, workers: int = 1, grace_s: float = 2) -> Demo:
        demo = self._demos.get((workers, grace_s))
        if demo is None:
            demo = self._demos[workers, grace_s] = Demo(self._folders.mktemp("demo"), workers, grace_s)
            demo.manage("migrate", "--verbosity", "0")
            demo.manage("seed")
            demo.keep()
        if demo.process is None:
            demo.start()
        return demo

    def restore(self) -> None:
        for demo in self._demos.values():
            demo.restore()

    def clear(self) -> None:
        for demo in self._demos.values():
            demo.clear()
            print(demo.log.read_text())  # pytest shows it if the test failed

    def logs(self) -> str:
        return "".join(demo.log.read_text() for demo in self._demos.values())


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demos]:
    demos = Demos(tmp_path_factory)
    yield demos
    demos.clear()
    assert "Traceback" not in demos.logs()


@pytest.fixture
def demo(demos: Demos) -> Demo:
    return demos()
