"""What is compared: how each server, and Redis beside it, is installed, started and stopped."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE / ".build"
SERVER_CORE = 0
LOAD_CORE = 1
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0

# Hypercorn ends a connection after 1,000 requests; nobody else does, and it has no option for it.
_HYPERCORN_CONFIG = BUILD / "hypercorn.toml"

# Channels asks for no parser of Redis' answers; redis-py's documentation says that hiredis is the fastest.
_CHANNELS = ("channels>=4.3,<4.4", "channels_redis>=4.3,<4.4", "redis[hiredis]")


@dataclass(frozen=True)
class Server:
    """One contender. ``arguments(application, port, access_log)`` is what follows ``python`` on its command line."""

    name: str
    arguments: Callable[[str, int, bool], list[str]]
    requirements: tuple[str, ...] = ()  # none: runs in the environment of the benchmarks
    distributions: tuple[str, ...] = ()  # whose versions are reported
    environment: str = ""  # where the requirements are
    module: str = "benchmarks.apps"  # where its applications are
    has_redis: bool = False  # a Redis of its own runs beside it

    @property
    def python(self) -> Path:
        return python(self.environment) if self.requirements else Path(sys.executable)

    def install(self) -> None:
        """Make its environment, if it needs one. Raises ``CalledProcessError`` where PyPI is out of reach."""
        if self.requirements:
            install(self.environment, self.requirements)


def _raceway(app: str, port: int, access_log: bool) -> list[str]:
    log = "--access-log" if access_log else "--no-access-log"
    return ["-m", "raceway", "serve", app, "--port", str(port), log]


def _uvicorn(app: str, port: int, access_log: bool) -> list[str]:
    log = ["--access-log"] if access_log else ["--no-access-log", "--log-level", "warning"]
    return ["-m", "uvicorn", app, "--port", str(port), "--loop", "uvloop", "--http", "httptools", *log]


def _granian(app: str, port: int, access_log: bool) -> list[str]:
    # By default it serves at most 1,024 WebSockets at a time (backpressure, which is at most the backlog).
    many = ["--backlog", "16384", "--backpressure", "16384"]
    log = "--access-log" if access_log else "--no-access-log"
    command = ["-m", "granian", "--interface", "asgi", "--loop", "uvloop", "--port", str(port)]
    return [*command, *many, log, app]


def _hypercorn(app: str, port: int, access_log: bool) -> list[str]:
    _HYPERCORN_CONFIG.write_text("keep_alive_max_requests = 1000000000\n")
    log = ["--access-logfile", "-"] if access_log else []
    command = ["-m", "hypercorn", "--worker-class", "uvloop", "--bind", f"127.0.0.1:{port}"]
    return [*command, "--config", str(_HYPERCORN_CONFIG), *log, app]


def _daphne(app: str, port: int, access_log: bool) -> list[str]:
    log = ["--access-log", "-"] if access_log else ["--verbosity", "0"]
    return ["-m", "daphne", "--port", str(port), *log, app]


def _floor(app: str, port: int, access_log: bool) -> list[str]:
    return ["-m", "benchmarks.floor", app.partition(":")[2], str(port)]


RACEWAY = Server("Raceway", _raceway, distributions=("raceway",))
UVICORN = Server("Uvicorn", _uvicorn, ("uvicorn[standard]",), ("uvicorn",), "uvicorn")
GRANIAN = Server("Granian", _granian, ("granian[uvloop]",), ("granian",), "granian")
HYPERCORN = Server("Hypercorn", _hypercorn, ("hypercorn[uvloop]",), ("hypercorn",), "hypercorn")
DAPHNE = Server("Daphne", _daphne, ("daphne",), ("daphne",), "daphne")
FLOOR = Server("uvloop loop", _floor, distributions=("uvloop",))

ALL = (RACEWAY, UVICORN, GRANIAN, HYPERCORN, DAPHNE, FLOOR)


def _with_django(server: Server) -> Server:
    """The server in an environment that has this one's Django, and Channels, and runs Django's own handler."""
    return replace(
        server,
        requirements=(*server.requirements, f"django=={django_version()}", *_CHANNELS),
        distributions=("django", *server.distributions),
        environment=f"django-{server.environment}",
        module="benchmarks.project.asgi",
    )


def _with_channels(server: Server, *, has_redis: bool) -> Server:
    server = _with_django(server)
    return replace(
        server,
        name=f"Channels on {server.name}, {'Redis pub/sub' if has_redis else 'in memory'}",
        distributions=(*server.distributions, "channels", *(("channels_redis",) if has_redis else ())),
        module="benchmarks.project.on_channels",
        has_redis=has_redis,
    )


def django_version() -> str:
    return importlib.metadata.version("django")


CONSUMERS = replace(RACEWAY, distributions=("raceway", "django"), module="benchmarks.project.on_raceway")
DJANGO = tuple(_with_django(server) for server in (GRANIAN, UVICORN, DAPHNE))
CHANNELS_IN_MEMORY = tuple(_with_channels(server, has_redis=False) for server in (UVICORN, GRANIAN, DAPHNE))
CHANNELS_ON_REDIS = tuple(_with_channels(server, has_redis=True) for server in (UVICORN, GRANIAN, DAPHNE))


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


def versions(server: Server) -> dict[str, str]:
    """The versions that are installed."""
    if server.requirements and not server.python.exists():
        return dict.fromkeys(server.distributions, "not installed")
    ask = f"import importlib.metadata as m; print(*map(m.version, {server.distributions!r}))"
    answer = subprocess.run([server.python, "-c", ask], capture_output=True, text=True, check=False)
    found = answer.stdout.split() or ["not installed"] * len(server.distributions)
    return dict(zip(server.distributions, found, strict=True))


def redis_version() -> str:
    program = redis_program()
    if program is None:
        return "not installed"
    words = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.split()
    return next((word.removeprefix("v=") for word in words if word.startswith("v=")), "unknown")


def redis_program() -> str | None:
    return shutil.which("redis-server") or shutil.which("valkey-server")


def pin(core: int) -> Callable[[], None]:
    """What a child process runs first to stay on one core."""
    return lambda: os.sched_setaffinity(0, {core})


@dataclass(frozen=True)
class Running:
    """A server that accepts connections, and its Redis if it has one."""

    pid: int
    port: int
    redis_pid: int | None = None


@contextmanager
def running(
    server: Server, app: str, *, access_log: bool = False, variables: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Run a server on its core; its output goes to a file, as in production. Raises ``RuntimeError``.

    ``variables`` are added to the environment of the process.
    """
    with _redis() if server.has_redis else nullcontext() as redis:
        port = _free_port()
        arguments = [str(server.python), *server.arguments(f"{server.module}:{app}", port, access_log)]
        environment = {**os.environ, **(variables or {})}
        if redis is not None:
            environment["BENCHMARKS_REDIS_PORT"] = str(redis.port)
        with _started(arguments, port, server.name, environment) as process:
            yield Running(process.pid, port, redis.pid if redis else None)


@contextmanager
def _redis() -> Iterator[Running]:
    """A Redis of its own, which keeps nothing on disk, on the server's core: the load never leaves its own."""
    program = redis_program()
    if program is None:
        raise RuntimeError("neither redis-server nor valkey-server is installed")
    port = _free_port()
    arguments = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with _started([*arguments, "--dir", str(BUILD)], port, "Redis", dict(os.environ)) as process:
        yield Running(process.pid, port)


@contextmanager
def _started(
    arguments: list[str], port: int, name: str, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    BUILD.mkdir(exist_ok=True)
    log = BUILD / f"{''.join(letter if letter.isalnum() else '-' for letter in name)}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            cwd=HERE.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=pin(SERVER_CORE),
        )
    try:
        _await_port(process, port, log)
        yield process
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
