"""The access log: one line per request, formatted once and written in batches.

It does not go through ``logging``: a log record per request costs as much as the request.
"""

from __future__ import annotations

import os
import time
from typing import Final

from raceway.wire.events import Request

LINES_PER_WRITE: Final = 512


class AccessLog:
    """Collect lines and write them to a file descriptor when told to, in the common log format plus seconds.

    ``client [time] "method target version" status body-bytes seconds``. A full pipe blocks, as it would for any
    process; the lines of one tick are one write.
    """

    __slots__ = ("_fd", "_lines", "_stamp")

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd
        self._lines: list[str] = []
        self._stamp = ""

    def add(
        self,
        client: tuple[str, int] | None,
        request: Request | None,
        status: int,
        size_bytes: int,
        seconds: float,
    ) -> None:
        """Add the line of one request; ``None`` is one that could not be read."""
        line = "-"
        if request is not None:
            line = f"{request.method} {target_of(request)} HTTP/{request.http_version}"
        who = f"{client[0]}:{client[1]}" if client is not None else "-"
        self._lines.append(f'{who} [{self._stamp}] "{line}" {status} {size_bytes} {seconds:.4f}\n')
        if len(self._lines) >= LINES_PER_WRITE:
            self.flush()

    def tick(self, now_unix_s: float) -> None:
        """Write what has been collected, and note the second that later lines carry."""
        self.flush()
        self._stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now_unix_s))

    def flush(self) -> None:
        if not self._lines:
            return
        data = memoryview("".join(self._lines).encode("utf-8", "backslashreplace"))
        self._lines.clear()
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:  # nobody reads it any more; serving goes on
            pass


def target_of(request: Request) -> str:
    """What was asked for, as it came."""
    target = request.raw_path.decode("ascii", "backslashreplace")
    if request.query_string:
        return f"{target}?{request.query_string.decode('ascii', 'backslashreplace')}"
    return target
