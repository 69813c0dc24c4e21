"""A channel layer as the first ASGI had it: plain calls, for a loop of one's own that serves clients."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import CancelledError
from functools import partial
from types import TracebackType
from typing import Any, Final, TypeVar

from raceway.errors import ChannelFull, MessageTooLarge
from raceway.layers import ChannelLayer, channel_layers, decode_event
from raceway.layers.spec import as_client_message, require_channel_name, require_group_name
from raceway.layers.statistics import Statistics

BLOCK_S: Final = 5.0
"""How long ``receive_many`` waits for a message if it may wait, in seconds; then there is none."""

LOOK_S: Final = 0.1
"""How long it takes at most to see that none waits, in seconds."""

T = TypeVar("T")
Received = tuple[str, dict[str, Any]] | tuple[None, None]


class SynchronousLayer:
    """A configured layer for threads without an event loop, with calls that wait::

        layer = SynchronousLayer()
        while True:
            channel, message = layer.receive_many(["http.request"], block=True)
            if channel is None:
                continue
            layer.send(message["reply_channel"], {"content": "Hello World!", "status": 200})

    It is made once, and any thread may call it. What waits for messages is a thread of its own, which ``close`` ends.
    """

    ChannelFull = ChannelFull
    MessageTooLarge = MessageTooLarge

    def __init__(self, alias: str = "default") -> None:
        self._alias = alias
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False
        # Taken along with the one that was returned: at most one for each channel that was asked for.
        self._taken: deque[tuple[str, dict[str, Any]]] = deque()

    @property
    def layer(self) -> ChannelLayer:
        return channel_layers[self._alias]

    @property
    def extensions(self) -> list[str]:
        """What the layer offers beyond sending and receiving."""
        return self.layer.extensions

    def new_channel(self, pattern: str = "specific!") -> str:
        """A name that no other channel has, which begins with ``pattern`` up to its ``!``."""
        return self.layer.new_channel_name(pattern.rstrip("!?"))

    def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send ``message`` to one listener of ``channel``. Raises ``ChannelFull`` and ``MessageTooLarge``."""
        require_channel_name(channel)
        said = as_client_message(message) if "!" in channel else message
        self.layer.send_from_thread(channel, self.layer.prepare(said))

    def receive_many(self, channels: Iterable[str], block: bool = False) -> Received:
        """The next message of any of ``channels``, and which it was; ``(None, None)`` if there is none.

        If it may ``block`` it waits for one, but not for ever: call it again. Raises ``RuntimeError`` once closed.
        """
        names = list(channels)
        for name in names:
            require_channel_name(name, receive=True)
        if not names:
            return None, None
        with self._lock:
            for taken in self._taken:
                if taken[0] in names:
                    self._taken.remove(taken)
                    return taken
        try:
            return self._run_in_loop(partial(self._receive, names, BLOCK_S if block else LOOK_S))
        except CancelledError:  # it was closed meanwhile
            return None, None

    receive = receive_many

    def group_add(self, group: str, channel: str) -> None:
        require_group_name(group)
        require_channel_name(channel)
        self.layer.join(group, channel)

    def group_discard(self, group: str, channel: str) -> None:
        require_group_name(group)
        require_channel_name(channel)
        self.layer.leave(group, channel)

    def group_channels(self, group: str) -> list[str]:
        """The members. Raises ``NotImplementedError`` on a layer that cannot tell."""
        return self.layer.channels_from_thread(group)

    def send_group(self, group: str, message: dict[str, Any]) -> None:
        """Send to each member. Never raises ``ChannelFull``."""
        require_group_name(group)
        self.layer.publish_from_thread(group, self.layer.prepare(as_client_message(message)))

    def global_statistics(self) -> Statistics:
        """What this process has sent, and what waits. Raises ``NotImplementedError`` on a layer that cannot tell."""
        return self._run_in_loop(self.layer.global_statistics)

    def channel_statistics(self, channel: str) -> Statistics:
        """What has waited in a channel lately, and waits now. Raises as ``global_statistics``."""
        return self._run_in_loop(partial(self.layer.channel_statistics, channel))

    def flush(self) -> None:
        """Forget all waiting messages and all groups."""
        self._run_in_loop(self.layer.flush)

    def close(self) -> None:
        """Let go of the layer; whoever waits gets ``(None, None)``."""
        with self._lock:
            self._is_closed = True
            loop, thread = self._loop, self._thread
        if loop is not None and thread is not None and thread.is_alive():
            loop.call_soon_threadsafe(self._ended.set)
            if thread is not threading.current_thread():
                thread.join()

    def __enter__(self) -> SynchronousLayer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # The thread

    async def _receive(self, channels: list[str], wait_s: float) -> Received:
        takes = {asyncio.ensure_future(self.layer.take(channel)): channel for channel in channels}
        try:
            await asyncio.wait(takes, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for take in takes:
                take.cancel()
            await asyncio.wait(takes)  # one that was cancelled too late has its message still
        received = [
            (channel, decode_event(take.result()))
            for take, channel in takes.items()
            if not take.cancelled() and take.exception() is None
        ]
        if not received:
            for take in takes:
                if not take.cancelled():
                    take.result()  # raises what the layer says
            return None, None
        with self._lock:
            self._taken.extend(received[1:])
        return received[0]

    def _run_in_loop(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        with self._lock:  # so that what begins before the end is cancelled by it
            if self._is_closed:
                raise RuntimeError("The layer was closed.")
            running = asyncio.run_coroutine_threadsafe(call(), self._loop or self._start())
        return running.result()

    def _start(self) -> asyncio.AbstractEventLoop:
        is_ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(is_ready,), name="raceway-synchronous-layer", daemon=True
        )
        self._thread.start()
        is_ready.wait()
        assert self._loop is not None
        return self._loop

    def _run(self, is_ready: threading.Event) -> None:
        asyncio.run(self._stay(is_ready))

    async def _stay(self, is_ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        is_ready.set()
        await self._ended.wait()
        await self.layer.aclose()
