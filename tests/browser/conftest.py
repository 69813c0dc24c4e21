"""A real Chromium, and the documents demo as a real process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
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
    """The documents demo, served by a process that can be killed and started again on its port."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DEMO_DATABASE": str(folder / "db.sqlite3"),
            "PYTHONUNBUFFERED": "1",
        }
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def manage(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "manage.py", *arguments], cwd=DEMO, env=self.env, check=True)

    def start(self, timeout_s: float = 30) -> None:
        command = [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{self.port}"]
        with self.log.open("ab") as log:
            begin = log.tell()
            self.process = subprocess.Popen(command, cwd=DEMO, env=self.env, stdout=log, stderr=log)
        deadline = time.monotonic() + timeout_s
        while (address := re.search(r"http://127\.0\.0\.1:(\d+)", self.log.read_text()[begin:])) is None:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        self.port = int(address[1])

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    demo = Demo(tmp_path_factory.mktemp("demo"))
    demo.manage("migrate", "--verbosity", "0")
    demo.manage("seed")
    demo.start()
    yield demo
    demo.kill()
    print(demo.log.read_text())  # pytest shows it if the test failed
    assert "Traceback" not in demo.log.read_text()
