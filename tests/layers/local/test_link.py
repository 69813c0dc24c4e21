"""The connections of a process: what is written when, and what happens with a broker that does not read or answer."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raceway.errors import LayerUnavailable
from raceway.layers.local import link as link_module
from raceway.layers.local import thread_link
from raceway.layers.local.link import LINK_BUFFER_BYTES, Link
from raceway.layers.local.serving import BrokerHost
from raceway.layers.local.wire import (
    Answer,
    Count,
    FrameReader,
    FromMember,
    GiveBack,
    Hello,
    Publish,
    Send,
    Taken,
    Welcome,
    decode_from_member,
    encode,
)
from tests.waiting import until

pytestmark = pytest.mark.shell

WAIT_S = 5.0
MIB = 2**20


class Noted:
    """Ears that note."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.publish = self.deliver = self.asked = self.changed = self.missed = self.heard.append


class Raw:
    """A socket where the broker should be, that does what a test says: it accepts, and reads only when asked to."""

    def __init__(self, path: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.connections: list[socket.socket] = []

    def accept(self) -> socket.socket:
        self.listener.settimeout(WAIT_S)
        connection, _ = self.listener.accept()
        connection.settimeout(WAIT_S)
        self.connections.append(connection)
        return connection

    def close(self) -> None:
        for one in (*self.connections, self.listener):
            one.close()


@pytest.fixture
def raw(path: Path) -> Iterator[Raw]:
    raw = Raw(path)
    yield raw
    raw.close()


@pytest.fixture
async def link(path: Path) -> Any:
    link = Link(asyncio.get_running_loop(), path, "me", Noted())
    yield link
    link.close()


def frames(connection: socket.socket, count: int) -> list[FromMember]:
    """The next frames that a member has said."""
    reader = FrameReader()
    found: list[FromMember] = []
    while len(found) < count:
        data = connection.recv(2**16)
        assert data, f"it has ended after {found}"
        found += [decode_from_member(body) for body in reader.feed(data)]
    return found


def publish(size: int = 0, group: str = "g") -> Publish:
    return Publish(0, group, b"e" + bytes(size), None, "close", 60)


# Writing


async def test_what_is_said_in_one_pass_is_one_write(
    link: Link, host: BrokerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert link.find()
    await link.send(publish())  # the greeting is out
    writes: list[int] = []
    write = os.write

    def counted(fd: int, data: bytes) -> int:
        if fd == link._fd:
            writes.append(len(data))
        return write(fd, data)

    monkeypatch.setattr(os, "write", counted)
    waiting = [link.send(publish(group=f"g{number}")) for number in range(100)]
    asks = [link.ask(lambda n: Count(n, "g"))[1] for _ in range(100)]
    assert writes == []
    await asyncio.gather(*map(asyncio.ensure_future, [*map(awaited, waiting), *asks]))
    assert len(writes) == 1


async def awaited(awaitable: Any) -> None:
    await awaitable


async def test_who_awaits_waits_until_the_kernel_has_it_and_needs_no_broker_that_reads(
    link: Link, raw: Raw
) -> None:
    assert link.find()
    connection = raw.accept()
    await asyncio.wait_for(awaited(link.send(publish(1000))), WAIT_S)
    assert [type(frame) for frame in frames(connection, 2)] == [Hello, Publish]
    waiting = asyncio.ensure_future(awaited(link.send(publish(8 * MIB))))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    [frame] = await asyncio.to_thread(frames, connection, 1)
    assert isinstance(frame, Publish)
    assert len(frame.message) == 8 * MIB + 1
    await asyncio.wait_for(waiting, WAIT_S)


async def test_above_the_bound_who_awaits_waits_and_the_rest_is_dropped_counted_and_told_once(
    link: Link, raw: Raw, caplog: pytest.LogCaptureFixture
) -> None:
    assert link.find()
    connection = raw.accept()
    sent = 0
    while link.said_bytes - link._written_bytes + 2 * MIB < LINK_BUFFER_BYTES:
        link.send(publish(MIB, "kept"))
        sent += 1
        link.flush()
    with caplog.at_level(logging.ERROR, "raceway.layers"):
        for _ in range(3):
            link.send(publish(2 * MIB, "dropped"))
    assert link.dropped_count == 3
    [record] = caplog.records
    assert "16 MiB wait for it, so a message that nobody waits for is dropped" in record.getMessage()
    patient = [asyncio.ensure_future(awaited(link.send(publish(2 * MIB, "patient")))) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(one.done() for one in patient)
    _, *read = await asyncio.to_thread(frames, connection, 1 + sent + 3)
    await asyncio.wait_for(asyncio.gather(*patient), WAIT_S)
    groups = [frame.group for frame in read if isinstance(frame, Publish)]
    assert groups == ["kept"] * sent + ["patient"] * 3
    assert link.dropped_count == 3


async def test_who_waits_for_room_does_not_wait_for_a_broker_that_has_gone(link: Link, raw: Raw) -> None:
    assert link.find()
    raw.accept()
    waiting = asyncio.ensure_future(awaited(link.send(publish(8 * MIB))))
    await asyncio.sleep(0)
    raw.close()
    await asyncio.wait_for(waiting, WAIT_S)
    assert not link.is_up


def send(name: str = "x.0123456789abcdef!1") -> Send:
    return Send(0, name, b"e", 3, 60)


async def test_what_was_not_written_when_a_connection_ended_the_next_broker_hears_once(
    link: Link, raw: Raw, caplog: pytest.LogCaptureFixture
) -> None:
    assert link.find()
    first = raw.accept()
    assert await asyncio.to_thread(frames, first, 1)
    link.member.welcome(Welcome("first", 15.0), 0)
    # The first has ended, and this process does not know yet.
    first.close()
    sending = [
        asyncio.ensure_future(awaited(link.send(frame))) for frame in (send("a!1"), publish(), send("b!1"))
    ]
    second = await asyncio.to_thread(raw.accept)
    heard = await asyncio.to_thread(frames, second, 4)
    assert [type(frame) for frame in heard] == [Hello, Send, Publish, Send]
    assert not any(one.done() for one in sending)
    for frame in heard[1:]:
        assert not isinstance(frame, Hello)
        second.sendall(encode(Answer(frame.n, None)))
    await asyncio.wait_for(asyncio.gather(*sending), WAIT_S)
    assert link.lost_count == 0
    assert "what it has not passed on yet is lost. Trying again." in caplog.text


async def test_what_was_not_written_and_finds_no_broker_is_an_error_counted_and_told(
    link: Link, raw: Raw, caplog: pytest.LogCaptureFixture
) -> None:
    assert link.find()
    raw.accept()
    raw.close()
    sending = asyncio.ensure_future(awaited(link.send(send())))
    publishing = asyncio.ensure_future(awaited(link.send(publish())))
    link.send(send())
    with pytest.raises(LayerUnavailable, match="No broker is running"):
        await asyncio.wait_for(sending, WAIT_S)
    await asyncio.wait_for(publishing, WAIT_S)
    await until(lambda: caplog.records)
    assert link.lost_count == 3
    [record] = caplog.records
    assert record.getMessage().startswith("3 messages that waited for the broker at ")


async def test_what_is_not_written_when_a_link_is_closed_is_counted_and_told(
    link: Link, raw: Raw, caplog: pytest.LogCaptureFixture
) -> None:
    assert link.find()
    raw.accept()
    link.send(publish(8 * MIB))
    link.close()
    assert link.lost_count == 1
    assert "1 messages that waited for the broker" in caplog.text


async def test_requests_above_the_bound_are_refused(link: Link, raw: Raw) -> None:
    assert link.find()
    raw.accept()
    asked: list[asyncio.Future[Any]] = []

    def ask() -> None:
        asked.append(link.ask(lambda n: Send(n, "work", bytes(2 * MIB), 3, 60))[1])
        link.flush()

    while link._has_room(0):
        ask()
    assert len(asked) >= LINK_BUFFER_BYTES // (2 * MIB)
    with pytest.raises(LayerUnavailable, match="is too slow: 16777216 bytes wait for it"):
        ask()
    link.close()
    assert {type(error) for error in await asyncio.gather(*asked, return_exceptions=True)} == {
        LayerUnavailable
    }


async def test_nobody_waits_for_a_link_that_was_closed(link: Link, raw: Raw) -> None:
    _, counting = link.ask(lambda n: Count(n, "g"))
    raw.accept()
    link.subscribe("g")
    joining = link.subscribed("g")
    entering = link.enter("p", "1", "c!1", {}, 0)
    sending = asyncio.ensure_future(awaited(link.send(publish(8 * MIB))))
    await asyncio.sleep(0)
    link.close()
    assert joining is not None
    await asyncio.wait_for(asyncio.gather(joining, entering, sending), WAIT_S)
    with pytest.raises(LayerUnavailable, match="The channel layer was closed"):
        await counting
    with pytest.raises(LayerUnavailable):
        link.ask(lambda n: Count(n, "g"))


# Reading


async def test_a_message_for_who_was_cancelled_this_very_moment_is_given_back(link: Link, raw: Raw) -> None:
    n, taken = link.take("work")
    connection = raw.accept()
    link.flush()
    taken.cancel()  # whose task has not run yet, and so has not said Cancel
    connection.sendall(encode(Taken(n, "work", b"e", 9.0)))
    *_, last = await asyncio.to_thread(frames, connection, 3)
    assert last == GiveBack("work", b"e", 9.0, n)


async def test_a_message_that_cannot_be_handed_over_does_not_take_the_next_with_it(
    link: Link, raw: Raw, caplog: pytest.LogCaptureFixture
) -> None:
    ears = link._ears
    heard: list[str] = []

    def hear(frame: Publish) -> None:
        heard.append(frame.group)
        if frame.group == "bad":
            raise ValueError("no")

    ears.publish = hear  # type: ignore[method-assign]
    assert link.find()
    connection = raw.accept()
    connection.sendall(b"".join(encode(publish(group=group)) for group in ("bad", "good")))
    await until(lambda: len(heard) == 2)
    assert "could not be handed over" in caplog.text
    assert link.is_up


@pytest.mark.parametrize("data", [b"\xff" * 8, b"\0\0\0\1\xc1"], ids=["length", "body"])
async def test_who_says_what_no_broker_says_is_left(link: Link, raw: Raw, data: bytes) -> None:
    assert link.find()
    raw.accept().sendall(data)
    await until(lambda: not link.is_up)


async def test_a_socket_of_another_user_is_no_broker(
    link: Link, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "is_same_user", lambda connection: False)
    assert not link.find()


async def test_a_broker_that_is_stuck_is_left_and_nobody_waits_for_ever(
    link: Link, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, counting = link.ask(lambda n: Count(n, "g"))
    raw.accept().sendall(encode(Welcome("stuck", 15.0)))
    link.subscribe("g")
    joining = link.subscribed("g")
    assert joining is not None
    await until(lambda: link.member.broker == "stuck")
    now = link_module.time.monotonic()
    monkeypatch.setattr(link_module.time, "monotonic", lambda: now + 6)
    link._wake()
    with pytest.raises(LayerUnavailable, match="has not answered for 5 s"):
        await counting
    raw.close()
    monkeypatch.setattr(link_module.time, "monotonic", lambda: now + 8)
    link._wake()
    await asyncio.wait_for(joining, WAIT_S)


async def test_nobody_waits_for_ever_to_write_to_a_broker_that_does_not_read(
    link: Link, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert link.find()
    raw.accept().sendall(encode(Welcome("stuck", 15.0)))
    await until(lambda: link.member.broker == "stuck")
    waiting = [asyncio.ensure_future(awaited(link.send(publish(12 * MIB)))) for _ in range(2)]
    await until(lambda: link._is_waiting_to_write)
    raw.listener.close()
    now = link_module.time.monotonic()
    monkeypatch.setattr(link_module.time, "monotonic", lambda: now + 4)
    link._wake()
    assert link.is_up
    monkeypatch.setattr(link_module.time, "monotonic", lambda: now + 6)
    link._wake()
    assert not link.is_up
    monkeypatch.setattr(link_module.time, "monotonic", lambda: now + 8)
    link._wake()
    await asyncio.wait_for(asyncio.gather(*waiting), WAIT_S)
    assert link.lost_count == 2


# Threads


def answering(raw: Raw, *answers: Callable[[int], bytes]) -> list[FromMember]:
    """Answer one member's requests in turn, in another thread; what it has said."""
    heard: list[FromMember] = []
    connection = raw.accept()
    reader = FrameReader()
    remaining = list(answers)
    while remaining:
        data = connection.recv(2**16)
        if not data:
            break
        for body in reader.feed(data):
            frame = decode_from_member(body)
            heard.append(frame)
            if not isinstance(frame, Hello):
                connection.sendall(remaining.pop(0)(getattr(frame, "n", 0)))
    connection.close()
    return heard


def sending(n: int) -> Send:
    return Send(n, "work", b"e", 3, 60)


def test_a_thread_has_the_answer_to_its_own_question_in_whatever_pieces(path: Path, raw: Raw) -> None:
    def strange(n: int) -> bytes:
        return encode(Welcome("b", 1.0)) + encode(Answer(99, 1)) + encode(Answer(n, 7))

    heard: list[Any] = []
    server = threading.Thread(target=lambda: heard.extend(answering(raw, strange, strange)))
    server.start()
    link = thread_link.ThreadLink(path, "me")
    assert [link.ask(lambda n: Count(n, "g")) for _ in range(2)] == [7, 7]
    link.close()
    server.join(WAIT_S)
    assert heard == [Hello("me"), Count(1, "g"), Count(2, "g")]


def test_a_connection_that_has_ended_is_made_anew_before_anything_is_written(path: Path, raw: Raw) -> None:
    heard: list[Any] = []

    def serve() -> None:
        for _ in range(2):
            heard.append(answering(raw, lambda n: encode(Answer(n, None))))

    server = threading.Thread(target=serve)
    server.start()
    link = thread_link.ThreadLink(path, "me")
    for _ in range(2):
        link.ask(sending)
        while len(heard) == 0:  # until it is closed
            pass
    link.close()
    server.join(WAIT_S)
    assert heard == [[Hello("me"), sending(1)], [Hello("me", resumed=True), sending(2)]]


def test_what_was_written_is_not_written_again(path: Path, raw: Raw) -> None:
    heard: list[Any] = []
    server = threading.Thread(target=lambda: heard.extend(answering(raw, lambda n: b"")))
    server.start()
    link = thread_link.ThreadLink(path, "me")
    with pytest.raises(LayerUnavailable, match="so whether it has done what it was asked for is not known"):
        link.ask(sending)
    server.join(WAIT_S)
    assert heard == [Hello("me"), sending(1)]
    raw.listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        raw.listener.accept()


def test_a_thread_does_not_wait_for_ever(path: Path, raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_link, "SYNC_S", 0.05)
    link = thread_link.ThreadLink(path, "me")
    for _ in range(2):
        with pytest.raises(LayerUnavailable, match="did not answer"):
            link.ask(sending)
    assert link._socket is None


def test_a_thread_that_is_interrupted_leaves_no_answer_for_the_next(
    path: Path, host: BrokerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = thread_link.ThreadLink(path, "me")
    with monkeypatch.context() as patch:

        def interrupt(*args: Any) -> Any:
            raise KeyboardInterrupt

        patch.setattr(link, "_answer", interrupt)
        with pytest.raises(KeyboardInterrupt):
            link.ask(lambda n: Count(n, "g"))
    assert link.ask(lambda n: Count(n, "g")) == 0
    link.close()
