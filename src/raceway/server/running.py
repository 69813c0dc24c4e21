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
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(Server(loaded, config), ready))
        if leave_within_s is not None:
            watch = threading.Timer(leave_within_s, _leave)
            watch.daemon = True
            watch.start()
    return 0


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop's, or asyncio's own where uvloop has no wheel."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _serve(server: Server, ready: Callable[[Server], None] | None) -> None:
    loop = asyncio.get_running_loop()
    told: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.put_nowait, number)
    starting = loop.create_task(server.start(), name="raceway-start")
    early = loop.create_task(told.get(), name="raceway-early-signal")
    await asyncio.wait([starting, early], return_when="FIRST_COMPLETED")
    if not starting.done():
        logger.info("%s: stopping before the application has started.", early.result().name)
        starting.cancel()
        await asyncio.wait([starting], timeout=1.0)
        return
    starting.result()
    for address in server.addresses:
        logger.info(
            "Serving on %s (stop with Ctrl-C).", describe(address, tls=bool(server.config.ssl_certfile))
        )
    if ready is not None:
        ready(server)
    number = await early
    drain_s = server.config.drain_s if number is signal.SIGTERM else 0.0
    logger.info("%s: stopping within %g s.", number.name, drain_s)
    again = loop.create_task(told.get(), name="raceway-second-signal")
    again.add_done_callback(lambda _: server.hurry())
    await server.stop(drain_s)
    again.cancel()
    logger.info("Stopped.")


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
