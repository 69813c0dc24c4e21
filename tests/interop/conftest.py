from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.environment import NotInstalled, install
from tests.interop.processes import Process, redis


@pytest.fixture(scope="session", autouse=True)
def environment() -> None:
    """The environment with the other servers and layers; without it these tests are skipped."""
    try:
        install()
    except NotInstalled as error:
        pytest.skip(f"other servers and layers could not be installed from PyPI: {error}")


@pytest.fixture(scope="session")
def redis_server(environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is missing (on Debian, as root: apt-get install redis-server)")
    with redis(tmp_path_factory.mktemp("redis")) as process:
        yield process


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers of a module write their logs."""
    return tmp_path_factory.mktemp("servers")
