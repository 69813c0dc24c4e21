"""The layer between machines that meet at Redis or Valkey."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

from django.utils.module_loading import import_string

from raceway.errors import ConfigurationError
from raceway.layers.distributed import DistributedLayer
from raceway.layers.distributed.carrier import Ears
from raceway.layers.redis.carrier import RedisCarrier
from raceway.layers.redis.hosts import parse_hosts
from raceway.layers.redis.requests import Requests
from raceway.layers.redis.threads import RedisThreadCarrier
from raceway.layers.redis.topology import Topology

logger = logging.getLogger("raceway.layers")

Callback: TypeAlias = Callable[..., Any]
"""Takes the reason, a ``str``, or nothing; may be a coroutine function."""


class RedisLayer(DistributedLayer):
    """Carry messages between processes, on any number of machines, by way of Redis or Valkey.

    ``hosts`` says where: a server, a master that Sentinel names, a Cluster, or several of these to shard over.
    All names in Redis begin with ``prefix``: two layers with different ones know nothing of each other.
    ``on_disconnect`` and ``on_reconnect``, callables or dotted paths to such, are called in the event loop once for
    each loss of what it is subscribed to.
    """

    def __init__(
        self,
        *,
        hosts: Any = None,
        prefix: str = "asgi",
        on_disconnect: Callback | str | None = None,
        on_reconnect: Callback | str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.hosts = parse_hosts(hosts)
        self.prefix = require_prefix(prefix)
        self._on_disconnect = callback("on_disconnect", on_disconnect)
        self._on_reconnect = callback("on_reconnect", on_reconnect)
        self._disconnected: set[asyncio.AbstractEventLoop] = set()
        self._disconnected_lock = threading.Lock()
        self._callback_tasks: set[asyncio.Task[Any]] = set()

    def make_carrier(self, loop: asyncio.AbstractEventLoop, ears: Ears) -> RedisCarrier:
        topology = Topology(self.hosts)
        return RedisCarrier(loop, ears, topology, Requests(self.prefix, topology), self._clock)

    def make_thread_carrier(self) -> RedisThreadCarrier:
        topology = Topology(self.hosts)
        return RedisThreadCarrier(topology, Requests(self.prefix, topology))

    def on_lost(self, reason: str) -> None:
        loop = asyncio.get_running_loop()
        with self._disconnected_lock:
            self._disconnected = {one for one in self._disconnected if not one.is_closed()}
            is_first = not self._disconnected
            self._disconnected.add(loop)
        if is_first:
            self._call(self._on_disconnect, reason)

    def on_restored(self, reason: str) -> None:
        loop = asyncio.get_running_loop()
        with self._disconnected_lock:
            was_disconnected = loop in self._disconnected
            self._disconnected = {
                one for one in self._disconnected if one is not loop and not one.is_closed()
            }
            is_last = was_disconnected and not self._disconnected
        if is_last:
            self._call(self._on_reconnect, reason)

    def _call(self, function: Callback | None, reason: str) -> None:
        if function is None:
            return
        try:
            called = function(reason) if takes_reason(function) else function()
        except Exception:
            logger.exception("%r failed.", function)
            return
        if inspect.isawaitable(called):
            task = asyncio.get_running_loop().create_task(self._finish(function, called))
            self._callback_tasks.add(task)
            task.add_done_callback(self._callback_tasks.discard)

    async def _finish(self, function: Callback, called: Any) -> None:
        try:
            await called
        except Exception:
            logger.exception("%r failed.", function)

    def _begin_again(self) -> None:
        super()._begin_again()
        self._disconnected = set()
        self._disconnected_lock = threading.Lock()
        self._callback_tasks = set()


def require_prefix(prefix: object) -> str:
    """Raises ``ConfigurationError`` for what would disturb the hash tags of keys."""
    if not isinstance(prefix, str) or not prefix or "{" in prefix or "}" in prefix:
        raise ConfigurationError(f"prefix is a text without braces, and not empty, not {prefix!r}.")
    return prefix


def callback(option: str, function: Callback | str | None) -> Callback | None:
    """The function that a dotted path names. Raises ``ConfigurationError``."""
    if isinstance(function, str):
        try:
            function = import_string(function)
        except ImportError as error:
            raise ConfigurationError(f"{option}: {error}") from error
    if function is not None and not callable(function):
        raise ConfigurationError(f"{option} is a callable or the dotted path of one, not {function!r}.")
    return function


def takes_reason(function: Callback) -> bool:
    try:
        inspect.signature(function).bind("reason")
    except (TypeError, ValueError):
        return False
    return True
