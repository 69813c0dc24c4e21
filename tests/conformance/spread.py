"""One layer whose work is spread over several real processes, so that the conformance suite finds what goes wrong
between them.

Who sends does so in one process, as any sender does: the main thread of a test in one, each of its other threads in
another. Channels are made, received from and made members in all processes in turn; a channel whose name has a process
in it (``specific.<process>!1``) is open, and received from, there.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from inspect import signature
from itertools import count, cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from raceway.layers.front import ChannelLayer
from raceway.layers.spec import require_channel_name
from raceway.registry import Message
from tests.conformance.member import Packed, Token, unpacked

ROOT = Path(__file__).parents[2]
WAIT_S = 20.0
OF_EVERY_LAYER = frozenset(signature(ChannelLayer).parameters)


class Process:
    """A started ``tests.conformance.member``."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        code = f"from tests.conformance.member import main; main({theirs.fileno()})"
        with theirs:
            self.popen = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", code],
                cwd=ROOT,
                env={**os.environ, "RACEWAY_SUPERVISED": "1"},  # so that it hosts no broker by itself
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                text=True,
            )
        self.heard: dict[Token, Callable[[str, tuple[Any, ...]], None]] = {}
        """What is called in the reader's thread for what an open channel is handed."""
        self._pipe = Connection(ours.detach())
        self._send_lock = threading.Lock()
        self._numbers = count(1)
        self._answers: dict[int, Future[Any]] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                said = self._pipe.recv()
                if len(said) == 3:
                    token, how, args = said
                    if token in self.heard:
                        self.heard[token](how, args)
                    continue
                number, value = said
                answer = self._answers.pop(number)
                if isinstance(value, CancelledError):
                    answer.cancel()
                elif isinstance(value, BaseException):
                    answer.set_exception(value)
                else:
                    answer.set_result(value)
        for answer in self._answers.values():
            answer.set_exception(EOFError("The process has ended."))

    def begin(self, name: str, *args: Any) -> tuple[int, Future[Any]]:
        """Give an order; its number and its answer to come."""
        answer: Future[Any] = Future()
        with self._send_lock:
            number = next(self._numbers)
            self._answers[number] = answer
            self._pipe.send((number, name, args))
        return number, answer

    def order(self, name: str, *args: Any) -> Any:
        """Give an order and wait for its answer."""
        return self.begin(name, *args)[1].result(WAIT_S)

    def end(self) -> str:
        """Let it end; what it has said on stderr."""
        with socket.socket(fileno=os.dup(self._pipe.fileno())) as pipe:
            pipe.shutdown(socket.SHUT_RDWR)
        try:
            _, said = self.popen.communicate(timeout=WAIT_S)
        finally:
            self.popen.kill()
            self._reader.join(WAIT_S)
            self._pipe.close()
        return said


class Processes:
    """Some members, and a process that hosts the brokers."""

    def __init__(self, members: list[Process], host: Process, folder: Path) -> None:
        self.members = members
        self.host = host
        self.folder = folder
        self._numbers = count()

    def make_layer(self, **options: Any) -> SpreadLayer:
        """A local layer with a broker of its own."""
        path = str(self.folder / f"{next(self._numbers)}")
        self.host.order("host", path)
        layer = self.spread("raceway.layers.local.LocalLayer", path=path, **options)
        layer.at_end = partial(self.host.order, "end_host", path)
        return layer

    def spread(self, backend: str, **options: Any) -> SpreadLayer:
        """A layer of ``backend``, a dotted path, in each of the processes."""
        return SpreadLayer(self, f"{backend} {next(self._numbers)}", backend, options)

    def move_clock(self, seconds: float) -> None:
        for process in [*self.members, self.host]:
            process.order("move_clock", seconds)


@contextmanager
def processes(number: int) -> Iterator[Processes]:
    """``number`` members and a host; nothing may have gone wrong in them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rw-")))
        started = [Process() for _ in range(number + 1)]
        said: list[str] = []
        for process in started:
            stack.callback(lambda process=process: said.append(process.end()))
        yield Processes(started[1:], started[0], folder)
        stack.pop_all().close()
        ends = [
            (process.popen.returncode, what) for process, what in zip(reversed(started), said, strict=True)
        ]
        assert ends == [(0, "")] * len(started), ends


class SpreadLayer(ChannelLayer):
    """The layers of several processes, in the shape of one layer."""

    def __init__(self, processes: Processes, key: str, backend: str, options: dict[str, Any]) -> None:
        super().__init__(**{name: value for name, value in options.items() if name in OF_EVERY_LAYER})
        self._key = key
        self._members = processes.members
        self.at_end: Callable[[], object] = lambda: None
        options = {
            name: value for name, value in options.items() if name != "drop_share"
        }  # that is done here
        for member in self._members:
            offered = member.order("make", key, backend, options)
        self.extensions = [name for name in offered if name != "statistics"]  # those are of one process
        self._turns = cycle(self._members)
        self._senders: dict[int, Process] = {}
        """By thread."""
        self._owners: dict[str, Process] = {}
        """Of the names that were made here, by all of a name that comes before its number."""
        self._opened: dict[str, Process] = {}

    def end(self) -> None:
        for member in self._members:
            member.order("end", self._key)
        self.at_end()

    # Who does it

    @property
    def _sender(self) -> Process:
        thread = threading.get_ident()
        if thread not in self._senders:
            self._senders[thread] = next(self._turns)
        return self._senders[thread]

    def _owner(self, channel: str) -> Process:
        return self._owners.get(channel.partition("!")[0]) or next(self._turns)

    def _begin(self, member: Process, name: str, *args: Any) -> tuple[int, Future[Any]]:
        """Call a method of the layer there, in a loop if we are called in one, and in a thread if not."""
        try:
            asyncio.get_running_loop()
            where = "in_loop"
        except RuntimeError:
            where = "in_thread"
        return member.begin(where, self._key, name, args)

    def _do(self, member: Process, name: str, *args: Any) -> Any:
        return self._begin(member, name, *args)[1].result(WAIT_S)

    def _start(self, member: Process, name: str, *args: Any) -> Awaitable[Any]:
        return asyncio.wrap_future(self._begin(member, name, *args)[1])

    # The specification

    async def new_channel(self, prefix: str = "specific") -> str:
        return self._note(member := next(self._turns), await self._start(member, "new_channel", prefix))

    def new_channel_name(self, prefix: str = "specific") -> str:
        return self._note(member := next(self._turns), self._do(member, "new_channel_name", prefix))

    def _note(self, owner: Process, name: str) -> str:
        self._owners[name.partition("!")[0]] = owner
        return name

    async def receive(self, channel: str) -> Any:
        require_channel_name(channel, receive=True)
        member = self._opened.get(channel) or self._owner(channel)
        number, answer = self._begin(member, "receive", channel)
        got = asyncio.wrap_future(answer)
        while True:
            try:
                return await asyncio.shield(got)
            except asyncio.CancelledError:
                if got.cancelled():
                    raise
                member.begin("cancel", number)  # it may have a message already: that is not lost

    async def group_add(self, group: str, channel: str) -> None:
        await self._start(next(self._turns), "group_add", group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        await self._start(next(self._turns), "group_discard", group, channel)

    async def flush(self) -> None:
        await self._start(next(self._turns), "flush")

    async def aclose(self) -> None:
        for member in self._members:
            await self._start(member, "aclose")

    # Delay

    def start_send_later(self, channel: str, message: Message, *args: Any) -> Awaitable[None]:
        return self._start(self._sender, "start_send_later", channel, Packed(message), *args)

    def send_later_from_thread(self, channel: str, message: Message, *args: Any) -> None:
        self._do(self._sender, "send_later_from_thread", channel, Packed(message), *args)

    async def cancel(self, channel: str, token: str) -> Any:
        return await self._start(next(self._turns), "cancel", channel, token)

    def cancel_from_thread(self, channel: str, token: str) -> Any:
        return self._do(next(self._turns), "cancel_from_thread", channel, token)

    # Members

    async def group_channels(self, group: str) -> Any:
        return await self._start(next(self._turns), "group_channels", group)

    async def group_count(self, group: str) -> Any:
        return await self._start(next(self._turns), "group_count", group)

    def channels_from_thread(self, group: str) -> Any:
        return self._do(next(self._turns), "channels_from_thread", group)

    def count_from_thread(self, group: str) -> Any:
        return self._do(next(self._turns), "count_from_thread", group)

    # Presence

    def start_enter(self, presence: str, key: str, channel: str, *args: Any) -> Awaitable[None]:
        member = self._opened[channel]
        if self.presence_changed is not None:
            tell, loop = self.presence_changed, asyncio.get_running_loop()
            member.heard[self._key, ""] = lambda how, args: loop.call_soon_threadsafe(tell, *args)
            member.order("watch", self._key)
        return self._start(member, "start_enter", presence, key, channel, *args)

    def start_exit(self, presence: str, channel: str) -> Awaitable[None]:
        return self._start(self._opened[channel], "start_exit", presence, channel)

    async def roll(self, presence: str) -> Any:
        return await self._start(next(self._turns), "roll", presence)

    async def roll_count(self, presence: str) -> Any:
        return await self._start(next(self._turns), "roll_count", presence)

    def roll_from_thread(self, presence: str) -> Any:
        return self._do(next(self._turns), "roll_from_thread", presence)

    def roll_count_from_thread(self, presence: str) -> Any:
        return self._do(next(self._turns), "roll_count_from_thread", presence)

    # Push

    def open(self, channel: str, deliver: Any, push: Any = None, close: Any = None, gap: Any = None) -> None:
        loop = asyncio.get_running_loop()
        member = self._opened.get(channel) or self._owner(channel)
        token = self._key, channel
        calls = {"deliver": deliver, "push": push, "close": close, "gap": gap}

        def call(how: str, args: tuple[Any, ...]) -> None:
            if channel in self._opened and calls[how] is not None:  # it may have been closed meanwhile
                calls[how](*map(unpacked, args))

        def heard(how: str, args: tuple[Any, ...]) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(call, how, args)

        member.heard.setdefault(token, heard)
        member.order("open", self._key, channel, push is not None)
        self._opened[channel] = member

    def close(self, channel: str) -> None:
        member = self._opened.pop(channel, None)
        if member is not None:
            self._do(member, "close", channel)
            del member.heard[self._key, channel]

    def leave_all(self, channel: str) -> None:
        if channel in self._opened:
            self._do(self._opened[channel], "leave_all", channel)

    # What consumers, Group and Channel call

    def tell_gap(self, reason: str) -> None:
        super().tell_gap(reason)
        for member in self._members:
            self._do(member, "tell_gap", reason)

    def join(self, group: str, channel: str) -> None:
        self._do(self._sender, "join", group, channel)

    def leave(self, group: str, channel: str) -> None:
        self._do(self._sender, "leave", group, channel)

    def start_join(self, group: str, channel: str) -> Awaitable[None]:
        return self._start(self._sender, "start_join", group, channel)

    def start_leave(self, group: str, channel: str) -> Awaitable[None]:
        return self._start(self._sender, "start_leave", group, channel)

    def start_send(self, channel: str, message: Message) -> Awaitable[None]:
        return self._start(self._sender, "start_send", channel, Packed(message))

    def send_from_thread(self, channel: str, message: Message) -> None:
        self._do(self._sender, "send_from_thread", channel, Packed(message))

    def start_publish(self, group: str, message: Message, *args: Any) -> Awaitable[None]:
        return self._start(self._sender, "start_publish", group, Packed(message), *args)

    def publish_from_thread(self, group: str, message: Message, *args: Any) -> None:
        self._do(self._sender, "publish_from_thread", group, Packed(message), *args)

    # What the front asks of a backend, and this one is never asked: all of it happens in the processes

    async def take(self, channel: str) -> bytes:
        raise NotImplementedError

    def add_channel(self, group: str, channel: str) -> None:
        raise NotImplementedError

    def discard_channel(self, group: str, channel: str) -> None:
        raise NotImplementedError

    def clear(self) -> None:
        raise NotImplementedError
