"""``raceway serve --workers`` as real processes that are killed, stopped, replaced and overrun."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import resource
import signal
import socket
import termios
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from raceway.supervisor.balance import WEIGH_S
from raceway.supervisor.state import QUIET_S, SAME_S
from tests.server.process import Process, process

pytestmark = pytest.mark.topology

DEADLINE_S = 20.0
QUIET = ("app:app", "--port", "0", "--no-access-log")
SIGTERM, SIGINT, SIGHUP, SIGKILL = signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL

APPLICATION = """
import asyncio
import os
import signal
import time
from pathlib import Path

VERSION = Path("version").read_text() if Path("version").exists() else "1"
with open("starts", "a") as starts:
    starts.write(f"{os.getpid()}\\n")


def take(name):
    # One process only, whoever is first.
    try:
        os.unlink(name)
    except FileNotFoundError:
        return False
    return True


if Path("killed").exists():
    os.kill(os.getpid(), signal.SIGKILL)
if take("raises"):
    raise OSError("the cupboard is bare")
if take("hangs"):
    time.sleep(600)
if take("slow"):
    time.sleep(6)


async def app(scope, receive, send):
    me = f"{os.getpid()} {VERSION}"
    if scope["type"] == "lifespan":
        await receive()
        if take("hangs-in-lifespan"):
            await asyncio.Event().wait()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": me})
        while (event := await receive())["type"] == "websocket.receive":
            if event["text"] == "block":
                time.sleep(600)
            if event["text"] == "fork":
                child = os.fork()
                if not child:
                    os._exit(0)
                os.waitpid(child, 0)
            await send({"type": "websocket.send", "text": event["text"]})
        if scope["path"] == "/deaf":
            await asyncio.sleep(600)
    else:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(me))]})
        await send({"type": "http.response.body", "body": me.encode()})
"""


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    (tmp_path / "app.py").write_text(APPLICATION)
    with contextlib.ExitStack() as stack:

        def launch(workers: int, *arguments: str, **options: Any) -> Process:
            started = stack.enter_context(
                process(tmp_path, *QUIET, "--workers", str(workers), *arguments, **options)
            )
            stack.callback(end_all, started.workers(), started)
            return started

        yield launch


def end_all(seen: set[int], server: Process) -> None:
    """A failed test leaves no worker behind: they are killed before the supervisor is."""
    for pid in seen | server.workers():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not in time: {what}")


def get(where: int | str) -> tuple[int, str]:
    """Who answers a request to a port or a Unix socket, and with which code: pid and version."""
    with socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET) as client:
        client.settimeout(DEADLINE_S)
        client.connect(where if isinstance(where, str) else ("127.0.0.1", where))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := client.recv(65536):
            answer += data
    found = re.fullmatch(rb"HTTP/1.1 200 .*\r\n\r\n(\d+) (.*)", answer, re.DOTALL)
    assert found, f"{answer!r} is no answer"
    return int(found[1]), found[2].decode()


clients = contextlib.ExitStack()
"""WebSockets of the test that runs."""


@pytest.fixture(autouse=True)
def close_clients() -> Iterator[None]:
    yield
    clients.close()


def sockets_of_all(server: Process, workers: int, path: str = "/") -> dict[int, ClientConnection]:
    """A WebSocket to each worker, by its process id."""
    found: dict[int, ClientConnection] = {}

    def another() -> bool:
        client = clients.enter_context(
            connect(f"ws://127.0.0.1:{server.port}{path}", open_timeout=DEADLINE_S, proxy=None)
        )
        pid = int(str(client.recv(DEADLINE_S)).split()[0])
        if pid in found:
            client.close()
        found.setdefault(pid, client)
        return len(found) == workers

    wait_for(another, f"a socket to each of {workers} workers")
    return found


def echoes(client: ClientConnection) -> bool:
    client.send("still there?")
    return client.recv(DEADLINE_S) == "still there?"


def close_code(client: ClientConnection) -> int:
    try:
        while True:
            client.recv(DEADLINE_S)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006


def starts(folder: Path) -> list[int]:
    """The processes that have begun to load the application."""
    file = folder / "starts"
    return list(map(int, file.read_text().split())) if file.exists() else []


# A worker dies


def test_a_killed_worker_is_replaced_and_the_sockets_of_the_others_stay(launch: Any) -> None:
    server = launch(3).ready()
    before = server.workers()
    sockets = sockets_of_all(server, 3)
    victim, *others = sockets
    os.kill(victim, SIGKILL)
    assert close_code(sockets[victim]) == 1006
    server.logged(r"Worker \d ended by signal 9")
    wait_for(lambda: len(server.workers()) == 3, "three workers")
    (new,) = server.workers() - before
    wait_for(lambda: get(server.port)[0] == new, "an answer of the new worker")
    assert all(echoes(sockets[pid]) for pid in others)
    server.signal(SIGTERM)
    assert server.ended() == 0


def test_a_worker_that_dies_at_its_start_does_not_spin(launch: Any, tmp_path: Path) -> None:
    server = launch(2).ready()
    (tmp_path / "killed").touch()
    os.kill(min(server.workers()), SIGKILL)
    began = time.monotonic()
    for delay_s in (0.5, 1.0, 2.0):
        seconds = float(server.logged(r"the next one comes in ([\d.]+) s")[1])
        assert delay_s <= seconds <= delay_s * 1.26
    assert len(starts(tmp_path)) <= 2 + 2
    assert time.monotonic() - began > 1.5
    for _ in range(40):  # nobody is sent to the slot that has no worker
        get(server.port)
    (tmp_path / "killed").unlink()
    wait_for(lambda: len({get(server.port)[0] for _ in range(20)}) == 2, "both workers serve")


def test_a_worker_that_fails_to_start_leaves_the_service_to_the_others(launch: Any, tmp_path: Path) -> None:
    (tmp_path / "raises").touch()
    server = launch(2).ready()
    server.logged("OSError: the cupboard is bare")
    wait_for(lambda: len({get(server.port)[0] for _ in range(20)}) == 2, "both workers serve")
    assert len(starts(tmp_path)) == 3


@pytest.mark.parametrize("where", ["hangs", "hangs-in-lifespan"])
def test_a_worker_that_hangs_in_its_start_holds_nobody_up(launch: Any, tmp_path: Path, where: str) -> None:
    (tmp_path / where).touch()
    server = launch(2, "--drain-seconds", "1")
    wait_for(lambda: len(server.workers()) == 2 and len(starts(tmp_path)) == 2, "two workers")
    server.port = wait_for(lambda: port_of(server), "a port")
    for _ in range(20):  # the slot falls quiet after some seconds, and those who waited come again
        with contextlib.suppress(ConnectionError):
            get(server.port)
    for _ in range(20):
        get(server.port)
    hung = server.workers()
    server.signal(SIGTERM)
    assert server.ended() == 0
    assert not any(map(is_alive, hung))


def test_a_worker_that_starts_slowly_serves_in_the_end(launch: Any, tmp_path: Path) -> None:
    """Its slot has fallen quiet before it ever listened."""
    (tmp_path / "slow").touch()
    server = launch(2).ready()
    assert time.monotonic() - server.began > QUIET_S
    spread = Counter(get(server.port)[0] for _ in range(40))
    assert set(spread) == server.workers()


def port_of(server: Process) -> int:
    """Of a server that has not announced itself."""
    with contextlib.suppress(OSError):
        numbers = set()
        for link in Path(f"/proc/{server.popen.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                numbers.add(os.readlink(link).removeprefix("socket:[").removesuffix("]"))
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in numbers:
                return int(fields[1].split(":")[1], 16)
    return 0


@pytest.mark.parametrize(
    ("application", "sentence"),
    [
        ("app:nothing", "raceway: Module 'app' has no attribute 'nothing'."),
        ("nowhere:app", "raceway: There is no module 'nowhere'"),
    ],
)
def test_a_mistake_is_told_once_and_ends_it(tmp_path: Path, application: str, sentence: str) -> None:
    environ = {"PYTHONWARNINGS": "error"}  # nothing is left open either
    with process(tmp_path, application, "--port", "0", "--workers", "3", environ=environ) as server:
        assert server.ended() == 2
        (line,) = server.rest_of_stderr()
        assert line.startswith(sentence)


def test_an_application_may_fork(launch: Any) -> None:
    server = launch(1).ready()
    ((_, client),) = sockets_of_all(server, 1).items()
    client.send("fork")
    assert client.recv(DEADLINE_S) == "fork"
    clients.close()
    server.signal(SIGINT)
    assert server.ended() == 0
    assert [line for line in server.rest_of_stderr() if "INFO" not in line] == []


def test_children_that_it_did_not_start_are_reaped(launch: Any) -> None:
    """The first process of a container gets the orphans of all others, and one that a shell became its jobs."""

    def with_a_job() -> None:
        if not os.fork():
            os.closerange(0, 256)
            signal.pause()

    server = launch(1, preexec_fn=with_a_job).ready()
    (job,) = server.workers() - set(sockets_of_all(server, 1))
    os.kill(job, SIGKILL)
    wait_for(lambda: job not in server.workers(), "the end of a zombie")


# The supervisor dies, or is told to stop


def test_workers_of_a_killed_supervisor_drain_and_end(launch: Any) -> None:
    server = launch(2, "--drain-seconds", "1").ready()
    pids = server.workers()
    sockets = sockets_of_all(server, 2)
    os.kill(server.popen.pid, SIGKILL)
    assert [close_code(client) for client in sockets.values()] == [1012, 1012]
    wait_for(lambda: not any(map(is_alive, pids)), "the end of the workers")
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", server.port))
        free.listen()


def test_a_worker_that_blocks_ends_with_its_killed_supervisor_too(launch: Any, tmp_path: Path) -> None:
    (tmp_path / "hangs").touch()
    server = launch(1)
    (pid,) = wait_for(lambda: starts(tmp_path), "a start")
    os.kill(server.popen.pid, SIGKILL)
    wait_for(lambda: not is_alive(pid), "its end")


def test_sigterm_drains_and_ends_with_0(launch: Any) -> None:
    server = launch(2, "--drain-seconds", "1", environ={"PYTHONWARNINGS": "error"}).ready()
    sockets = sockets_of_all(server, 2)
    began = time.monotonic()
    server.signal(SIGTERM)
    assert [close_code(client) for client in sockets.values()] == [1012, 1012]
    assert server.ended() == 0
    assert time.monotonic() - began < 1 + 4
    assert [line for line in server.rest_of_stderr() if "ERROR" in line or "Warning" in line] == []


@pytest.mark.parametrize("number", [SIGINT, SIGTERM], ids=lambda number: number.name)
def test_a_signal_to_the_whole_group_does_no_harm(launch: Any, number: signal.Signals) -> None:
    server = launch(2, "--drain-seconds", "4", start_new_session=True).ready()
    sockets = sockets_of_all(server, 2, "/deaf")
    began = time.monotonic()
    os.killpg(server.popen.pid, number)
    time.sleep(0.02)
    server.signal(number)  # ``timeout`` signals the process as well
    assert [close_code(client) for client in sockets.values()] == [1012, 1012]
    assert server.ended() == 0
    assert number is SIGINT or time.monotonic() - began > 4, "it was taken for two signals"
    assert [line for line in server.rest_of_stderr() if "ERROR" in line or "Traceback" in line] == []


def test_a_signal_to_the_whole_group_while_workers_start(launch: Any) -> None:
    server = launch(3, start_new_session=True)
    wait_for(lambda: len(server.workers()) == 3, "three processes")
    os.killpg(server.popen.pid, SIGTERM)
    assert server.ended() == 0
    assert [line for line in server.rest_of_stderr() if "ERROR" in line or "Traceback" in line] == []


def test_no_storm_of_signals_hides_another(launch: Any) -> None:
    server = launch(2, "--drain-seconds", "1").ready()
    old = server.workers()
    over = threading.Event()

    def storm() -> None:
        while not over.is_set():
            for number in (SIGHUP, signal.SIGCHLD) * 50:
                server.signal(number)

    storms = [threading.Thread(target=storm) for _ in range(2)]
    for thread in storms:
        thread.start()
    try:
        wait_for(lambda: server.workers() - old, "a new worker")
        server.signal(SIGTERM)
        assert server.ended() == 0
    finally:
        over.set()
        for thread in storms:
            thread.join(DEADLINE_S)
    assert not any(map(is_alive, old))


def test_a_closed_terminal_ends_it(launch: Any) -> None:
    """To a supervisor without one SIGHUP means to replace the workers."""
    terminal, inner_end = os.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    server = launch(2, stdin=inner_end, preexec_fn=take_terminal).ready()
    os.close(inner_end)
    pids = server.workers()
    os.close(terminal)
    assert server.ended() == 0
    assert not any(map(is_alive, pids))


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_who_comes_while_it_drains_is_refused(launch: Any, tmp_path: Path, unix: bool) -> None:
    """And does not wait to be answered by nobody; a new server may take the place."""
    path = str(tmp_path / "socket")
    server = launch(2, "--drain-seconds", "60", *(["--uds", path] if unix else [])).ready()
    where = path if unix else ("127.0.0.1", server.port)
    begun = clients.enter_context(socket.socket(socket.AF_UNIX if unix else socket.AF_INET))
    begun.connect(where)
    begun.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
    server.signal(SIGTERM)

    def refused() -> bool:
        with socket.socket(begun.family) as late:
            return late.connect_ex(where) in (errno.ECONNREFUSED, errno.ENOENT)

    wait_for(refused, "a refusal")
    after = launch(1, *(["--uds", path] if unix else ["--port", str(server.port)])).ready()
    server.signal(SIGINT)
    assert server.ended() == 0
    get(path if unix else after.port)


def terminate_twice(server: Process) -> None:
    server.signal(SIGTERM)
    server.logged("SIGTERM")
    time.sleep(2 * SAME_S)
    server.signal(SIGTERM)


def test_a_second_sigterm_ends_at_once(launch: Any) -> None:
    server = launch(2, "--drain-seconds", "60").ready()
    sockets = sockets_of_all(server, 2, "/deaf")
    began = time.monotonic()
    terminate_twice(server)
    assert {close_code(client) for client in sockets.values()} == {1012}
    assert server.ended() == 0
    assert time.monotonic() - began < 5


def test_a_worker_that_hangs_is_killed(launch: Any) -> None:
    server = launch(2, "--drain-seconds", "60").ready()
    sockets = sockets_of_all(server, 2)
    stuck = next(iter(sockets))
    sockets[stuck].send("block")
    terminate_twice(server)
    assert server.ended() == 0
    assert not is_alive(stuck)


# The port


@pytest.mark.parametrize("first", [("--workers", "2"), ()], ids=["workers", "one process"])
@pytest.mark.parametrize("second", [("--workers", "2"), ()], ids=["workers", "one process"])
def test_a_second_server_of_the_same_user_is_told_that_the_port_is_in_use(
    tmp_path: Path, first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    (tmp_path / "app.py").write_text(APPLICATION)
    with process(tmp_path, *QUIET, *first) as one:
        port = str(one.ready().port)
        with process(tmp_path, "app:app", "--port", port, *second) as other:
            assert other.ended() == 2
            other.logged(f"raceway: Port {port} of 127.0.0.1 is in use")
        one.signal(SIGTERM)
        assert one.ended() == 0


def test_a_port_is_free_at_once_after_a_server_with_clients(launch: Any) -> None:
    server = launch(2, "--drain-seconds", "0").ready()
    sockets = sockets_of_all(server, 2)
    server.signal(SIGTERM)
    assert server.ended() == 0
    again = launch(2, "--port", str(server.port)).ready()
    get(again.port)
    assert len(sockets) == 2


def test_all_addresses_of_a_host_have_one_port(launch: Any) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    server = launch(2, "--host", "").ready()
    get(server.port)
    socket.create_connection(("::1", server.port)).close()


def test_an_inherited_socket_serves_all_workers(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APPLICATION)
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        number, port = inherited.fileno(), inherited.getsockname()[1]
        arguments = ("app:app", "--fd", str(number), "--workers", "2")
        with process(tmp_path, *arguments, pass_fds=(number,)) as server:
            server.ready()
            wait_for(lambda: len({get(port)[0] for _ in range(50)}) == 2, "both workers serve")
            server.signal(SIGTERM)
            assert server.ended() == 0


# Renewal


def test_sighup_replaces_the_workers_and_refuses_nobody(launch: Any, tmp_path: Path) -> None:
    server = launch(2, "--drain-seconds", "2").ready()
    old = server.workers()
    seen: Counter[str] = Counter()
    mistakes: list[str] = []
    over = threading.Event()

    def hammer() -> None:
        while not over.is_set():
            try:
                seen[get(server.port)[1]] += 1
            except (OSError, AssertionError) as error:
                mistakes.append(repr(error))

    sockets = sockets_of_all(server, 2)
    hammering = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in hammering:
        thread.start()
    (tmp_path / "version").write_text("2")
    server.signal(SIGHUP)
    assert [close_code(client) for client in sockets.values()] == [1012, 1012]
    wait_for(lambda: not old & server.workers(), "the end of the old workers")
    new = seen["2"]
    wait_for(lambda: seen["2"] > new + 20, "more answers")
    over.set()
    for thread in hammering:
        thread.join(DEADLINE_S)
    assert mistakes == []
    assert seen["1"]
    assert {get(server.port)[1] for _ in range(10)} == {"2"}
    assert len(server.workers()) == 2
    server.signal(SIGTERM)
    assert server.ended() == 0


def test_code_that_does_not_start_replaces_nothing(launch: Any, tmp_path: Path) -> None:
    server = launch(2).ready()
    old = server.workers()
    (tmp_path / "app.py").write_text("nothing = 1")
    server.signal(SIGHUP)
    server.logged("Worker 1 did not start: .*the workers that run go on: Module 'app' has no attribute 'app'")
    assert server.workers() == old
    assert get(server.port)[0] in old


# Crowds


def open_sockets_to(address: Any, count: int) -> Counter[int]:
    """WebSockets, and how many of them each worker has."""
    sockets, spread = [], Counter[int]()
    head = (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    for _ in range(count):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        client = clients.enter_context(socket.socket(family))
        sockets.append(client)
        client.settimeout(DEADLINE_S)
        client.connect(address)
        client.sendall(head)
    for client in sockets:
        answer = b""
        while (found := re.search(rb"\r\n\r\n..(\d+) 1$", answer, re.DOTALL)) is None:
            data = client.recv(65536)
            assert data, f"{answer!r} and the end"
            answer += data
        spread[int(found[1])] += 1
    return spread


@pytest.fixture
def crowd() -> Iterator[int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 5000:
        pytest.skip(f"this process may open only {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield 4000
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_4000_sockets_are_spread_over_four_workers(launch: Any, crowd: int) -> None:
    server = launch(4).ready()
    spread = open_sockets_to(("127.0.0.1", server.port), crowd)
    assert len(spread) == 4
    assert all(abs(count - crowd / 4) <= crowd / 4 * 0.2 for count in spread.values()), spread


def test_who_has_many_more_leaves_new_ones_to_the_others(launch: Any, tmp_path: Path) -> None:
    """Where all accept from one socket; a worker that was started again would else never catch up."""
    path = str(tmp_path / "socket")
    server = launch(2, "--uds", path).ready()
    before = open_sockets_to(path, 200)
    victim = min(before, key=lambda pid: before[pid])
    stays = before[max(before, key=lambda pid: before[pid])]
    assert stays >= 100
    os.kill(victim, SIGKILL)
    new = wait_for(lambda: server.workers() - set(before), "a new worker").pop()
    wait_for(lambda: get(path)[0] == new, "an answer of it")
    time.sleep(2 * WEIGH_S)
    assert open_sockets_to(path, 60) == {new: 60}
    clients.close()
    server.signal(SIGTERM)
    assert server.ended() == 0
    assert not Path(path).exists()


def test_a_unix_socket_outlives_failures(launch: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    server = launch(1, "--uds", path).ready()
    (tmp_path / "killed").touch()
    os.kill(server.workers().pop(), SIGKILL)
    server.logged("the next one comes in 1")
    (tmp_path / "killed").unlink()
    get(path)  # it waits for the next one


def test_too_few_files_refuse_some_clients_and_harm_no_one_else(launch: Any) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    server = launch(1, preexec_fn=few).ready()
    (pid,) = server.workers()
    for _ in range(120):
        clients.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S))
    before_s = cpu_s(pid)
    time.sleep(1)
    assert cpu_s(pid) - before_s < 0.5, "it spins"
    clients.close()
    wait_for(lambda: answers(server.port), "an answer")
    assert get(server.port)[0] == pid, "the same worker"


def answers(port: int) -> bool:
    with contextlib.suppress(OSError, AssertionError):
        get(port)
        return True
    return False


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
