"""The broker on its socket: who hosts it, who takes over, and what is left of it."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import uvloop

from raceway.errors import ConfigurationError
from raceway.layers.local import serving
from raceway.layers.local.place import take_lock
from raceway.layers.local.serving import BrokerHost
from raceway.layers.local.wire import Answer, Deliver, Hello, Listen, Own, Publish, Send, Subscribe
from tests.layers.local.members import A, B, C, Peer
from tests.waiting import eventually

pytestmark = pytest.mark.shell

WITHIN_S = 30.0


@contextmanager
def hosting(path: Path, lease_s: float = 15.0) -> Iterator[BrokerHost]:
    host = BrokerHost(path, lease_s)
    host.start()
    try:
        yield host
    finally:
        host.stop()


def brokers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "raceway-broker"]


@contextmanager
def another_process(code: str, path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs ``code`` with ``path``, and is killed in the end."""
    whole = f"from pathlib import Path\npath = Path({str(path)!r})\n{code}"
    process = subprocess.Popen(
        [sys.executable, *options, "-c", whole],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


HOSTS = """if True:
    from raceway.layers.local.serving import BrokerHost
    host = BrokerHost(path)
    host.start()
    print(host.is_owner, flush=True)
"""


@pytest.mark.parametrize(
    "factory", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"]
)
def test_members_speak_through_the_socket(
    path: Path, factory: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_loop_factory", lambda: factory)
    with hosting(path) as host, Peer(path, A) as a, Peer(path, B) as b:
        assert host.is_owner
        a.say(Subscribe(1, ["g"]), Own())
        assert a.hear() == Answer(1, None)
        large = Publish(2, "g", b"x" * 5_000_000, None, "close", 60.0)
        b.say(large, Send(0, f"p.{A}!1", b"m", 100, 60.0))
        assert a.hear() == large
        assert a.hear() == Deliver(f"p.{A}!1", b"m")
        assert b.hear() == Answer(2, None)
    assert brokers() == []


@pytest.mark.parametrize(
    "factory", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"]
)
def test_stop_leaves_nothing(path: Path, factory: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_loop_factory", lambda: factory)
    with ExitStack() as stack:
        host = stack.enter_context(hosting(path))
        peers = [stack.enter_context(Peer(path, process)) for process in (A, B, C)]
        stack.enter_context(Peer(path, A)).say(Hello("second hello"))
        descriptors = len(os.listdir("/proc/self/fd"))
        host.stop()
        assert not host.is_owner
        assert [peer.hear() for peer in peers] == [None, None, None]
        assert os.listdir(path.parent) == [f"{path.name}.lock"]
        assert brokers() == []
        assert len(os.listdir("/proc/self/fd")) < descriptors
        lock = take_lock(path)
        assert lock is not None
        os.close(lock)


def test_a_host_can_be_stopped_and_started_again(path: Path) -> None:
    host = BrokerHost(path)
    host.stop()
    for _ in range(3):
        host.start()
        host.start()
        assert host.is_owner
        assert len(brokers()) == 1
        with Peer(path):
            pass
        host.stop()
        host.stop()
    assert brokers() == []


def test_what_waits_in_a_broker_that_ends_is_counted(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with hosting(path) as host, Peer(path) as peer:
        peer.say(*(Send(n, "work", b"m", 100, 60.0) for n in (1, 2, 3)), Send(4, "play", b"m", 100, 0.0))
        assert [peer.hear() for _ in range(4)] == [Answer(n, None) for n in (1, 2, 3, 4)]
        host.stop()
        host.start()
    assert [record.message for record in caplog.records] == [
        f"With the broker at {path} end 3 messages that waited in channels."
    ]


def test_its_own_thread_may_stop_it(path: Path) -> None:
    with hosting(path) as host, Peer(path) as peer:
        assert host._serving is not None
        assert host._serving._loop is not None
        host._serving._loop.call_soon_threadsafe(host.stop)
        assert peer.hear() is None
        eventually(lambda: brokers() == [])
        assert not path.exists()


def test_threads_may_stop_it_at_once(path: Path) -> None:
    with hosting(path) as host, Peer(path) as peer:
        threads = [threading.Thread(target=host.stop) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WITHIN_S)
        assert peer.hear() is None
    assert brokers() == []


def test_a_second_host_joins_and_takes_over(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "raceway.layers")
    with hosting(path) as first, hosting(path) as second:
        assert (first.is_owner, second.is_owner) == (True, False)
        with Peer(path) as peer:
            first.stop()
            assert peer.hear() is None
        eventually(lambda: second.is_owner)
        with Peer(path):
            pass
        first.start()
        assert (first.is_owner, second.is_owner) == (False, True)
        first.stop()  # before it may take over
    assert [record.message for record in caplog.records] == [f"This process runs the broker at {path} now."]


def test_a_host_that_waits_can_be_stopped(path: Path) -> None:
    with hosting(path) as first:
        with hosting(path) as second:
            pass
        assert not second.is_owner
        with Peer(path):
            assert first.is_owner
    assert brokers() == []


def test_of_many_hosts_one_at_a_time_is_the_owner(path: Path) -> None:
    with ExitStack() as stack:
        hosts = [stack.enter_context(hosting(path)) for _ in range(5)]
        for _ in range(5):
            eventually(lambda: any(host.is_owner for host in hosts))
            owners = [host for host in hosts if host.is_owner]
            assert len(owners) == 1
            with Peer(path):
                pass
            owners[0].stop()
            hosts.remove(owners[0])


def test_the_broker_of_a_killed_process_is_replaced(path: Path) -> None:
    with another_process(HOSTS + "    input()", path) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "True\n"
        with hosting(path) as host, Peer(path) as peer:
            assert not host.is_owner
            owner.kill()
            assert peer.hear() is None
            eventually(lambda: host.is_owner)
            with Peer(path):
                pass


def test_a_child_of_the_owner_does_not_keep_the_broker_alive(path: Path) -> None:
    """A fork holds copies of the lock and of the sockets; with them nobody would notice that the owner is dead."""
    forks = """
    import os, time
    input()
    child = os.fork()
    if child:
        print(child, flush=True)
    else:
        assert not host.is_owner
        host.stop()
    time.sleep(60)
"""
    with another_process(HOSTS + forks, path) as owner:
        assert owner.stdin is not None
        assert owner.stdout is not None
        assert owner.stdout.readline() == "True\n"
        with hosting(path) as host, Peer(path) as peer:
            owner.stdin.write("\n")
            owner.stdin.flush()
            child = int(owner.stdout.readline())
            try:
                peer.say(Subscribe(1, ["g"]))
                assert peer.hear() == Answer(1, None)  # the parent goes on
                owner.kill()
                owner.wait()
                assert peer.hear() is None
                eventually(lambda: host.is_owner)
                os.kill(child, 0)
            finally:
                os.kill(child, signal.SIGKILL)


def test_a_host_that_waits_outlives_what_the_system_refuses(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with hosting(path) as owner, hosting(path) as waits:
        refused = threading.Event()

        def refuse(path: Path) -> int | None:
            refused.set()
            raise OSError(errno.ENOLCK, "No locks available")

        with monkeypatch.context() as patch:
            patch.setattr(serving, "take_lock", refuse)
            assert refused.wait(WITHIN_S)
        owner.stop()
        eventually(lambda: waits.is_owner)
    assert "[Errno 37] No locks available" in [record.getMessage() for record in caplog.records]


def test_a_process_that_ends_without_stop_leaves_no_socket(path: Path) -> None:
    with another_process(HOSTS, path, "-W", "error") as owner:
        assert owner.communicate(timeout=WITHIN_S) == ("True\n", "")
        assert owner.returncode == 0
    assert not path.exists()


def test_a_member_that_does_not_read_is_dropped_and_the_others_go_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serving, "MEMBER_BUFFER_BYTES", 1_000_000)
    with hosting(path), Peer(path, A) as stuck, Peer(path, B) as reads, Peer(path, C) as sends:
        for peer in (stuck, reads):
            peer.say(Subscribe(1, ["g"]))
            assert peer.hear() == Answer(1, None)
        message = Publish(1, "g", b"x" * 100_000, None, "close", 60.0)
        for _ in range(30):
            sends.say(message)
            assert sends.hear() == Answer(1, None)
            assert reads.hear() == message
        heard = 0
        while stuck.hear() is not None:
            heard += 1
        assert heard < 30
    assert [record.message for record in caplog.records] == [
        f"The broker at {path} drops a member: more than 1000000 bytes wait for it."
    ]


@pytest.mark.parametrize(
    "factory", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"]
)
def test_a_member_that_goes_as_it_is_written_to_does_not_take_the_others_answers_with_it(
    path: Path, factory: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_loop_factory", lambda: factory)
    with hosting(path) as host, Peer(path, B) as sends:
        for _ in range(20):
            with Peer(path, A) as goes:
                goes.say(Listen(1, "work"))
                assert goes.hear() == Answer(1, None)
                held, goes_on = threading.Event(), threading.Event()

                def hold(held: threading.Event = held, goes_on: threading.Event = goes_on) -> None:
                    held.set()
                    goes_on.wait(WITHIN_S)

                assert host._serving is not None
                assert host._serving._loop is not None
                host._serving._loop.call_soon_threadsafe(hold)
                assert held.wait(WITHIN_S)
            sends.say(Send(1, "work", b"m", 100, 60.0))  # both wait now for one pass of the broker's loop
            goes_on.set()
            assert sends.hear() == Answer(1, None)


def test_a_member_that_does_not_read_does_not_hold_up_the_stop(path: Path) -> None:
    with hosting(path) as host, Peer(path, A) as stuck, Peer(path, B) as sends:
        stuck.say(Subscribe(1, ["g"]))
        assert stuck.hear() == Answer(1, None)
        sends.say(Publish(1, "g", b"x" * 10_000_000, None, "close", 60.0))
        assert sends.hear() == Answer(1, None)
        begun_at = time.monotonic()
        host.stop()
        assert time.monotonic() - begun_at < serving.STOP_S
        assert brokers() == []


@pytest.mark.parametrize("said", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1", b"GET / HTTP/1.1\r\n\r\n"])
def test_who_does_not_speak_the_protocol_is_dropped(
    path: Path, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with hosting(path), Peer(path, A) as good, Peer(path, B) as bad:
        bad.socket.sendall(said)
        assert bad.hear() is None
        good.say(Subscribe(1, ["g"]))
        assert good.hear() == Answer(1, None)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "drops a member" in caplog.text


def test_a_member_that_falls_silent_is_dropped(path: Path) -> None:
    with hosting(path, lease_s=0.3), Peer(path, A) as silent, Peer(path, B) as other:
        silent.say(Listen(1, "work"))
        assert silent.hear() == Answer(1, None)
        assert silent.hear() is None
        other.say(Send(1, "work", b"m", 100, 60.0), Listen(2, "work"))
        assert [other.hear() for _ in range(3)] == [Answer(1, None), Deliver("work", b"m"), Answer(2, None)]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_another_user_is_refused(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with hosting(path):
        path.parent.chmod(0o755)
        path.chmod(0o666)
        code = "import os, socket; os.setuid(12345); s = socket.socket(1); s.connect(str(path)); print(s.recv(1))"
        with another_process(code, path) as stranger:
            assert stranger.communicate(timeout=WITHIN_S)[0] == "b''\n"
        with Peer(path):
            pass
    assert [record.message for record in caplog.records] == [
        "A process of another user tried to reach the broker, and was refused."
    ]


@pytest.mark.parametrize("loss", ["removed", "replaced"])
def test_a_socket_that_nobody_finds_is_made_again(
    path: Path, loss: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serving, "CHECK_S", 0.02)
    with hosting(path), Peer(path) as peer:
        path.unlink()
        if loss == "replaced":
            path.touch()
            eventually(lambda: "is a file" in caplog.text)
            path.unlink()
        assert peer.hear() is None
        eventually(path.exists)
        with Peer(path):
            pass
    assert "was removed or replaced" in caplog.text
    assert caplog.text.count("is a file") == (loss == "replaced")


def test_files_of_a_broker_that_runs_long_do_not_look_old(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cleaners of temporary files go by age."""
    monkeypatch.setattr(serving, "CHECK_S", 0.02)
    with hosting(path):
        for file in (path, Path(f"{path}.lock")):
            os.utime(file, (1000, 1000))
        for file in (path, Path(f"{path}.lock")):
            eventually(lambda file=file: file.stat().st_mtime > 1000)


def test_a_place_where_no_broker_can_be_is_told_at_once(path: Path) -> None:
    path.touch()
    host = BrokerHost(path)
    with pytest.raises(ConfigurationError, match="is a file"):
        host.start()
    assert not host.is_owner
    assert brokers() == []
    path.unlink()
    with hosting(path) as again:
        assert again.is_owner  # the lock was let go


def test_the_brokers_thread_leaves_signals_to_others(path: Path) -> None:
    with hosting(path), Peer(path):
        status = Path(f"/proc/self/task/{brokers()[0].native_id}/status").read_text()
        blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
        assert blocked & 1 << (signal.SIGTERM - 1)
        assert blocked & 1 << (signal.SIGINT - 1)
