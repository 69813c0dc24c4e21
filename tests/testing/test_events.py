"""``connect_sse`` and the stream that it gives."""

from __future__ import annotations

import pytest

import tests.project  # noqa: F401  Django's settings
from raceway.consumers import SseConsumer
from raceway.layers import Group
from raceway.testing import NothingCame, ServerSentEvent, connect_sse
from raceway.testing.events import EventStreamReader


class Ticker(SseConsumer):
    groups = ["stock"]

    async def connect(self):
        await self.accept()
        await self.send(f"after {self.last_event_id}", id="7")

    async def stock_changed(self, event):
        await self.send_json({"robots": event["robots"]}, event="stock")

    async def stock_gone(self, event):
        await self.close()

    async def stock_broken(self, event):
        raise ZeroDivisionError("in the stream")


class Refusing(SseConsumer):
    def connect(self):
        self.close()


async def test_a_stream_reads_line_by_line() -> None:
    async with connect_sse(Ticker, last_event_id="6") as stream:
        assert (b"cache-control", b"no-cache") in stream.response_headers
        assert await stream.expect_event("after 6", id="7") == ("after 6", "message", "7")
        await Group("stock").asend({"type": "stock.changed", "robots": 3})
        await stream.expect_event({"robots": 3}, event="stock")
        Group("stock").broadcast("one\ntwo")
        assert (await stream.receive_event()).data == "one\ntwo"
        await stream.expect_nothing(0.01)
        await Group("stock").asend({"type": "stock.gone"})
        await stream.expect_end()


def test_the_same_without_async() -> None:
    with connect_sse(Ticker) as stream:
        stream.expect_event("after None")
        Group("stock").send({"type": "stock.changed", "robots": 3})
        stream.expect_event({"robots": 3}, event="stock")
        stream.expect_nothing(0.01)
        Group("stock").send({"type": "stock.gone"})
        stream.expect_end()
    connect_sse(Refusing).expect_refused(403)


async def test_a_refusal() -> None:
    await connect_sse(Refusing).expect_refused(403)
    with pytest.raises(AssertionError, match="the stream to be accepted, but the application answered 403"):
        async with connect_sse(Refusing):
            pass
    with pytest.raises(AssertionError, match="the stream to be refused, but it was accepted"):
        await connect_sse(Ticker).expect_refused()


async def test_what_fails_says_so() -> None:
    async with connect_sse(Ticker, timeout_s=0.05) as stream:
        with pytest.raises(AssertionError, match=r"expected: .*'before'.*\nreceived: .*'after None'"):
            await stream.expect_event("before")
        with pytest.raises(NothingCame, match=r"Expected the event 'x' 1, but nothing came within 0.05 s"):
            await stream.expect_event(1, event="x")
        Group("stock").broadcast("[")
        with pytest.raises(AssertionError, match="another event"):
            await stream.expect_event([])
        Group("stock").broadcast("surprise")
        with pytest.raises(AssertionError, match=r"Expected nothing .*'surprise'"):
            await stream.expect_nothing(1)
        Group("stock").broadcast("more")
        with pytest.raises(AssertionError, match=r"Expected the stream to end, but .*'more'"):
            await stream.expect_end()
        await stream.receive_event()
        await Group("stock").asend({"type": "stock.gone"})
        with pytest.raises(AssertionError, match="Expected an event, but the stream has ended"):
            await stream.receive_event()


async def test_the_applications_own_exception_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with connect_sse(Ticker) as stream:
            await stream.receive_event()
            await Group("stock").asend({"type": "stock.broken"})
            await stream.receive_event()


def test_the_reader_reads_as_browsers_do() -> None:
    reader = EventStreamReader()
    text = b":comment\n\nevent: a\r\ndata: 1\ndata:2\nid: x\nretry: 5\n\ndata\n\nevent: none\n\n"
    expected = [ServerSentEvent("1\n2", "a", "x"), ServerSentEvent("", "message", "x")]
    assert reader.feed(text) == expected
    apart = EventStreamReader()
    assert [event for byte in text for event in apart.feed(bytes([byte]))] == expected
