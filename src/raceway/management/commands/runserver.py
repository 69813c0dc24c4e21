"""``manage.py runserver``: Django's development server, served by Raceway, so that WebSockets work."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sys
import threading
import time
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.contrib.staticfiles.management.commands.runserver import Command as RunserverCommand
from django.core.management.base import CommandParser
from django.db import connections
from django.utils import autoreload

from raceway.asgi import StaticFiles, project_application
from raceway.errors import ConfigurationError
from raceway.layers.hosting import close_layers
from raceway.server import Config, Server, run
from raceway.server.access import AccessLog, target_of
from raceway.server.records import show_records
from raceway.server.running import loop_factory
from raceway.types import ASGIApplication
from raceway.wire.events import Request
from raceway.workers import WithWorker

logger = logging.getLogger("django.server")

LEAVE_S: Final = 1.0
"""For the layers to be let go before a restart."""


class Command(RunserverCommand):
    """Django's options, reloader, static files and output; our server."""

    _with_worker: WithWorker | None = None
    addr: str
    port: str
    _raw_ipv6: bool

    help = (
        "Starts a development server for HTTP and WebSockets, which also serves static files and runs the consumers "
        "of named channels."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--noworker",
            action="store_false",
            dest="run_worker",
            help="Does not run the consumers of named channels: manage.py runworker does.",
        )

    def get_handler(self, *args: Any, **options: Any) -> ASGIApplication:  # type: ignore[override]
        """``ASGI_APPLICATION``, or what ``raceway.asgi.get_application`` makes, with static files around it."""
        serve = options["use_static_handler"] and (settings.DEBUG or options["insecure_serving"])
        application = project_application()
        if options.get("run_worker", True):
            application = self._with_worker = WithWorker(application, drain_s=0)
        return StaticFiles(application, serve=serve)

    def inner_run(self, *args: Any, **options: Any) -> None:
        autoreload.raise_last_exception()
        if not options["skip_checks"]:
            self.stdout.write("Performing system checks...\n\n")
            self.check(display_num_errors=True)
        self.check_migrations()
        for connection in connections.all(initialized_only=True):
            connection.close()
        if not logging.getLogger("raceway").hasHandlers():  # the project's LOGGING does not say what to show
            show_records("info")
            logging.getLogger("raceway.server").setLevel(
                logging.WARNING
            )  # what it would say, Django's manners say
        try:
            # The drain takes no time: whoever restarts a development server waits for it.
            config = Config(host=self.addr, port=int(self.port), access_log=DevelopmentLog(), drain_s=0)
            self._serve(self.get_handler(*args, **options), config)
        except ConfigurationError as error:
            self.stderr.write(f"Error: {error}")
            os._exit(1)  # sys.exit() in the reloader's thread would leave the process running
        except KeyboardInterrupt:
            sys.exit(0)

    def _serve(self, application: ASGIApplication, config: Config) -> None:
        if threading.current_thread() is threading.main_thread():
            run(application, config, ready=self._announce)
            return
        # The reloader keeps the main thread, with the signals, and ends the process when a file has changed.
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(self._serve_in_thread(Server(application, config)))

    async def _serve_in_thread(self, server: Server) -> None:
        await server.start()
        self._announce(server)
        loop = asyncio.get_running_loop()
        atexit.register(_leave, self._with_worker, loop)
        await loop.create_future()

    def on_bind(self, server_port: int) -> None:
        """Say which server this is: with Django's own in its place nothing else would tell until a socket fails."""
        address = f"[{self.addr}]" if self._raw_ipv6 else "0.0.0.0" if self.addr == "0" else self.addr
        self.stdout.write(
            f"{datetime.now():%B %d, %Y - %X}\n"
            f"Django version {self.get_version()}, using settings {settings.SETTINGS_MODULE!r}\n"
            f"Starting Raceway's development server at {self.protocol}://{address}:{server_port}/\n"
            f"Quit the server with {'CTRL-BREAK' if sys.platform == 'win32' else 'CONTROL-C'}."
        )
        if os.environ.get("DJANGO_RUNSERVER_HIDE_WARNING") != "true":
            self.stdout.write(
                self.style.WARNING("In production, use raceway serve or another ASGI server.\n")
            )

    def _announce(self, server: Server) -> None:
        address = server.addresses[0]
        assert isinstance(address, tuple)
        self.on_bind(address[1])


def _leave(with_worker: WithWorker | None, loop: asyncio.AbstractEventLoop) -> None:
    """The process ends under its server: let the worker and the layers go first, lest they tell of losses that are
    none."""
    with suppress(Exception):
        asyncio.run_coroutine_threadsafe(_let_go(with_worker), loop).result(LEAVE_S)


async def _let_go(with_worker: WithWorker | None) -> None:
    if with_worker is not None:
        await with_worker.stop()
    await close_layers()


class DevelopmentLog(AccessLog):
    """Log each request as Django's ``runserver`` does, which colours the line by its status; a WebSocket's handshake
    too, with 101 if it was accepted."""

    def add(
        self,
        client: tuple[str, int] | None,
        request: Request | None,
        status: int,
        size_bytes: int,
        seconds: float,
    ) -> None:
        if request is None:
            line = "-"
        elif request.upgrade == "websocket":
            line = f"WebSocket {target_of(request)}"
        else:
            line = f"{request.method} {target_of(request)} HTTP/{request.http_version}"
        logger.log(
            logging.INFO if status < 400 else logging.WARNING if status < 500 else logging.ERROR,
            '"%s" %d %d',
            line,
            status,
            size_bytes,
            extra={"status_code": status, "server_time": time.strftime("%d/%b/%Y %H:%M:%S")},
        )
