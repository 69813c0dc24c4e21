"""What the documentation says of layers between processes: a command reaches the sockets of a server."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.docs.project import copied
from tests.docs.serving import WAIT_S, environment, serve
from tests.interop.environment import PYTHON, NotInstalled, install
from tests.interop.processes import redis

pytestmark = pytest.mark.topology

FILES = ["docs/snippets/config/settings_redis.py"]


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is missing (on Debian, as root: apt-get install redis-server)")
    try:
        install()
    except NotInstalled as error:
        pytest.skip(f"channels_redis could not be installed from PyPI: {error}")
    with redis(tmp_path_factory.mktemp("redis")) as process:
        yield f"redis://127.0.0.1:{process.port}"


def test_a_command_tells_the_pages_of_a_server(redis_url: str, tmp_path: Path) -> None:
    folder = copied(tmp_path / "project")
    application, settings = "config.asgi:application", "config.settings_redis"
    with (
        serve(folder, application, settings, python=str(PYTHON), REDIS_URL=redis_url) as port,
        connect(f"ws://127.0.0.1:{port}/kitchen/") as cook,
        connect(f"ws://127.0.0.1:{port}/kitchen/") as other,
    ):
        other.send(json.dumps({"note": "hello"}))
        assert json.loads(cook.recv(WAIT_S)) == {"note": "hello"}  # so both have joined
        subprocess.run(
            [str(PYTHON), "manage.py", "close_kitchen"],
            cwd=folder,
            env=environment(settings, REDIS_URL=redis_url),
            check=True,
            timeout=WAIT_S,
        )
        for client in (cook, other):
            assert json.loads(client.recv(WAIT_S)) == {"closed": "We are sold out."}
