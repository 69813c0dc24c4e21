"""Drive the load generator, ``load.c``: compiled on first use, pinned to its own core."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.servers import BUILD, HERE, LOAD_CORE, Running, install, pin, python

SOURCE = HERE / "load.c"


@dataclass(frozen=True)
class Loaded:
    """What the generator itself counted from its first to its last message; busy is without waiting."""

    messages: int
    wall_s: float
    cpu_s: float
    busy_s: float


class LoadError(RuntimeError):
    """A server answered wrongly, closed, or fell silent; the text says which."""


def build() -> Path:
    """Compile the generator unless it is newer than its source."""
    program = BUILD / "load"
    if not program.exists() or program.stat().st_mtime < SOURCE.stat().st_mtime:
        BUILD.mkdir(exist_ok=True)
        subprocess.run([*_compiler(), "-O2", "-Wall", "-Wextra", "-o", program, SOURCE], check=True)
    return program


def _compiler() -> list[str]:
    """The machine's C compiler; where there is none, the one that PyPI has (about 100 MB)."""
    if compiler := shutil.which("cc") or shutil.which("gcc") or shutil.which("clang"):
        return [compiler]
    install("zig", ("ziglang",))
    return [str(python("zig")), "-m", "ziglang", "cc"]


class Load:
    """One generator process and its connections to one server; leaving the context closes them."""

    def __init__(
        self,
        server: Running,
        *,
        sleeps: bool = False,
        payload: str = "",
        request: str = "",
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        publisher: int | None = None,
    ) -> None:
        """``publisher`` is the pipe of the process that ``listen`` asks to publish."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self.process = subprocess.Popen(
            [build(), "sleep" if sleeps else "spin", str(server.port), request, path, lines],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=pin(LOAD_CORE),
            pass_fds=[] if publisher is None else [publisher],
        )
        self.publisher = publisher
        if payload:
            self.expect(payload)

    def __enter__(self) -> Load:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def expect(self, payload: str) -> None:
        """From now on this is what messages say, those that are sent and those that arrive."""
        self._command(f"payload {payload}")

    def websockets(self, count: int) -> None:
        self._command(f"websockets {count}")

    def keepalives(self, count: int) -> None:
        self._command(f"keepalives {count}")

    def echo(self, seconds: float, depth: int) -> Loaded:
        return Loaded(**self._command(f"echo {seconds} {depth}"))

    def get(self, seconds: float) -> Loaded:
        return Loaded(**self._command(f"get {seconds}"))

    def broadcast(self, count: int) -> Loaded:
        return Loaded(**self._command(f"broadcast {count}"))

    def publish(self, seconds: float, text: str) -> Loaded:
        return Loaded(**self._command(f"publish {seconds} {text}"))

    def listen(self, seconds: float) -> Loaded:
        return Loaded(**self._command(f"listen {seconds} {self.publisher}"))

    def handshakes(self, seconds: float, at_a_time: int) -> Loaded:
        return Loaded(**self._command(f"handshakes {seconds} {at_a_time}"))

    def _command(self, line: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended; its last words follow
        answer: dict[str, Any] = json.loads(self.process.stdout.readline() or '{"error": "no answer"}')
        if "error" in answer:
            raise LoadError(answer["error"])
        return answer
