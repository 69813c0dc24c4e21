"""The project that the how-tos are taken from, copied, prepared and served."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from websockets.sync.client import ClientConnection, connect

from tests.docs.blocks import DOCS
from tests.docs.serving import WAIT_S, environment, serve

PREPARE = """
from django.contrib.auth import get_user_model
from django.test import Client
from django.conf import settings
from raceway.auth import make_token
for name in ("fry", "zoidberg"):
    user = get_user_model().objects.create_user(name)
    client = Client()
    client.force_login(user)
    print(client.cookies[settings.SESSION_COOKIE_NAME].value)
print(make_token(user))
"""

CSRF = "c" * 32


class Site(NamedTuple):
    """The served project, and who is logged in with which session cookie."""

    port: int
    fry: str
    zoidberg: str
    zoidbergs_token: str

    @contextmanager
    def socket(self, path: str, session: str = "", **options: Any) -> Iterator[ClientConnection]:
        headers = options.pop("additional_headers", {})
        if session:
            headers["Cookie"] = f"sessionid={session}"
        uri = f"ws://127.0.0.1:{self.port}{path}"
        with connect(uri, additional_headers=headers, **options) as client:
            yield client

    def request(self, path: str, session: str, body: bytes | None = None) -> Any:
        """What a page of somebody who is logged in does."""
        headers = {"Cookie": f"sessionid={session}; csrftoken={CSRF}", "X-CSRFToken": CSRF}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, headers)
        with urllib.request.urlopen(request, timeout=WAIT_S) as response:
            return json.load(response)

    def order(self, item: str) -> int:
        number: int = self.request("/orders/", self.fry, f"item={item}".encode())["order"]
        return number


def copied(folder: Path) -> Path:
    return shutil.copytree(DOCS / "snippets", folder, ignore=shutil.ignore_patterns("__pycache__"))


def run(folder: Path, *command: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment("config.settings", **environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def served(folder: Path) -> Iterator[Site]:
    """Serve a copy in ``folder``, with a database in which ``fry`` and ``zoidberg`` are logged in."""
    environ = {"SNIPPETS_DATABASE": str(copied(folder) / "db.sqlite3")}
    run(folder, "manage.py", "migrate", "--run-syncdb", "--verbosity", "0", **environ)
    prepared = run(folder, "manage.py", "shell", "-c", PREPARE, **environ).split()
    with serve(folder, "config.asgi:application", "config.settings", **environ) as port:
        yield Site(port, *prepared[-3:])
