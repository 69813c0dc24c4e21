"""How many connections one address may have; clients of tests all come from loopback, so the transport is played."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from raceway.errors import ConfigurationError
from raceway.server import Config
from raceway.server.http import HttpConnection
from raceway.server.shared import Shared
from raceway.wire.limits import Limits


class PlayedTransport:
    """As much of a transport as a connection touches before its first request."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.written = b""

    def get_extra_info(self, name: str) -> Any:
        return {"peername": (self.host, 4711), "sockname": ("192.0.2.254", 80)}.get(name)

    def write(self, data: bytes) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def resume_reading(self) -> None: ...

    def abort(self) -> None: ...


async def application(scope: Any, receive: Any, send: Any) -> None: ...


def connecting(**config: Any) -> Any:
    limits = Limits(connections_per_address=2)
    settings = Config(limits=limits, access_log=False, **config)
    shared = Shared(application, settings, asyncio.get_running_loop(), 1000)

    def connect(host: str) -> tuple[HttpConnection, PlayedTransport]:
        connection, transport = HttpConnection(shared), PlayedTransport(host)
        connection.connection_made(transport)  # type: ignore[arg-type]
        connection.flush()
        return connection, transport

    return shared, connect


async def test_one_address_has_its_limit_and_gets_a_place_back() -> None:
    shared, connect = connecting()
    first, _ = connect("192.0.2.1")
    connect("192.0.2.1")
    refused, transport = connect("192.0.2.1")
    assert transport.written.startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: " in transport.written
    assert connect("192.0.2.2")[1].written == b"", "another address has its own places"
    assert shared.counters["connections_refused"] == 1
    refused.connection_lost(None)
    first.connection_lost(None)
    assert connect("192.0.2.1")[1].written == b""


async def test_nothing_is_left_of_an_address_that_is_gone() -> None:
    shared, connect = connecting()
    for connection, _ in [connect("192.0.2.1") for _ in range(5)]:
        connection.connection_lost(None)
    assert not shared.per_address
    assert not shared.connections
    assert not shared.refused
    assert len(shared.deadlines) == 0


async def test_listed_proxies_and_loopback_have_no_limit() -> None:
    _, connect = connecting(forwarded_allow_ips="10.0.0.0/8")
    for host in ("10.0.0.1", "127.0.0.1", "127.9.9.9", "::1"):
        assert [connect(host)[1].written for _ in range(5)] == [b""] * 5


@pytest.mark.parametrize("name", ["pipelined_requests", "header_timeout_s", "ws_max_message_bytes"])
def test_zero_is_refused_where_it_would_switch_the_server_off(name: str) -> None:
    with pytest.raises(ConfigurationError, match="must be above zero, not 0"):
        Limits(**{name: 0})


def test_zero_switches_off_what_can_be_missed() -> None:
    Limits(connections=0, connections_per_address=0, ws_ping_interval_s=0)
