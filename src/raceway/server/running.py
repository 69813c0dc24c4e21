"""A server as a process: load the application, run the loop, obey signals."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import sys
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
    if not callable(found):
        raise ConfigurationError(f"{path} is a {type(found).__name__}, not an ASGI application.")
    return found  # whether it is ASGI shows when it is called


def run(
    application: ASGIApplication | str,
    config: Config | None = None,
    *,
    ready: Callable[[Server], None] | None = None,
) -> int:
    """Serve until SIGTERM (drain) or SIGINT (stop at once); returns the exit status of the process.

    ``ready`` is called once the server listens. Raises ``ConfigurationError`` if it cannot.
    """
    raise_file_limit()
    loaded = load_application(application) if isinstance(application, str) else application
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(Server(loaded, config), ready))
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
    await server.start()
    for address in server.addresses:
        logger.info(
            "Serving on %s (stop with Ctrl-C).", describe(address, tls=bool(server.config.ssl_certfile))
        )
    if ready is not None:
        ready(server)
    number = await told.get()
    drain_s = server.config.drain_s if number is signal.SIGTERM else 0.0
    logger.info("%s: stopping within %g s.", number.name, drain_s)
    stopping = loop.create_task(server.stop(drain_s), name="raceway-stop")
    hurry = loop.create_task(told.get(), name="raceway-second-signal")
    await asyncio.wait([stopping, hurry], return_when="FIRST_COMPLETED")
    if not stopping.done():
        logger.info("Second signal: stopping at once.")
        stopping.cancel()
        await asyncio.wait([stopping])
    hurry.cancel()
    if not stopping.cancelled():
        stopping.result()
    logger.info("Stopped.")


def describe(address: Listening, tls: bool = False) -> str:
    """An address as one would type it."""
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
