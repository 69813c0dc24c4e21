"""Run the programs of the benchmarks: ``python -m benchmarks.NAME`` in a contender's environment, on a core."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.servers import HERE, SERVER_CORE, Server, pin

ANSWER_S = 120.0


class Program:
    """A program that takes a command on each line of stdin, and answers with a line of JSON, until stdin ends."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stdin(self) -> int:
        """For another process to write to."""
        assert self.process.stdin is not None
        return self.process.stdin.fileno()

    def ask(self, command: object = "") -> Any:
        """Raises ``RuntimeError`` if it has ended."""
        self.tell(command)
        return self.answer()

    def tell(self, command: object = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a program has ended; what it said last is above")
        return json.loads(line)


@contextmanager
def started(
    server: Server,
    name: str,
    *arguments: object,
    variables: Mapping[str, str] | None = None,
    core: int = SERVER_CORE,
    pass_fds: Sequence[int] = (),
) -> Iterator[Program]:
    """A program that works until this ends, and says ``ready`` first. Raises ``RuntimeError``."""
    process = subprocess.Popen(
        _command(server.python, name, arguments),
        cwd=HERE.parent,
        env={**os.environ, **(variables or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=pass_fds,
        preexec_fn=pin(core),
    )
    program = Program(process)
    try:
        if program.answer() != "ready":
            raise RuntimeError(f"{name} did not start")
        yield program
    finally:
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def run(
    server: Server,
    name: str,
    *arguments: object,
    variables: Mapping[str, str] | None = None,
    core: int = SERVER_CORE,
) -> Any:
    """What a program prints that does its work and ends. Raises ``RuntimeError``."""
    done = subprocess.run(
        _command(server.python, name, arguments),
        cwd=HERE.parent,
        env={**os.environ, **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=pin(core),
        timeout=ANSWER_S,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:].strip())
    return json.loads(done.stdout)


def _command(python: Path, name: str, arguments: Sequence[object]) -> list[str]:
    return [str(python), "-m", f"benchmarks.{name}", *map(str, arguments)]
