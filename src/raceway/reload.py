"""Restart the server when its code changes: a parent that watches, and a child that serves."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import watchfiles

from raceway.server import Config
from raceway.server.listener import close_sockets, open_sockets

logger = logging.getLogger("raceway.server")

PLACES: Final = ("RACEWAY_RELOAD", "RACEWAY_HOST", "RACEWAY_PORT", "RACEWAY_UDS", "RACEWAY_FD")
"""What the child must not take from the environment: it inherits the socket."""

STOP_S: Final = 5.0
"""How long a child may take to stop before it is killed."""


def serve_with_reload(config: Config) -> int:
    """Keep the sockets open, run this command again without ``--reload`` in a child, replace it on each change.

    Connections that come during a restart wait in the sockets' queue. Ends with SIGINT or SIGTERM; returns 0.
    """
    sockets = open_sockets(config)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    child = _start(sockets[0])
    logger.info("Watching Python files below %s.", Path.cwd())
    try:
        for changes in watchfiles.watch(
            ".", watch_filter=watchfiles.PythonFilter(), stop_event=stop, raise_interrupt=False
        ):
            names = sorted({os.path.relpath(path) for _, path in changes})
            logger.info("%s changed: restarting.", names[0] if len(names) == 1 else f"{len(names)} files")
            _stop(child)
            child = _start(sockets[0])
    finally:
        _stop(child)
        close_sockets(sockets, config.uds)
    return 0


def _start(listening: socket.socket) -> subprocess.Popen[bytes]:
    arguments = [word for word in sys.argv[1:] if word != "--reload"]
    environment = {name: value for name, value in os.environ.items() if name not in PLACES}
    number = listening.fileno()
    return subprocess.Popen(
        [sys.executable, "-m", "raceway", *_without_place(arguments), "--fd", str(number)],
        pass_fds=[number],
        env=environment,
        start_new_session=True,  # a Ctrl-C goes to the parent, which tells the child
    )


def _without_place(arguments: list[str]) -> list[str]:
    """Leave out where to listen: the child inherits the socket."""
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        name, separator, _ = word.partition("=")
        if name in ("--host", "--port", "--uds", "--fd"):
            if not separator:
                next(words, None)
        else:
            kept.append(word)
    return kept


def _stop(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
