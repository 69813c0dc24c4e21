"""Message consumers behind Raceway's server, and real sockets to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import ClientConnection, connect

from raceway.layers import get_channel_layer
from raceway.messaging import MessageApplication
from tests.server.running import DEADLINE_S, Running, running


class Served:
    """A server with a routing."""

    def __init__(self, server: Running) -> None:
        self.server = server

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def socket(self, path: str = "/", **options: Any) -> ClientConnection:
        return connect(
            f"ws://{self.address}{path}", open_timeout=DEADLINE_S, close_timeout=DEADLINE_S, **options
        )


@contextmanager
def serving(routing: Any, **options: Any) -> Iterator[Served]:
    application = routing if hasattr(routing, "raceway_begin") else MessageApplication(routing, **options)
    with running(application) as server:
        yield Served(server)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.005)


def wait_for_members(group: str, count: int) -> None:
    layer = get_channel_layer()
    assert layer is not None
    wait_until(lambda: layer.count_from_thread(group) == count)
