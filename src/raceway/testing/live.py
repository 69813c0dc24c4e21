"""A real server for tests that need one: browsers, and WebSocket clients of other makers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, copy_context
from functools import partial
from typing import Any, ClassVar, TypeVar

from asgiref.sync import ThreadSensitiveContext
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import LiveServerTestCase, modify_settings
from django.utils.functional import classproperty

from raceway.asgi import StaticFiles, project_application
from raceway.server import Config, Server
from raceway.server.running import loop_factory
from raceway.testing.database import keep_connections
from raceway.testing.layers import ChannelLayersMixin
from raceway.threads import in_test
from raceway.types import ASGIApplication, Receive, Scope, Send

T = TypeVar("T")


class LiveServerThread(threading.Thread):
    """Raceway's own server in a thread, on a free port unless ``port`` is given.

    Sync code of the application runs in one more thread, one call at a time, with the connections to in-memory
    databases that the test's thread has. ``errors`` are the exceptions that the application has raised.
    """

    def __init__(
        self,
        host: str,
        application: ASGIApplication,
        connections_override: dict[str, BaseDatabaseWrapper] | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(name="raceway-live-server", daemon=True)
        self.host = host
        self.port = port
        self.application = application
        self.connections_override = connections_override or {}
        self.is_ready = threading.Event()
        self.error: BaseException | None = None
        self.errors: list[BaseException] = []
        self._loop: asyncio.AbstractEventLoop
        self._context: Context
        self._ended: asyncio.Event

    @property
    def url(self) -> str:
        """``http://host:port``."""
        return f"http://{self.host}:{self.port}"

    @property
    def ws_url(self) -> str:
        """``ws://host:port``."""
        return f"ws://{self.host}:{self.port}"

    def run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner, keep_connections():
                runner.run(self._serve())
        except BaseException as error:  # it is raised in the test's thread
            self.error = error
        finally:
            self.is_ready.set()

    def terminate(self) -> None:
        """Stop the server at once and wait for its end."""
        if self.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
        self.join()

    def call(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Run ``function(*args)`` in the server's loop, as its applications run there, and wait for its end."""
        result: Future[T] = Future()

        async def run() -> None:
            try:
                result.set_result(await function(*args))
            except BaseException as error:
                result.set_exception(error)

        self._loop.call_soon_threadsafe(partial(self._loop.create_task, run()), context=self._context.copy())
        return result.result()

    async def _serve(self) -> None:
        in_test.set(True)
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        sync_thread = ThreadPoolExecutor(1, "raceway-live-sync", self._adopt_connections)
        try:
            async with ThreadSensitiveContext(executor=sync_thread):
                server = Server(self._watched, Config(host=self.host, port=self.port, access_log=False))
                await server.start()
                address = server.addresses[0]
                assert isinstance(address, tuple)
                self.port = address[1]
                self._context = copy_context()
                self.is_ready.set()
                await self._ended.wait()
                await server.stop(drain_s=0)
            sync_thread.submit(self._close_connections).result()
        finally:
            sync_thread.shutdown(wait=False)

    async def _watched(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.application(scope, receive, send)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # pytest.fail() raises no Exception
            if scope["type"] != "lifespan":  # raising there says that it takes no part
                self.errors.append(error)
            raise

    def _adopt_connections(self) -> None:
        for alias, connection in self.connections_override.items():
            connections[alias] = connection

    def _close_connections(self) -> None:
        for connection in connections.all(initialized_only=True):
            if connection.alias not in self.connections_override:
                connection.close()


class RacewayLiveServerTestCase(ChannelLayersMixin, LiveServerTestCase):
    """Django's ``LiveServerTestCase`` on Raceway's server, so that WebSockets work::

        class ChatTests(RacewayLiveServerTestCase):
            def test_echo(self):
                with websockets.sync.client.connect(
                    f"{self.live_server_ws_url}/echo/", origin=self.live_server_url
                ) as socket: ...

    It serves ``ASGI_APPLICATION``, or what ``raceway.asgi.get_application`` makes, in a thread of the test's own
    process: tests and application share channel layers, settings and an in-memory SQLite database. The server's
    host is in ``ALLOWED_HOSTS``, so its own pages may open WebSockets. An exception that leaves the application
    fails the test in which it was raised, or the class if all its tests have ended; take it from
    ``server_thread.errors`` if it was meant.
    """

    serve_static: ClassVar[bool] = True
    """Serve the files of ``django.contrib.staticfiles``, without ``collectstatic``."""

    server_thread: LiveServerThread

    @classproperty
    def live_server_ws_url(cls: Any) -> str:
        """``ws://host:port``."""
        thread: LiveServerThread = cls.server_thread
        return thread.ws_url

    @classmethod
    def get_application(cls) -> ASGIApplication:
        """What is served; override it to serve something else than the project."""
        return project_application()

    @classmethod
    def _create_server_thread(cls, connections_override: dict[str, BaseDatabaseWrapper]) -> LiveServerThread:
        application = StaticFiles(cls.get_application(), serve=cls.serve_static)
        return LiveServerThread(cls.host, application, connections_override, cls.port)

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self._raise_errors)

    @classmethod
    def _raise_errors(cls) -> None:
        errors, cls.server_thread.errors = cls.server_thread.errors, []
        if errors:
            raise errors[0]

    @classmethod
    def _terminate_thread(cls) -> None:
        super()._terminate_thread()  # type: ignore[misc]
        cls._raise_errors()  # what ended after its test had


@contextmanager
def live_server(host: str = "localhost", serve_static: bool = True) -> Iterator[LiveServerThread]:
    """The project on Raceway's own server, for tests that are no ``RacewayLiveServerTestCase``.

    Raises at the end what the application has raised; see ``LiveServerThread.errors``.
    """
    application = StaticFiles(project_application(), serve=serve_static)
    shared = {one.alias: one for one in connections.all() if is_in_memory(one)}
    thread = LiveServerThread(host, application, shared)
    with modify_settings(ALLOWED_HOSTS={"append": host}):
        for one in shared.values():
            one.inc_thread_sharing()
        thread.start()
        thread.is_ready.wait()
        try:
            if thread.error is not None:
                raise thread.error
            yield thread
        finally:
            thread.terminate()
            for one in shared.values():
                one.dec_thread_sharing()
    if thread.errors:
        raise thread.errors[0]


def is_in_memory(connection: Any) -> bool:
    """Whether only this connection has its database."""
    return connection.vendor == "sqlite" and bool(connection.is_in_memory_db())


ChannelsLiveServerTestCase = RacewayLiveServerTestCase
"""The name that tests written for Channels know."""
