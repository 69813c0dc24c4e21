"""``manage.py runserver``: Django's development server, served by Raceway, so that WebSockets work."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from typing import Any, cast

from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.contrib.staticfiles.management.commands.runserver import Command as RunserverCommand
from django.core.handlers.asgi import ASGIHandler
from django.db import connections
from django.utils import autoreload
from django.utils.module_loading import import_string

from raceway.asgi import get_application
from raceway.errors import ConfigurationError
from raceway.management.development import DevelopmentApplication, DevelopmentLog
from raceway.server import Config, Server, run
from raceway.server.running import loop_factory
from raceway.types import ASGIApplication


class Command(RunserverCommand):
    """Django's options, reloader, static files and output; our server."""

    addr: str
    port: str

    help = "Starts a development server for HTTP and WebSockets, which also serves static files."

    def get_handler(self, *args: Any, **options: Any) -> ASGIApplication:  # type: ignore[override]
        """``ASGI_APPLICATION``, or what ``raceway.asgi.get_application`` makes, with static files around it."""
        path = getattr(settings, "ASGI_APPLICATION", None)
        application: ASGIApplication = import_string(path) if path else get_application()
        http = application
        serves_static = options["use_static_handler"] and (settings.DEBUG or options["insecure_serving"])
        if serves_static and apps.is_installed("django.contrib.staticfiles"):
            http = cast(ASGIApplication, ASGIStaticFilesHandler(cast(ASGIHandler, application)))
        return DevelopmentApplication(application, http)

    def inner_run(self, *args: Any, **options: Any) -> None:
        autoreload.raise_last_exception()
        if not options["skip_checks"]:
            self.stdout.write("Performing system checks...\n\n")
            self.check(display_num_errors=True)
        self.check_migrations()
        for connection in connections.all(initialized_only=True):
            connection.close()
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
        await asyncio.get_running_loop().create_future()

    def _announce(self, server: Server) -> None:
        address = server.addresses[0]
        assert isinstance(address, tuple)
        self.on_bind(address[1])
