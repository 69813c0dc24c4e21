"""Restart a process when its code changes: a parent that watches, and a child that does the work."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import watchfiles

from raceway.server import Config
from raceway.server.listener import close_sockets, open_sockets

logger = logging.getLogger("raceway.server")

INHERITED: Final = "RACEWAY_INHERITED_SOCKETS"
"""In the environment of the child: the numbers of the sockets that it serves, and that it is the child."""

RELOADER: Final = "RACEWAY_RELOADER"
"""In the environment of the child: the number of a pipe that ends with its parent."""

STOP_S: Final = 5.0
"""How long a child may take to stop before it is killed."""


def serve_with_reload(config: Config) -> int:
    """Keep the sockets open, run this command again in a child, replace it on each change.

    Connections that come during a restart wait in the sockets' queue. Ends with SIGINT or SIGTERM; returns 0.
    """
    sockets = open_sockets(config)
    numbers = [opened.fileno() for opened in sockets]
    try:
        return run_with_reload(
            [sys.executable, "-m", "raceway", *sys.argv[1:]],
            {INHERITED: ",".join(map(str, numbers))},
            numbers,
        )
    finally:
        close_sockets(sockets, config.uds)


def run_with_reload(command: list[str], environment: dict[str, str], files: Sequence[int] = ()) -> int:
    """Run a command in a child, and anew on each change of a Python file; ``environment`` says that it is the child.

    Ends with SIGINT or SIGTERM; returns 0.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if sys.platform != "win32":
        ends_with_us, _ = os.pipe()  # the other end is closed by this process's end, however that comes
        files = [*files, ends_with_us]
        environment = {**environment, RELOADER: str(ends_with_us)}
    child = _start(command, environment, files)
    logger.info("Watching Python files below %s.", Path.cwd())
    try:
        for changes in watchfiles.watch(
            ".", watch_filter=watchfiles.PythonFilter(), stop_event=stop, raise_interrupt=False
        ):
            names = sorted({os.path.relpath(path) for _, path in changes})
            logger.info("%s changed: restarting.", names[0] if len(names) == 1 else f"{len(names)} files")
            _stop(child)
            child = _start(command, environment, files)
    finally:
        _stop(child)
    return 0


def end_with_reloader() -> None:
    """Have this process stop, as SIGTERM does, when the reloader that has started it is gone; for the child."""
    number = os.environ.pop(RELOADER, None)
    if number is not None:
        threading.Thread(target=_await_end, args=(int(number),), name="raceway-reloader", daemon=True).start()


def _await_end(number: int) -> None:
    os.read(number, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _start(command: list[str], environment: dict[str, str], files: Sequence[int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        pass_fds=files,
        env={**os.environ, **environment},
        start_new_session=True,  # a Ctrl-C goes to the parent, which tells the child
    )


def _stop(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
