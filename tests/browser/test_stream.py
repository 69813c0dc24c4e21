"""The page's side of a stream of server-sent events, as the documentation has it."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from tests.docs.project import served
from tests.docs.serving import WAIT_S

FILES = ["docs/snippets/orders/static/orders/kitchen.js"]


def test_a_page_hears_of_orders(browser: Browser, tmp_path: Path) -> None:
    with served(tmp_path / "project") as site:
        url = f"http://127.0.0.1:{site.port}"
        context = browser.new_context()
        context.add_cookies([{"name": "sessionid", "value": site.zoidberg, "url": url}])
        page = context.new_page()
        page.goto(f"{url}/nowhere/")
        with page.expect_response(f"{url}/kitchen/stream/", timeout=WAIT_S * 1000):
            page.add_script_tag(url="/static/orders/kitchen.js")
        with page.expect_console_message(lambda message: message.text == "pizza", timeout=WAIT_S * 1000):
            number = site.order("pizza")
        with page.expect_console_message(lambda message: "ready" in message.text, timeout=WAIT_S * 1000):
            site.request(f"/orders/{number}/ready/", site.fry, b"")
