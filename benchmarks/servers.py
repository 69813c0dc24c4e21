"""The servers that are compared: how each is installed from PyPI, started and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE / ".build"
SERVER_CORE = 0
LOAD_CORE = 1
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0

# Hypercorn ends a connection after 1,000 requests; nobody else does, and it has no option for it.
_HYPERCORN_CONFIG = BUILD / "hypercorn.toml"


@dataclass(frozen=True)
class Server:
    """One contender. ``arguments(app, port, access_log)`` is what follows ``python`` on its command line."""

    name: str
    arguments: Callable[[str, int, bool], list[str]]
    requirements: tuple[str, ...] = ()  # none: runs in the environment of the benchmarks
    distribution: str = ""  # whose version is reported

    @property
    def python(self) -> Path:
        return python(self.name.lower()) if self.requirements else Path(sys.executable)

    def install(self) -> None:
        """Make its environment, if it needs one. Raises ``CalledProcessError`` where PyPI is out of reach."""
        if self.requirements:
            install(self.name.lower(), self.requirements)


def _asgi(app: str) -> str:
    return f"benchmarks.apps:{app}"


def _raceway(app: str, port: int, access_log: bool) -> list[str]:
    log = "--access-log" if access_log else "--no-access-log"
    return ["-m", "raceway", "serve", _asgi(app), "--port", str(port), log]


def _uvicorn(app: str, port: int, access_log: bool) -> list[str]:
    log = ["--access-log"] if access_log else ["--no-access-log", "--log-level", "warning"]
    return ["-m", "uvicorn", _asgi(app), "--port", str(port), "--loop", "uvloop", "--http", "httptools", *log]


def _granian(app: str, port: int, access_log: bool) -> list[str]:
    # By default it serves at most 1,024 WebSockets at a time (backpressure, which is at most the backlog).
    many = ["--backlog", "16384", "--backpressure", "16384"]
    log = "--access-log" if access_log else "--no-access-log"
    command = ["-m", "granian", "--interface", "asgi", "--loop", "uvloop", "--port", str(port)]
    return [*command, *many, log, _asgi(app)]


def _hypercorn(app: str, port: int, access_log: bool) -> list[str]:
    _HYPERCORN_CONFIG.write_text("keep_alive_max_requests = 1000000000\n")
    log = ["--access-logfile", "-"] if access_log else []
    command = ["-m", "hypercorn", "--worker-class", "uvloop", "--bind", f"127.0.0.1:{port}"]
    return [*command, "--config", str(_HYPERCORN_CONFIG), *log, _asgi(app)]


def _daphne(app: str, port: int, access_log: bool) -> list[str]:
    log = ["--access-log", "-"] if access_log else ["--verbosity", "0"]
    return ["-m", "daphne", "--port", str(port), *log, _asgi(app)]


def _floor(app: str, port: int, access_log: bool) -> list[str]:
    return ["-m", "benchmarks.floor", app, str(port)]


RACEWAY = Server("Raceway", _raceway, distribution="raceway")
UVICORN = Server("Uvicorn", _uvicorn, ("uvicorn[standard]",), "uvicorn")
GRANIAN = Server("Granian", _granian, ("granian[uvloop]",), "granian")
HYPERCORN = Server("Hypercorn", _hypercorn, ("hypercorn[uvloop]",), "hypercorn")
DAPHNE = Server("Daphne", _daphne, ("daphne",), "daphne")
FLOOR = Server("uvloop loop", _floor, distribution="uvloop")

ALL = (RACEWAY, UVICORN, GRANIAN, HYPERCORN, DAPHNE, FLOOR)


def python(name: str) -> Path:
    """The interpreter of the environment of that name."""
    return HERE / f".env-{name}" / "bin" / "python"


def install(name: str, requirements: tuple[str, ...]) -> None:
    """Make an environment of its own from PyPI unless it is there. Raises ``CalledProcessError``."""
    environment = HERE / f".env-{name}"
    installed = environment / ".installed"
    if installed.exists() and installed.read_text().split() == [*requirements]:
        return
    print(f"Installing {' '.join(requirements)} from PyPI ...", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
    pip = [str(python(name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    done = subprocess.run(pip, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    done.check_returncode()
    installed.write_text("\n".join(requirements))


def version(server: Server) -> str:
    """The version that is installed."""
    ask = f"import importlib.metadata as m; print(m.version({server.distribution!r}))"
    answer = subprocess.run([server.python, "-c", ask], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "not installed"


def pin(core: int) -> Callable[[], None]:
    """What a child process runs first to stay on one core."""
    return lambda: os.sched_setaffinity(0, {core})


@dataclass(frozen=True)
class Running:
    """A server that accepts connections."""

    pid: int
    port: int


@contextmanager
def running(server: Server, app: str, *, access_log: bool = False) -> Iterator[Running]:
    """Run a server on its core; its output goes to a file, as in production. Raises ``RuntimeError``."""
    port = _free_port()
    BUILD.mkdir(exist_ok=True)
    log = BUILD / f"{server.name.replace(' ', '-')}.log"
    arguments = [str(server.python), *server.arguments(app, port, access_log)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            cwd=HERE.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=pin(SERVER_CORE),
        )
    try:
        _await_port(process, port, log)
        yield Running(process.pid, port)
    finally:
        _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start: {log.read_text(errors='replace')[-2000:].strip()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # the session that was started for it, and nobody else's
    process.wait()
