"""The process of one worker: a server that obeys its supervisor."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from raceway.errors import ConfigurationError
from raceway.server import Config, Server, load_application
from raceway.server.listener import close_sockets
from raceway.server.running import Stop, run_server
from raceway.server.serving import raise_file_limit
from raceway.supervisor import hosting, pipe
from raceway.supervisor.balance import should_pause
from raceway.supervisor.state import END_S
from raceway.types import ASGIApplication

logger = logging.getLogger("raceway.supervisor")

INHERITED_WORKER: Final = "RACEWAY_INHERITED_WORKER"
"""In the environment of a worker: what ``Inherited`` says."""

OBEYED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What a supervisor obeys, and a worker does not: a signal to the whole group is for the supervisor."""


class Inherited(NamedTuple):
    """What a worker has from its supervisor: the number of its slot, its end of the pipe, its sockets."""

    slot: int
    pipe: int
    sockets: tuple[int, ...]

    def __str__(self) -> str:
        return " ".join(map(str, (self.slot, self.pipe, *self.sockets)))

    @classmethod
    def read(cls, text: str) -> Inherited:
        slot, end, *sockets = map(int, text.split())
        return cls(slot, end, tuple(sockets))


def work(
    application: str,
    config: Config,
    inherited: Inherited,
    leave_within_s: float,
    wrap: Callable[[ASGIApplication], ASGIApplication] | None = None,
) -> int:
    """Serve ``application``, wrapped, until the supervisor says stop, or is no more; returns the exit status."""
    os.environ.pop(INHERITED_WORKER, None)  # it is for us, and not for what we start
    for number in OBEYED:  # not SIG_IGN, which what we start would inherit
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OBEYED)  # the supervisor has blocked them until now
    with suppress(OSError):  # what top shows, on Linux
        Path("/proc/self/comm").write_text(f"raceway:{inherited.slot}")
    raise_file_limit()
    sockets = [_own(number) for number in inherited.sockets]
    end = PipeEnd(_own(inherited.pipe), config.drain_s)
    end.start()
    try:
        loaded = load_application(application)
        if wrap is not None:
            loaded = wrap(loaded)
        end.say(hosting.configured())
        run_server(Server(loaded, config, sockets), end, leave_within_s)
    except ConfigurationError as error:
        end.say(pipe.Failed(str(error)))
        return 2
    except Exception:
        end.say(pipe.Failed(traceback.format_exc().rstrip()))
        return 1
    finally:
        close_sockets(sockets, None)
    return 0


class PipeEnd:
    """A worker's end of the pipe; the server's ``Orders``.

    It is read in a thread, so that a worker ends without its supervisor also where its application blocks: while it
    is loaded, or later.
    """

    log_level = logging.DEBUG

    def __init__(self, end: socket.socket, drain_s: float) -> None:
        self._end = end
        self._end.setblocking(True)
        self._drain_s = drain_s
        self._lock = threading.Lock()
        self._server: Server | None = None
        self._stop: Callable[[Stop], None] = _no_stop
        self._loop: asyncio.AbstractEventLoop | None = None
        self._resuming: asyncio.Future[None] | None = None
        self._listen: asyncio.Event = asyncio.Event()

    def start(self) -> None:
        threading.Thread(target=self._read, name="raceway-supervisor-pipe", daemon=True).start()

    def say(self, word: pipe.FromWorker) -> None:
        with suppress(OSError):  # it is no more, and ``_read`` sees that too
            self._end.sendall(pipe.line(word))

    # Orders

    def attach(self, server: Server, stop: Callable[[Stop], None]) -> None:
        with self._lock:
            self._server, self._stop, self._loop = server, stop, asyncio.get_running_loop()

    async def loaded(self) -> None:
        self.say(pipe.Loaded())
        await self._listen.wait()

    def listening(self) -> None:
        pass

    # In the thread

    def _read(self) -> None:
        lines = pipe.from_supervisor()
        with suppress(OSError):
            while data := self._end.recv(pipe.READ_BYTES):
                for word in lines.receive(data):
                    self._obey(word)
        self._obey(pipe.Stop(self._drain_s), "The supervisor is no more")
        watch = threading.Timer(self._drain_s + END_S, os._exit, (1,))  # nobody else is there to do it
        watch.daemon = True
        watch.start()

    def _obey(self, word: pipe.FromSupervisor, why: str = "Supervisor") -> None:
        with self._lock:
            if self._loop is not None:
                with suppress(RuntimeError):  # it is closed: the server has stopped
                    self._loop.call_soon_threadsafe(self._act, word, why)
            elif isinstance(word, pipe.Stop):  # nobody is connected, and loading may take its time
                with suppress(OSError):
                    sys.stdout.flush()
                os._exit(0)

    # In the loop

    def _act(self, word: pipe.FromSupervisor, why: str) -> None:
        assert self._server is not None
        if isinstance(word, pipe.Stop):
            self._stop(Stop(word.drain_s, why))
        elif isinstance(word, pipe.Listen):
            self._listen.set()
        else:
            self._weigh(self._server, word.mean)

    def _weigh(self, server: Server, mean: float) -> None:
        count = server.connections
        self.say(pipe.Connections(count))
        if self._resuming is not None and not self._resuming.done():
            return
        if should_pause(count, mean):
            server.pause_accepting()
        else:
            self._resuming = asyncio.ensure_future(server.listen())


def _no_stop(_: Stop) -> None:
    """There is nothing to stop yet."""


def _own(number: int) -> socket.socket:
    """An inherited socket, which what we start does not inherit."""
    os.set_inheritable(number, False)
    inherited = socket.socket(fileno=number)
    inherited.setblocking(False)
    return inherited
