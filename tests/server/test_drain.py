"""Real processes: signals, draining, command line errors, Unix sockets, inherited sockets, TLS."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.server.process import APPLICATION, Process, process
from tests.server.rawhttp import Closed, Reset, request
from tests.server.rawws import CLOSE, TEXT, frame

pytestmark = pytest.mark.topology

SIGTERM, SIGINT = signal.SIGTERM, signal.SIGINT
QUIET = ("app:app", "--port", "0", "--no-access-log", "--timeout-linger-seconds", "0.3")


@pytest.fixture
def launch(tmp_path: Path) -> Any:
    with contextlib.ExitStack() as stack:

        def launch(*arguments: str, **options: Any) -> Process:
            return stack.enter_context(process(tmp_path, *arguments, **options))

        yield launch


# Stopping


@pytest.mark.parametrize("number", [SIGTERM, SIGINT], ids=lambda number: number.name)
def test_an_idle_server_stops_at_once(launch: Any, number: signal.Signals) -> None:
    server = launch(*QUIET).ready()
    server.said("startup")
    began = time.monotonic()
    server.signal(number)
    assert server.ended() == 0
    assert time.monotonic() - began < 2
    assert server.rest_of_stdout() == ["shutdown"]
    assert not any("Traceback" in line for line in server.rest_of_stderr())


def test_sigterm_finishes_the_request_and_refuses_new_connections(launch: Any, raw: Any) -> None:
    """In-flight requests were cut by servers before this one."""
    server = launch(*QUIET, "--drain-seconds", "8").ready()
    client, idle = raw(server.port), raw(server.port)
    idle.send(request())
    assert idle.response().status == 200
    client.send(request("POST", "/", "Content-Length: 5", body=b"he"))
    for _ in range(2):
        server.said("called")
    server.signal(SIGTERM)
    idle.closed()
    with pytest.raises(OSError, match="refused"):
        raw(server.port)
    client.send(b"llo")
    response = client.response()
    assert response.body == b"http hello"
    assert response.closes
    client.closed()
    assert server.ended() == 0
    assert "shutdown" in server.rest_of_stdout()


def test_sigterm_answers_who_had_just_connected(launch: Any, raw: Any) -> None:
    """The request was on its way; its client was sent an end with no answer."""
    server = launch(*QUIET, "--drain-seconds", "8").ready()
    new, silent = raw(server.port), raw(server.port)
    server.signal(SIGTERM)
    server.logged("SIGTERM")
    new.send(request())
    assert new.response().status == 200
    new.closed()
    silent.closed()
    assert server.ended() == 0


def test_sigterm_refuses_the_second_pipelined_request(launch: Any, raw: Any) -> None:
    server = launch(*QUIET, "--drain-seconds", "8").ready()
    client = raw(server.port)
    client.send(request("POST", "/", "Content-Length: 5", body=b"he"))
    server.said("called")
    server.signal(SIGTERM)
    server.logged("SIGTERM")
    client.send(b"llo" + request("GET", "/second"))
    assert client.response().closes
    client.gone()
    assert server.ended() == 0
    assert "called" not in server.rest_of_stdout()


def test_sigterm_spreads_the_closing_of_websockets(launch: Any, ws: Any) -> None:
    """1012, not all at once: or all clients come back at once."""
    server = launch(*QUIET, "--drain-seconds", "1.5").ready()
    clients = [ws(server.port).open() for _ in range(16)]
    for _ in clients:
        server.said("accepted")
    began = time.monotonic()
    server.signal(SIGTERM)
    waiting = {client.socket: client for client in clients}
    times = []
    while waiting:
        readable = select.select(list(waiting), [], [], 5)[0]
        assert readable, f"{len(waiting)} sockets were not closed"
        for one in readable:
            client = waiting.pop(one)
            client.closing(1012)
            times.append(time.monotonic() - began)
    assert times[0] < 0.7
    assert 0.8 < times[-1] < 3
    assert len({round(when, 1) for when in times}) > 4
    assert server.ended() == 0
    assert server.rest_of_stdout().count("disconnected 1012") == 16


def test_websockets_work_until_their_turn_comes(launch: Any, ws: Any) -> None:
    server = launch(*QUIET, "--drain-seconds", "1").ready()
    clients = [ws(server.port).open() for _ in range(6)]
    server.signal(SIGTERM)
    server.logged("SIGTERM")
    echoed = 0
    for client in clients:
        client.text("still there")
        got = client.frame()
        if got.opcode == TEXT:
            echoed += 1
            client.closing(1012)
        else:
            assert got.code == 1012
            client.send(frame(CLOSE, got.payload))
    assert echoed >= 1
    assert server.ended() == 0


@pytest.mark.parametrize("number", [SIGTERM, SIGINT], ids=lambda number: number.name)
def test_an_event_stream_ends(launch: Any, raw: Any, number: signal.Signals) -> None:
    """Open streams made a stop hang in servers before this one."""
    server = launch(*QUIET, "--drain-seconds", "1").ready()
    client = raw(server.port)
    client.send(request("GET", "/sse"))
    assert client.head().status == 200
    began = time.monotonic()
    server.signal(number)
    server.said("told")
    assert b"data: bye" in client.rest()
    assert server.ended() == 0
    assert time.monotonic() - began < 3
    assert "shutdown" in server.rest_of_stdout()


@pytest.mark.parametrize("path", ["/sse/deaf", "/deaf"])
def test_an_application_that_ignores_the_stop_is_cut_off(launch: Any, raw: Any, ws: Any, path: str) -> None:
    """And the lifespan shutdown still runs."""
    server = launch(*QUIET, "--drain-seconds", "0.5").ready()
    if path == "/deaf":
        client = ws(server.port).open(path)
    else:
        client = raw(server.port)
        client.send(request("GET", path))
        assert client.head().status == 200
    began = time.monotonic()
    server.signal(SIGTERM)
    client.gone()
    assert server.ended() == 0
    assert time.monotonic() - began < 5
    assert "shutdown" in server.rest_of_stdout()


def test_a_client_that_ignores_the_close_is_cut_off(launch: Any, ws: Any) -> None:
    server = launch(*QUIET, "--drain-seconds", "0.5").ready()
    client = ws(server.port).open()
    server.said("accepted")
    began = time.monotonic()
    server.signal(SIGTERM)
    assert client.frame().code == 1012
    assert server.ended() == 0
    assert time.monotonic() - began < 5


def test_sigint_takes_no_time(launch: Any, raw: Any, ws: Any) -> None:
    server = launch(*QUIET, "--drain-seconds", "30").ready()
    sockets = [ws(server.port).open() for _ in range(5)]
    stuck = raw(server.port)
    stuck.send(request("POST", "/", "Content-Length: 5"))
    server.said("called")
    began = time.monotonic()
    server.signal(SIGINT)
    for client in sockets:
        client.closing(1012)
    assert server.ended() == 0
    assert time.monotonic() - began < 4
    assert "shutdown" in server.rest_of_stdout()


def test_a_second_signal_hurries(launch: Any, raw: Any) -> None:
    server = launch(*QUIET, "--drain-seconds", "60").ready()
    client = raw(server.port)
    client.send(request("POST", "/", "Content-Length: 5"))
    server.said("called")
    server.signal(SIGTERM)
    server.logged("SIGTERM")
    began = time.monotonic()
    server.signal(SIGTERM)
    assert server.ended() == 0
    assert time.monotonic() - began < 4
    assert "shutdown" in server.rest_of_stdout()


def test_connections_that_never_said_a_word_do_not_hold_a_stop(launch: Any, raw: Any) -> None:
    server = launch(*QUIET, "--drain-seconds", "30").ready()
    silent = [raw(server.port) for _ in range(10)]
    half = raw(server.port)
    half.send(b"GET / HTTP/1.1\r\nHo")
    began = time.monotonic()
    server.signal(SIGTERM)
    for client in silent:
        client.gone()
    half.gone()
    assert server.ended() == 0
    assert time.monotonic() - began < 4


# The command line


def run(folder: Path, *arguments: str, command: tuple[str, ...] = ("serve",)) -> Any:
    if not (folder / "app.py").exists():
        (folder / "app.py").write_text(APPLICATION)
    return subprocess.run(
        [sys.executable, "-m", "raceway", *command, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nosuch:app"], "nosuch"),
        (["no.such.module:app"], "no"),
        (["app:nosuch"], "nosuch"),
        (["app:app.deeper"], "deeper"),
        (["app"], "module:attribute"),
        (["app:"], "module:attribute"),
        ([":app"], "module:attribute"),
        (["app:not_callable"], "app:not_callable"),
        (["broken:app"], "does_not_exist"),
        (["app:app", "--port", "99999"], "99999"),
        (["app:app", "--port", "-1"], "-1"),
        (["app:app", "--port", "http"], "http"),
        (["app:app", "--nosuch"], "--nosuch"),
        (["app:app", "--prot", "8000"], "--port"),
        (["app:app", "--host", "300.1.1.1"], "300.1.1.1"),
        (["app:app", "--host", "192.0.2.1", "--port", "0"], "192.0.2.1"),
        (["app:app", "--uds", "missing/folder/s"], "missing/folder/s"),
        (["app:app", "--uds", "x" * 200], "x" * 20),
        (["app:app", "--fd", "99"], "99"),
        (["app:app", "--fd", "0"], "0"),
        (["app:app", "--uds", "s", "--fd", "3"], "not both"),
        (["app:app", "--ssl-certfile", "missing.pem"], "missing.pem"),
        (["app:app", "--ssl-certfile", "app.py"], "app.py"),
        (["app:app", "--ssl-keyfile", "app.py"], "--ssl-certfile"),
        (["app:app", "--limit-header-bytes", "-1"], "--limit-header-bytes"),
        (["app:app", "--drain-seconds", "-1"], "--drain-seconds"),
        (["app:app", "--drain-seconds", "soon"], "soon"),
        (["app:app", "--log-level", "loud"], "loud"),
        (["app:app", "--forwarded-allow-ips", "10.0.0.0/99", "--proxy-headers"], "10.0.0.0/99"),
        (["app:app", "--root-path", "sub"], "sub"),
        (["app:app", "--config", "missing.toml"], "missing.toml"),
        (["app:app", "--config", "app.py"], "app.py"),
        (["app:app", "--config", "odd.toml"], "prot"),
        ([], "MODULE:ATTRIBUTE"),
        (["app:app", "extra"], "extra"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_one_sentence_and_status_2(
    tmp_path: Path, arguments: list[str], named: str
) -> None:
    (tmp_path / "broken.py").write_text("import does_not_exist\n")
    (tmp_path / "odd.toml").write_text("prot = 9\n")
    done = run(tmp_path, *arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    said = done.stderr.strip().splitlines()
    assert named in said[-1]
    assert len(said) == 1 or said[0].startswith("Usage:"), done.stderr
    assert done.stdout == ""


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run(tmp_path, "app:app", "--port", str(port))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(port) in done.stderr
    assert "in use" in done.stderr


def test_a_port_that_another_server_of_ours_uses(tmp_path: Path, launch: Any) -> None:
    server = launch(*QUIET).ready()
    done = run(tmp_path, "app:app", "--port", str(server.port))
    assert done.returncode == 2
    assert "in use" in done.stderr


def test_a_failed_startup_says_why(tmp_path: Path) -> None:
    done = run(tmp_path, "app:fails", "--port", "0")
    assert done.returncode not in (0, 1)
    assert "the cupboard is bare" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_consumer_class_is_no_application(launch: Any, tmp_path: Path) -> None:
    (tmp_path / "chat.py").write_text(
        "from raceway.consumers import AsyncWebsocketConsumer\n\n\nclass Chat(AsyncWebsocketConsumer): ...\n"
    )
    server = launch("chat:Chat", "--port", "0")
    assert server.ended() == 2
    assert server.rest_of_stderr() == [
        "raceway: chat:Chat is a consumer class; serve what its as_asgi() returns."
    ]


def test_help_reads_well(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    for option in (
        "--host",
        "--port",
        "--uds",
        "--fd",
        "--ssl-certfile",
        "--ssl-keyfile",
        "--reload",
        "--root-path",
        "--proxy-headers",
        "--forwarded-allow-ips",
        "--access-log",
        "--no-access-log",
        "--log-level",
        "--drain-seconds",
        "--ws-max-message-bytes",
        "--limit-header-bytes",
        "--timeout-header-seconds",
    ):
        assert option in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 110
    for line in done.stdout.splitlines():
        assert "TEXT  " not in line or "[" in line or line.rstrip()[-1] != "T", "every option is explained"


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"]], ids=str)
def test_the_command_without_serve(tmp_path: Path, arguments: list[str]) -> None:
    done = run(tmp_path, *arguments, command=())
    assert done.returncode == 0
    assert "raceway" in done.stdout.lower()


def test_the_console_script(tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "raceway"
    done = subprocess.run(
        [script, "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0


def test_options_from_the_environment(launch: Any, raw: Any, tmp_path: Path) -> None:
    server = launch(
        "app:app", environ={"RACEWAY_UDS": str(tmp_path / "s"), "RACEWAY_ACCESS_LOG": "0"}
    ).ready()
    client = raw(str(tmp_path / "s"))
    client.send(request())
    assert client.response().status == 200
    client.close()
    server.signal(SIGTERM)
    assert server.ended() == 0


def test_options_from_a_file(launch: Any, raw: Any, tmp_path: Path) -> None:
    (tmp_path / "raceway.toml").write_text('port = 0\n"access-log" = false\nlimit-header-bytes = 100\n')
    server = launch("app:app", "--config", "raceway.toml").ready()
    client = raw(server.port)
    client.send(request("GET", "/", "X: " + "y" * 200))
    assert client.response().status == 431


def test_the_access_log(launch: Any, raw: Any, ws: Any) -> None:
    server = launch("app:app", "--port", "0").ready()
    client = raw(server.port)
    client.send(request("POST", "/some%20path?query=1", body=b"hello"))
    client.response()
    line = server.said("some").string
    for part in ("127.0.0.1", "POST", "/some%20path", "200", "10"):
        assert part in line
    assert "\n" not in line
    client.send(b"BROKEN\r\n\r\n")
    assert client.response().status == 400
    ws(server.port).open("/socket")
    assert "101" in server.said("/socket").string
    server.signal(SIGINT)
    assert server.ended() == 0


def test_the_access_log_names_whom_a_listed_proxy_names(launch: Any, raw: Any) -> None:
    server = launch("app:app", "--port", "0", "--proxy-headers").ready()
    client = raw(server.port)
    client.send(request("POST", "/proxied", "X-Forwarded-For: 192.0.2.7:4711", body=b"x"))
    client.response()
    assert server.said("/proxied").string.startswith("192.0.2.7:4711 ")


def test_a_hostile_path_cannot_forge_a_log_line(launch: Any, raw: Any) -> None:
    server = launch("app:app", "--port", "0").ready()
    client = raw(server.port)
    client.send(request("GET", "/a%0d%0aforged%1b[31m", 'User-Agent: x\x1b[31m"y'))
    client.response()
    client.close()
    server.signal(SIGTERM)
    assert server.ended() == 0
    lines = server.rest_of_stdout()
    assert not any(line.startswith("forged") for line in lines)
    assert not any("\x1b" in line for line in lines)


# Where it listens


def test_a_unix_socket(launch: Any, raw: Any, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    for _ in range(2):  # the second time over what a killed server left behind
        server = launch("app:app", "--uds", str(path)).ready()
        client = raw(str(path))
        client.send(request())
        assert client.response().status == 200
        server.kill()
        assert path.exists()
    server = launch("app:app", "--uds", str(path)).ready()
    server.signal(SIGTERM)
    assert server.ended() == 0
    assert not path.exists()


def test_a_unix_socket_that_is_alive_is_not_stolen(launch: Any, raw: Any, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    launch("app:app", "--uds", str(path)).ready()
    done = run(tmp_path, "app:app", "--uds", str(path))
    assert done.returncode == 2
    client = raw(str(path))
    client.send(request())
    assert client.response().status == 200


def test_a_unix_path_that_is_a_file_is_not_deleted(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    done = run(tmp_path, "app:app", "--uds", str(path))
    assert done.returncode == 2
    assert path.read_text() == "data"


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["tcp", "unix"])
def test_an_inherited_socket(launch: Any, raw: Any, tmp_path: Path, family: Any) -> None:
    with socket.socket(family) as listening:
        listening.bind(("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "s"))
        listening.listen()
        address = listening.getsockname()
        server = launch("app:app", "--fd", str(listening.fileno()), pass_fds=[listening.fileno()]).ready()
    client = raw(address)
    client.send(request())
    assert client.response().status == 200
    client.close()
    server.signal(SIGTERM)
    assert server.ended() == 0


def test_ipv6_and_names(launch: Any, raw: Any) -> None:
    for host in ("::1", "localhost"):
        server = launch("app:app", "--host", host, "--port", "0").ready()
        with socket.create_connection((host, server.port), 5) as one:
            one.sendall(request("GET", "/", "Connection: close"))
            assert one.recv(65536).startswith(b"HTTP/1.1 200 ")
        server.signal(SIGTERM)
        assert server.ended() == 0


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secured(launch: Any, authority: trustme.CA, tmp_path: Path) -> Any:
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    server = launch(
        *QUIET,
        "--ssl-certfile",
        "cert.pem",
        "--ssl-keyfile",
        "key.pem",
        "--timeout-tls-handshake-seconds",
        "0.5",
    ).ready()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return server, context


def test_https(secured: Any, raw: Any) -> None:
    server, context = secured
    context.set_alpn_protocols(["h2", "http/1.1"])
    client = raw(server.port, tls=context)
    assert client.socket.selected_alpn_protocol() in (None, "http/1.1")
    for _ in range(2):
        client.send(request("POST", "/", body=b"x" * 100_000))
        assert client.response().body == b"https " + b"x" * 100_000
    client.send(request("GET", "/", "Connection: close"))
    assert client.response().status == 200
    client.closed()


def test_the_end_of_a_response_over_tls_is_said_and_at_once(secured: Any, raw: Any) -> None:
    """Only the end of the connection ends it: without TLS's own end it could be a truncation."""
    server, context = secured
    client = raw(server.port, tls=context)
    began = time.monotonic()
    client.send(request("GET", "/", version="1.0"))
    assert client.rest().endswith(b"https ")
    assert time.monotonic() - began < 1.5


def test_wss(secured: Any, ws: Any) -> None:
    server, context = secured
    client = ws(server.port, tls=context).open()
    client.text("hello")
    assert client.message() == "hello"
    server.signal(SIGTERM)
    client.closing(1012)
    assert server.ended() == 0


def test_a_refusal_over_tls_arrives(secured: Any, raw: Any) -> None:
    server, context = secured
    client = raw(server.port, tls=context)
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 60_000)
    assert client.response().status == 431


@pytest.mark.parametrize("data", [request(), b"\x16\x03\x01\xff\xff" + b"\0" * 100, b"\0" * 1000])
def test_what_is_no_tls_does_no_harm(secured: Any, raw: Any, data: bytes) -> None:
    server, context = secured
    odd = raw(server.port)
    odd.send(data)
    odd.gone()
    client = raw(server.port, tls=context)
    client.send(request())
    assert client.response().status == 200
    server.signal(SIGTERM)
    assert server.ended() == 0
    assert not any("Traceback" in line for line in server.rest_of_stderr())


def test_a_tls_handshake_that_never_comes(secured: Any, raw: Any) -> None:
    silent = raw(secured[0].port)
    began = time.monotonic()
    silent.gone()
    assert time.monotonic() - began < 4


def test_certificate_and_key_in_one_file(
    launch: Any, authority: trustme.CA, raw: Any, tmp_path: Path
) -> None:
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    server = launch(*QUIET, "--ssl-certfile", "both.pem").ready()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    client = raw(server.port, tls=context)
    client.send(request())
    assert client.response().body == b"https "


# Reloading


def test_reload(launch: Any, raw: Any, tmp_path: Path) -> None:
    source = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"VERSION"})
"""
    path = tmp_path / "app.py"
    path.write_text(source)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = launch("app:app", "--port", str(port), "--reload", "--no-access-log").ready()
    assert answer_of(raw, port) == b"VERSION"
    path.write_text(source.replace("VERSION", "second"))
    server.ready()
    assert answer_of(raw, port) == b"second"
    path.write_text("this is no Python")
    server.logged("SyntaxError")
    path.write_text(source.replace("VERSION", "third"))
    server.ready()
    assert answer_of(raw, port) == b"third"
    server.signal(SIGINT)
    assert server.ended() == 0


def answer_of(raw: Any, port: int) -> bytes:
    """One answer, while the server may still be on its way from one version to the next."""
    deadline = time.monotonic() + 5
    while True:
        try:
            client = raw(port)
            client.send(request())
            return client.response().body
        except (OSError, Closed, Reset):
            assert time.monotonic() < deadline


def test_reload_ends_with_its_server(launch: Any, tmp_path: Path) -> None:
    """No orphan holds the port."""
    server = launch(*QUIET, "--reload").ready()
    server.signal(SIGTERM)
    assert server.ended() == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), 1)
    assert os.path.exists(tmp_path)
