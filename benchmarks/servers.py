"""What is compared: how each server, and what carries its messages, is installed, started and stopped."""

from __future__ import annotations

import importlib.metadata
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
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


ON_REDIS = ("redis", "channels pub/sub", "channels core")


@dataclass(frozen=True)
class Server:
    """One contender. ``arguments(application, port, access_log)`` is what follows ``python`` on its command line."""

    name: str
    arguments: Callable[[str, int, bool], list[str]]
    requirements: tuple[str, ...] = ()  # none: runs in the environment of the benchmarks
    distributions: tuple[str, ...] = ()  # whose versions are reported
    environment: str = ""  # where the requirements are
    module: str = "benchmarks.apps"  # where its applications are
    layer: str = "memory"  # a key of LAYERS in the project's settings

    @property
    def has_redis(self) -> bool:
        """A Redis of its own runs beside it."""
        return self.layer in ON_REDIS

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


def _with_channels(server: Server, layer: str) -> Server:
    server = _with_django(server)
    has_redis = layer in ON_REDIS
    return replace(
        server,
        name=f"Channels on {server.name}, {_CHANNELS_LAYERS[layer]}",
        distributions=(*server.distributions, "channels", *(("channels_redis",) if has_redis else ())),
        module="benchmarks.project.on_channels",
        layer=layer,
    )


_CHANNELS_LAYERS = {
    "memory": "in memory",
    "channels pub/sub": "Redis pub/sub",
    "channels core": "Redis core",
}


def django_version() -> str:
    return importlib.metadata.version("django")


CONSUMERS = replace(RACEWAY, distributions=("raceway", "django"), module="benchmarks.project.on_raceway")
DJANGO = tuple(_with_django(server) for server in (GRANIAN, UVICORN, DAPHNE))
CHANNELS_IN_MEMORY = tuple(_with_channels(server, "memory") for server in (UVICORN, GRANIAN, DAPHNE))
CHANNELS_ON_REDIS = tuple(_with_channels(server, "channels pub/sub") for server in (UVICORN, GRANIAN, DAPHNE))
CHANNELS_ON_CORE = _with_channels(UVICORN, "channels core")


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


def postgres_version() -> str:
    folder = postgres_folder()
    if folder is None:
        return "not installed"
    said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False)
    return said.stdout.split()[2]


def pin(core: int) -> Callable[[], None]:
    """What a child process runs first to stay on one core."""
    return lambda: os.sched_setaffinity(0, {core})


@dataclass(frozen=True)
class Carrier:
    """What carries the messages of a layer: the variables that tell the project, and the process, if it is one."""

    variables: Mapping[str, str]
    pid: int = 0
    port: int = 0


@dataclass(frozen=True)
class Running:
    """A server that accepts connections, and its Redis if it has one."""

    pid: int
    port: int
    redis_pid: int | None = None
    carrier: Carrier = field(default_factory=lambda: Carrier({}))


@contextmanager
def running(
    server: Server, app: str, *, access_log: bool = False, variables: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Run a server on its core, and what its layer needs; its output goes to a file, as in production.

    ``variables`` are added to the environment of the process. Raises ``RuntimeError``.
    """
    with carrying(server) as carrier:
        port = _free_port()
        arguments = [str(server.python), *server.arguments(f"{server.module}:{app}", port, access_log)]
        environment = {**os.environ, **carrier.variables, **(variables or {})}
        with _started(arguments, port, server.name, environment) as process:
            redis_pid = carrier.pid if server.has_redis else None
            yield Running(process.pid, port, redis_pid, carrier)


@contextmanager
def carrying(server: Server) -> Iterator[Carrier]:
    """What carries the messages of its layer, on the server's core: the load never leaves its own."""
    layer = {"BENCHMARKS_LAYER": server.layer}
    if server.has_redis:
        with _redis() as (pid, port):
            yield Carrier({**layer, "BENCHMARKS_REDIS_PORT": f"{port}"}, pid, port)
    elif server.layer == "postgres":
        with _postgres() as (pid, port):
            variables = {**layer, "BENCHMARKS_POSTGRES_PORT": f"{port}"}
            _django(server, "migrate", "--verbosity=0", variables=variables)
            yield Carrier(variables, pid, port)
    else:
        yield Carrier(layer)


def _django(server: Server, *arguments: str, variables: Mapping[str, str]) -> None:
    """Run a management command of the project. Raises ``RuntimeError``."""
    done = subprocess.run(
        django_command(server, *arguments),
        cwd=HERE.parent,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:].strip())


def django_command(server: Server, *arguments: str) -> list[str]:
    return [str(server.python), "-m", "django", *arguments, "--settings=benchmarks.project.settings"]


@contextmanager
def _redis() -> Iterator[tuple[int, int]]:
    """A Redis of its own, which keeps nothing on disk: its pid and port."""
    program = redis_program()
    if program is None:
        raise RuntimeError("neither redis-server nor valkey-server is installed")
    port = _free_port()
    arguments = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with _started([*arguments, "--dir", str(BUILD)], port, "Redis", dict(os.environ)) as process:
        yield process.pid, port


@contextmanager
def _postgres() -> Iterator[tuple[int, int]]:
    """A PostgreSQL of its own, with the settings that it comes with: the pid of its first process, and its port."""
    folder = postgres_folder()
    if folder is None:
        raise RuntimeError("PostgreSQL is not installed")
    port = _free_port()
    # Not below our folders, which the user that it runs as may not enter.
    with tempfile.TemporaryDirectory(prefix="rw-pg-", dir="/tmp", ignore_cleanup_errors=True) as data:
        as_user = _as_another_user(data) if os.geteuid() == 0 else []
        make = [f"{folder}/initdb", "-D", f"{data}/data", "-U", "postgres", "--auth=trust", "-E", "UTF8"]
        made = subprocess.run([*as_user, *make], cwd="/", capture_output=True, text=True, check=False)
        if made.returncode:
            raise RuntimeError(made.stderr.strip())
        run = [f"{folder}/postgres", "-D", f"{data}/data", "-k", data, "-p", f"{port}"]
        with _started([*as_user, *run], port, "PostgreSQL", dict(os.environ), signal.SIGINT) as process:
            yield process.pid, port


def postgres_folder() -> Path | None:
    """Where the newest server of this machine has its programs."""
    on_path = shutil.which("postgres")
    if on_path and shutil.which("initdb"):
        return Path(on_path).resolve().parent
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")  # where Debian has them
    newest = max(found, key=lambda path: float(path.parts[-3]), default=None)
    return None if newest is None else newest.parent


def _as_another_user(folder: str) -> list[str]:
    """What begins a command that root must not run; that user gets the folder."""
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = next(known[name] for name in ("postgres", "nobody") if name in known)
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]


@contextmanager
def _started(
    arguments: list[str],
    port: int,
    name: str,
    environment: dict[str, str],
    stop_with: signal.Signals = signal.SIGTERM,
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
        _stop(process, stop_with)


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


def _stop(process: subprocess.Popen[bytes], with_signal: signal.Signals) -> None:
    process.send_signal(with_signal)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # the session that was started for it, and nobody else's
    process.wait()
