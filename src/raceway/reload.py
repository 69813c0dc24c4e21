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

INHERITED: Final = "RACEWAY_INHERITED_SOCKETS"
"""In the environment of the child: the numbers of the sockets that it serves, and that it is the child."""

STOP_S: Final = 5.0
"""How long a child may take to stop before it is killed."""


def serve_with_reload(config: Config) -> int:
    """Keep the sockets open, run this command again in a child, replace it on each change.

    Connections that come during a restart wait in the sockets' queue. Ends with SIGINT or SIGTERM; returns 0.
    """
    sockets = open_sockets(config)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    child = _start(sockets)
    logger.info("Watching Python files below %s.", Path.cwd())
    try:
        for changes in watchfiles.watch(
            ".", watch_filter=watchfiles.PythonFilter(), stop_event=stop, raise_interrupt=False
        ):
            names = sorted({os.path.relpath(path) for _, path in changes})
            logger.info("%s changed: restarting.", names[0] if len(names) == 1 else f"{len(names)} files")
            _stop(child)
            child = _start(sockets)
    finally:
        _stop(child)
        close_sockets(sockets, config.uds)
    return 0


def _start(sockets: list[socket.socket]) -> subprocess.Popen[bytes]:
    numbers = [opened.fileno() for opened in sockets]
    return subprocess.Popen(
        [sys.executable, "-m", "raceway", *sys.argv[1:]],
        pass_fds=numbers,
        env={**os.environ, INHERITED: ",".join(map(str, numbers))},
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
