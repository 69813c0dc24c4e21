"""Message consumers behind Raceway's server, and real sockets to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import ClientConnection, connect

from raceway.layers import get_channel_layer
from raceway.messaging import MessageApplication
from tests.server.running import DEADLINE_S, Running, running
from tests.waiting import eventually


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


def wait_for_members(group: str, count: int) -> None:
    layer = get_channel_layer()
    assert layer is not None
    eventually(lambda: layer.count_from_thread(group) == count)
