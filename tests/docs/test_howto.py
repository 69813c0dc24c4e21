"""The project of the how-tos: run by its own tests, and served by a real process to real clients."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from tests.docs.project import Site, copied, run, served
from tests.docs.serving import WAIT_S, get

pytestmark = pytest.mark.topology

FILES = [
    "docs/snippets/config/asgi.py",
    "docs/snippets/config/routing.py",
    "docs/snippets/config/settings.py",
    "docs/snippets/config/settings_logging.py",
    "docs/snippets/config/urls.py",
    "docs/snippets/manage.py",
    "docs/snippets/orders/consumers.py",
    "docs/snippets/orders/functions.py",
    "docs/snippets/orders/management/commands/close_kitchen.py",
    "docs/snippets/orders/models.py",
    "docs/snippets/orders/shift.py",
    "docs/snippets/orders/streams.py",
    "docs/snippets/orders/tasks.py",
    "docs/snippets/orders/test_echo.py",
    "docs/snippets/orders/tests.py",
    "docs/snippets/orders/tokens.py",
    "docs/snippets/orders/views.py",
    "docs/snippets/orders/work.py",
    "docs/snippets/raceway.toml",
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(tmp_path_factory.mktemp("howto") / "project") as site:
        yield site


def heard(client: ClientConnection) -> Any:
    return json.loads(client.recv(WAIT_S))


def closed_with(client: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        client.recv(WAIT_S)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def refused_with(site: Site, path: str, **options: Any) -> int:
    with pytest.raises(InvalidStatus) as refused, site.socket(path, **options):
        pass
    return refused.value.response.status_code


# Groups from anywhere


def test_a_view_tells_the_kitchen(site: Site) -> None:
    with site.socket("/kitchen/") as cook:
        number = site.order("pizza")
        assert heard(cook) == {"order": number, "item": "pizza"}
        assert site.request(f"/orders/{number}/ready/", site.fry, b"") == {"order": number}
        assert heard(cook) == {"ready": number}


def test_a_model_tells_its_customer_only(site: Site) -> None:
    with site.socket("/account/", site.fry) as fry, site.socket("/account/", site.zoidberg) as zoidberg:
        number = site.order("pizza")
        assert heard(fry) == {"order": number, "state": "placed"}
        with pytest.raises(TimeoutError):
            zoidberg.recv(0.1)


def test_one_channel_is_left_out(site: Site) -> None:
    with site.socket("/kitchen/") as cook, site.socket("/kitchen/") as other:
        cook.send(json.dumps({"note": "no anchovies"}))
        assert heard(other) == {"note": "no anchovies"}
        other.send(json.dumps({"note": "none at all"}))
        assert heard(cook) == {"note": "none at all"}  # its own note did not come before it


def test_a_game_joins_and_leaves(site: Site) -> None:
    with site.socket("/games/chess/") as watcher:
        with site.socket("/games/go/") as player:
            player.send("{}")
            assert heard(player) == {"players": 1}
        assert heard(watcher) == {"left": "games.go"}


def test_the_command_runs_without_an_event_loop(tmp_path: Path) -> None:
    assert run(copied(tmp_path / "project"), "manage.py", "close_kitchen") == ""


def test_the_log_says_that_there_is_no_server(tmp_path: Path) -> None:
    settings = {"DJANGO_SETTINGS_MODULE": "config.settings_logging"}
    said = run(copied(tmp_path / "project"), "manage.py", "close_kitchen", **settings)
    assert re.fullmatch(r"No broker of this user is running at \S+: messages to groups .*\n", said)


def test_prices_reach_everybody(site: Site) -> None:
    with site.socket("/prices/") as one, site.socket("/prices/") as other:
        one.send(json.dumps({"price": 5}))
        assert heard(one) == heard(other) == {"price": 5}


# Presence


def test_cooks_come_move_and_go(site: Site) -> None:
    with site.socket("/shift/", site.fry) as fry:
        told = [heard(fry), heard(fry)]  # the list, and a diff with the same
        at_stove = [{"name": "fry", "at": "stove"}]
        [key] = next(one["cooks"] for one in told if "cooks" in one)
        assert {"joined": {key: at_stove}, "changed": {}, "left": {}} in told
        with site.socket("/shift/", site.fry) as tab:
            assert heard(fry) == {"joined": {}, "changed": {key: at_stove * 2}, "left": {}}
            tab.send(json.dumps({"at": "fridge"}))
            moved = [*at_stove, {"name": "fry", "at": "fridge"}]
            assert heard(fry) == {"joined": {}, "changed": {key: moved}, "left": {}}
        assert heard(fry) == {"joined": {}, "changed": {key: at_stove}, "left": {}}


# Users and tokens


def test_who_is_there(site: Site) -> None:
    with site.socket("/whoami/", site.fry) as fry, site.socket("/whoami/") as nobody:
        assert heard(fry) == {"name": "fry"}
        assert heard(nobody) == {"name": ""}
    assert refused_with(site, "/account/") == 403


def test_a_page_of_another_site_is_refused(site: Site) -> None:
    assert refused_with(site, "/whoami/", origin="https://elsewhere.example") == 403


def test_a_token_in_the_header_or_as_a_subprotocol(site: Site) -> None:
    bearer = {"Authorization": f"Bearer {site.zoidbergs_token}"}
    with site.socket("/app/account/", additional_headers=bearer):
        pass
    offered = ["bearer", site.zoidbergs_token]
    with site.socket("/app/account/", subprotocols=offered) as browser:
        assert browser.subprotocol == "bearer"
    assert refused_with(site, "/app/account/", additional_headers={"Authorization": "Bearer 0"}) == 403
    assert refused_with(site, "/app/account/") == 403


def test_the_views_make_what_they_promise(site: Site) -> None:
    ticket = site.request("/ticket/", site.fry)["ticket"]
    with site.socket(f"/app/account/?ticket={ticket}"):
        pass
    assert refused_with(site, f"/app/account/?ticket={ticket}") == 403
    token = site.request("/token/", site.fry)["token"]
    with site.socket("/app/account/", additional_headers={"Authorization": f"Bearer {token}"}):
        pass


def test_tokens_of_ones_own(site: Site) -> None:
    bearer = {"Authorization": "Bearer 0123456789abcdef"}
    with site.socket("/partner/", additional_headers=bearer) as partner:
        assert heard(partner) == {"name": "zoidberg"}
    assert refused_with(site, "/partner/", additional_headers={"Authorization": "Bearer 1"}) == 403


def test_logging_out_closes_the_sockets_of_the_session(site: Site) -> None:
    with site.socket("/account/", site.zoidberg) as page, site.socket("/whoami/", site.zoidberg) as other:
        assert heard(other) == {"name": "zoidberg"}
        other.send('"logout"')
        assert closed_with(page) == closed_with(other) == 4401
    assert refused_with(site, "/account/", session=site.zoidberg) == 403


# Threads and errors


def test_mixed_handlers(site: Site) -> None:
    with site.socket("/basket/", site.fry) as page:
        page.send(json.dumps({"item": "slurm"}))
        assert heard(page) == {"item": "slurm", "ordered": 0}


def test_an_error_that_the_consumer_forgives(site: Site) -> None:
    with site.socket("/careful/") as client:
        client.send(json.dumps({"number": "two"}))
        assert heard(client) == {"error": "Send a number."}
        client.send(json.dumps({"number": 2}))
        assert heard(client) == {"half": 1.0}
        client.send("no json")
        assert closed_with(client) == 1007


# Functions, streams, other applications


def test_functions(site: Site) -> None:
    with site.socket("/echo/") as client:
        for message in ("hello", b"bytes"):
            client.send(message)
            assert client.recv(WAIT_S) == message
    with site.socket("/raw/") as client:
        assert client.recv(WAIT_S) == "/raw/"


def test_a_stream_of_events(site: Site) -> None:
    assert get(site.port, "/kitchen/stream/")[0] == 403
    address = f"http://127.0.0.1:{site.port}/kitchen/stream/"
    headers = {"Cookie": f"sessionid={site.fry}", "Accept": "text/event-stream"}
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=WAIT_S) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        number = site.order("pizza")
        lines = set()
        while f"id: {number}" not in lines or 'data: {"item":"pizza"}' not in lines:
            lines.add(stream.readline().decode().rstrip("\n"))
        assert "event: placed" in lines


def test_a_long_poll(site: Site) -> None:
    answers = []

    def poll() -> None:
        answers.append(get(site.port, "/kitchen/next/"))

    with site.socket("/kitchen/") as cook:
        polling = threading.Thread(target=poll)
        polling.start()
        while polling.is_alive():  # the request may come behind the order
            site.order("pizza")
            polling.join(0.1)
        assert heard(cook)["item"] == "pizza"
    status, body = answers[0]
    assert status == 200
    assert json.loads(body)["item"] == "pizza"


def test_what_is_not_a_stream_is_djangos(site: Site) -> None:
    assert get(site.port, "/nowhere/")[0] == 404
    assert get(site.port, "/static/orders/kitchen.js")[0] == 200


# Testing


def test_the_tests_of_the_project_pass(tmp_path: Path) -> None:
    assert "OK" in run(copied(tmp_path / "project"), "manage.py", "test")


def test_the_pytest_tests_of_the_project_pass(tmp_path: Path) -> None:
    folder = copied(tmp_path / "project")
    (folder / "pytest.ini").write_text("[pytest]\n")
    found = entry_points(group="pytest11", name="raceway")
    plugin = [] if found else ["-p", "raceway.testing.plugin"]  # an installation older than the plugin
    said = run(folder, "-m", "pytest", *plugin, "orders/test_echo.py", "orders/tests.py", PYTEST_ADDOPTS="")
    assert " passed" in said


def test_the_configuration_of_the_server_is_read(tmp_path: Path) -> None:
    folder = copied(tmp_path / "project")
    for line in (folder / "raceway.toml").read_text().splitlines():
        assert " = " in line
    command = ["-m", "raceway", "serve", "config.asgi:application", "--config", "raceway.toml", "--port", "x"]
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    assert "'x' is not a valid integer" in done.stderr  # so the file was read before it, and has no mistake
