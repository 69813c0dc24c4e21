"""``raceway serve`` as a real process."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

DEADLINE_S = 20.0

APPLICATION = """
import asyncio


def say(word):
    print(word, flush=True)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        say("startup")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        say("shutdown")
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        say("accepted")
        if scope["path"] == "/deaf":
            await asyncio.Event().wait()
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event["text"]})
        say(f"disconnected {event['code']}")
    elif scope["path"].startswith("/sse"):
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: 1\\n\\n", "more_body": True})
        if scope["path"] == "/sse/deaf":
            await asyncio.Event().wait()
        while (await receive())["type"] != "http.disconnect":
            pass
        say("told")
        await send({"type": "http.response.body", "body": b"data: bye\\n\\n"})
    else:
        say("called")
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event.get("body", b""), event.get("more_body", False)
        text = b"%s %s" % (scope["scheme"].encode(), body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
        await send({"type": "http.response.body", "body": text})


not_callable = 5


async def fails(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the cupboard is bare"})
"""


class Process:
    """A started ``raceway serve``; its output is read as it comes."""

    def __init__(
        self, folder: Path, *arguments: str, environ: dict[str, str] | None = None, **options: Any
    ) -> None:
        self.began = time.monotonic()
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "raceway", "serve", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self.stdout: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.stderr: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.popen.stdout, self.stdout), (self.popen.stderr, self.stderr))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(pipe: IO[str], lines: queue.SimpleQueue[str | None]) -> None:
        with pipe:
            for line in pipe:
                lines.put(line.rstrip("\n"))
        lines.put(None)

    def _until(self, lines: queue.SimpleQueue[str | None], pattern: str) -> re.Match[str]:
        seen = []
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                line = lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line like {pattern!r} in time; had {seen}") from None
            assert line is not None, f"no line like {pattern!r} at all; had {seen}"
            seen.append(line)
            if match := re.search(pattern, line):
                return match

    def said(self, pattern: str) -> re.Match[str]:
        """Wait for a line on stdout."""
        return self._until(self.stdout, pattern)

    def logged(self, pattern: str) -> re.Match[str]:
        """Wait for a line on stderr."""
        return self._until(self.stderr, pattern)

    def ready(self) -> Process:
        """Wait until it serves; ``port`` is set if it has one."""
        match = self.logged(r"Serving on (?:https?://\S+:(?P<port>\d+)|unix:)")
        self.port = int(match["port"] or 0)
        return self

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def ended(self) -> int:
        """Wait for the end; returns the exit status."""
        status = self.popen.wait(DEADLINE_S)
        for reader in self._readers:
            reader.join(DEADLINE_S)
        return status

    @staticmethod
    def _rest(lines: queue.SimpleQueue[str | None]) -> list[str]:
        rest = []
        while not lines.empty() and (line := lines.get()) is not None:
            rest.append(line)
        return rest

    def rest_of_stdout(self) -> list[str]:
        return self._rest(self.stdout)

    def rest_of_stderr(self) -> list[str]:
        return self._rest(self.stderr)

    def workers(self) -> set[int]:
        """The processes of a supervisor, by their ids (Linux)."""
        pid = self.popen.pid
        try:
            return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
        except FileNotFoundError:
            return set()

    def memory_bytes(self) -> int:
        """Resident memory (Linux)."""
        pages = int(Path(f"/proc/{self.popen.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def kill(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait(DEADLINE_S)
        for reader in self._readers:
            reader.join(DEADLINE_S)


@contextlib.contextmanager
def process(folder: Path, *arguments: str, **options: Any) -> Iterator[Process]:
    """Run ``raceway serve`` with ``app.py`` in its folder; killed at the end if it still runs."""
    path = folder / "app.py"
    if not path.exists():
        path.write_text(APPLICATION)
    started = Process(folder, *arguments, **options)
    try:
        yield started
    finally:
        started.kill()
