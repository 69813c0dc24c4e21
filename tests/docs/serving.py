"""Projects served by real processes, as a reader serves them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

WAIT_S = 10.0


def environment(settings: str | None = None, **more: str) -> dict[str, str]:
    """That of this process, with no settings but the given ones: other tests of this run have set some."""
    environ = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    if settings is not None:
        environ["DJANGO_SETTINGS_MODULE"] = settings
    return {**environ, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "default", **more}


@contextmanager
def started(folder: Path, command: list[str], settings: str, says: str, **more: str) -> Iterator[int]:
    """Run a server until the block ends; ``says`` finds the port in its output."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(settings, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield _port(process.stdout, says)
    finally:
        process.terminate()
        try:
            process.communicate(timeout=WAIT_S)
        finally:
            process.kill()


def _port(output: IO[str], says: str) -> int:
    seen = []
    for line in output:
        seen.append(line)
        if match := re.search(says, line):
            return int(match[1])
    raise AssertionError(f"The server ended: {''.join(seen)}")


@contextmanager
def runserver(folder: Path, settings: str, **more: str) -> Iterator[int]:
    command = [sys.executable, "manage.py", "runserver", "--noreload", "0"]
    with started(folder, command, settings, r"server at http://127\.0\.0\.1:(\d+)/", **more) as port:
        yield port


@contextmanager
def serve(
    folder: Path, application: str, settings: str, *, python: str = sys.executable, **more: str
) -> Iterator[int]:
    command = [python, "-m", "raceway", "serve", application, "--port", "0", "--drain-seconds", "0"]
    with started(folder, command, settings, r"Serving on http://\S+:(\d+)", **more) as port:
        yield port


def get(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    """The status and the body of a page."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
