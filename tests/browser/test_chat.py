"""The chat of the tutorial, as two visitors see it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.docs.serving import runserver

EXAMPLE = Path(__file__).parents[2] / "examples/chat"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    ignore = shutil.ignore_patterns("*.sqlite3", "__pycache__")
    folder = shutil.copytree(EXAMPLE, tmp_path / "chat", ignore=ignore)
    with runserver(folder, "config.settings") as port:
        yield f"http://127.0.0.1:{port}/"


def visit(browser: Browser, url: str) -> Page:
    page = browser.new_context().new_page()
    page.goto(url)
    expect(page.locator("#state")).to_have_text("open")
    return page


def say(page: Page, name: str, text: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Send").click()


def test_what_one_visitor_says_the_other_sees(browser: Browser, other_browser: Browser, url: str) -> None:
    leela, fry = visit(browser, url), visit(other_browser, url)
    expect(leela.get_by_role("heading", name="lobby")).to_be_visible()
    say(leela, "Leela", "Good news, everyone")
    say(fry, "Fry", "<b>What</b> is it?")
    for page in (leela, fry):
        expect(page.locator("#messages li")).to_have_text(
            ["Leela Good news, everyone", "Fry <b>What</b> is it?"]
        )
    expect(leela.get_by_label("Message")).to_have_value("")
