"""Fixtures: a server per test or per module, and raw clients that are closed at the end."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from raceway.wire.limits import Limits
from tests.server.rawhttp import RawClient
from tests.server.rawws import WebSocketClient
from tests.server.running import Running, Site, running


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    """Start ``Server(app, Config(**config))``; ``limits`` are the fields to change.

    The application is not asked about lifespan unless the test says so.
    """
    with contextlib.ExitStack() as stack:

        def start(application: Any, *, limits: Any = None, lifespan: bool = False, **config: Any) -> Running:
            if limits is not None:
                config["limits"] = Limits(**limits)
            if not lifespan:
                site = Site()
                site.app, application = application, site
            return stack.enter_context(running(application, **config))

        yield start


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Running, Site]]:
    site = Site()
    with running(site) as server:
        yield server, site


@pytest.fixture
def site(shared: tuple[Running, Site]) -> Iterator[Site]:
    """The application of the module's shared server; a test sets ``site.app``."""
    site = shared[1]
    site.app = None
    return site


@pytest.fixture
def port(shared: tuple[Running, Site]) -> int:
    """The port of the module's shared server."""
    return shared[0].port


@pytest.fixture
def raw() -> Iterator[Callable[..., RawClient]]:
    """Open a raw client to a port or Unix path."""
    with contextlib.ExitStack() as stack:

        def connect(address: Any, **options: Any) -> RawClient:
            return stack.enter_context(RawClient(address, **options))

        yield connect


@pytest.fixture
def ws() -> Iterator[Callable[..., WebSocketClient]]:
    """Open a raw client with WebSocket frames; call ``open`` on it to shake hands."""
    with contextlib.ExitStack() as stack:

        def connect(address: Any, **options: Any) -> WebSocketClient:
            client = WebSocketClient(address, **options)
            stack.callback(client.close)
            return client

        yield connect


class Records(logging.Handler):
    """Log records of WARNING and above, from every thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []
        self._more = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._more:
            if record not in self.records:
                self.records.append(record)
                self._more.notify_all()

    def wait(self, count: int = 1, deadline_s: float = 3.0) -> list[logging.LogRecord]:
        """The errors, once there are so many of them."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.errors) >= count, deadline_s), self.records
            return self.errors

    @property
    def errors(self) -> list[logging.LogRecord]:
        return [record for record in self.records if record.levelno >= logging.ERROR]

    @property
    def tracebacks(self) -> list[logging.LogRecord]:
        return [record for record in self.records if record.exc_info]


@pytest.fixture
def logs() -> Iterator[Records]:
    """What is logged while the test runs, whether or not loggers propagate."""
    records = Records()
    names = ("raceway", "raceway.server", "raceway.access", "asyncio")
    # One handler per record: a second one, further up, could still be on its way when the next test begins.
    loggers = [logging.getLogger()] + [
        logger for logger in map(logging.getLogger, names) if not logger.propagate
    ]
    for logger in loggers:
        logger.addHandler(records)
    yield records
    for logger in loggers:
        logger.removeHandler(records)
