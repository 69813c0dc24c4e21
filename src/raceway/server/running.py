"""A server as a process: load the application, run the loop, obey signals."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol

from raceway.errors import ConfigurationError
from raceway.server.config import Config
from raceway.server.serving import Listening, Server, raise_file_limit
from raceway.types import ASGIApplication

logger = logging.getLogger("raceway.server")


def load_application(path: str) -> ASGIApplication:
    """Import ``package.module:attribute``; the working directory is searched first.

    Raises ``ConfigurationError`` that names the part which does not exist.
    """
    module_name, separator, attributes = path.partition(":")
    if not separator or not module_name or not attributes:
        raise ConfigurationError(f"{path!r} does not name an application; write module:attribute.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(missing + "."):
            raise ConfigurationError(
                f"There is no module {missing!r} in {os.getcwd()} or on Python's path."
            ) from None
        raise ConfigurationError(
            f"Module {module_name!r} imports {missing!r}, which is not installed."
        ) from error
    for name in attributes.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise ConfigurationError(f"Module {module_name!r} has no attribute {attributes!r}.") from None
    if isinstance(found, type) and hasattr(found, "as_asgi"):
        raise ConfigurationError(f"{path} is a consumer class; serve what its as_asgi() returns.")
    if not callable(found):
        raise ConfigurationError(f"{path} is a {type(found).__name__}, not an ASGI application.")
    return found  # whether it is ASGI shows when it is called


class Stop(NamedTuple):
    """The server is to stop: within how many seconds, and who wants it."""

    drain_s: float
    why: str


class Orders(Protocol):
    """Who tells a server when to listen and when to stop: signals, or a supervisor. Called in the loop's thread."""

    log_level: int
    """Of the records about stopping."""

    def attach(self, server: Server, stop: Callable[[Stop], None]) -> None:
        """The loop runs: call ``stop`` there for each order to stop; the second one ends the drain time."""

    async def loaded(self) -> None:
        """The application is ready; return when the server may listen."""

    def listening(self) -> None:
        """Clients can connect."""


class Signals:
    """SIGTERM drains, SIGINT stops at once; ``ready`` is called once the server listens."""

    log_level = logging.INFO

    def __init__(self, ready: Callable[[Server], None] | None) -> None:
        self._ready = ready

    def attach(self, server: Server, stop: Callable[[Stop], None]) -> None:
        self._server = server
        loop = asyncio.get_running_loop()
        for number, drain_s in ((signal.SIGTERM, server.config.drain_s), (signal.SIGINT, 0.0)):
            loop.add_signal_handler(number, stop, Stop(drain_s, number.name))

    async def loaded(self) -> None:
        pass

    def listening(self) -> None:
        tls = bool(self._server.config.ssl_certfile)
        for address in self._server.addresses:
            logger.info("Serving on %s (stop with Ctrl-C).", describe(address, tls))
        if self._ready is not None:
            self._ready(self._server)


def run(
    application: ASGIApplication | str,
    config: Config | None = None,
    *,
    ready: Callable[[Server], None] | None = None,
    leave_within_s: float | None = None,
) -> int:
    """Serve until SIGTERM (drain) or SIGINT (stop at once); returns the exit status of the process.

    ``ready`` is called once the server listens. ``leave_within_s``: the process is the server's own, so end it this
    long after the stop even if threads or tasks of the application do not end. Raises ``ConfigurationError`` if
    the server cannot listen.
    """
    raise_file_limit()
    loaded = load_application(application) if isinstance(application, str) else application
    run_server(Server(loaded, config), Signals(ready), leave_within_s)
    return 0


def run_server(server: Server, orders: Orders, leave_within_s: float | None = None) -> None:
    """Run a loop for ``server`` until ``orders`` stop it; the rest as for ``run``."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(server, orders))
        if leave_within_s is not None:
            watch = threading.Timer(leave_within_s, _leave)
            watch.daemon = True
            watch.start()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop's, or asyncio's own where uvloop has no wheel."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _serve(server: Server, orders: Orders) -> None:
    loop = asyncio.get_running_loop()
    told: asyncio.Queue[Stop] = asyncio.Queue()
    orders.attach(server, told.put_nowait)
    starting = loop.create_task(_start(server, orders), name="raceway-start")
    early = loop.create_task(told.get(), name="raceway-early-stop")
    await asyncio.wait([starting, early], return_when="FIRST_COMPLETED")
    if not starting.done():
        logger.log(orders.log_level, "%s: stopping before the application has started.", early.result().why)
        starting.cancel()
        await asyncio.wait([starting], timeout=1.0)
        await server.stop(0.0)  # does nothing, unless only the word to listen was still to come
        return
    starting.result()
    stop = await early
    logger.log(orders.log_level, "%s: stopping within %g s.", stop.why, stop.drain_s)
    again = loop.create_task(told.get(), name="raceway-second-stop")
    again.add_done_callback(lambda _: server.hurry())
    await server.stop(stop.drain_s)
    again.cancel()
    logger.log(orders.log_level, "Stopped.")


async def _start(server: Server, orders: Orders) -> None:
    await server.prepare()
    await orders.loaded()
    await server.listen()
    orders.listening()


def _leave() -> None:
    """Nobody can stop a thread: leave without those that go on."""
    logger.error("Threads or tasks of the application did not end; leaving without them.")
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def describe(address: Listening, tls: bool = False) -> str:
    """An address as one would type it."""
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
