"""What is in the hands of a process, and what waits for its time, with a real broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from raceway.errors import LayerUnavailable
from raceway.layers.local import LocalLayer
from raceway.layers.local.serving import BrokerHost
from raceway.layers.spec import decode_event, encode_event

pytestmark = pytest.mark.shell

MESSAGE = encode_event({"type": "work.do"})


@pytest.fixture
async def layers(host: BrokerHost, path: Path) -> AsyncIterator[tuple[LocalLayer, LocalLayer]]:
    """As in two processes."""
    both = LocalLayer(path=path), LocalLayer(path=path)
    yield both
    for layer in both:
        await layer.aclose()


async def lost(layer: LocalLayer) -> int:
    return (await layer.channel_statistics("work"))["messages_lost_count"]


async def until_lost(layer: LocalLayer, expected: int) -> None:
    async with asyncio.timeout(5):
        while await lost(layer) != expected:  # which waits for the broker's answer
            pass


async def test_what_is_done_is_not_lost_with_its_process(layers: tuple[LocalLayer, LocalLayer]) -> None:
    layer, other = layers
    await other.send("work", {"n": 1})
    work = await layer.take_work("work")
    assert decode_event(work.encoded) == {"n": 1}
    work.done()
    await layer.aclose()
    await other.send("work", {"n": 2})
    assert await other.receive("work") == {"n": 2}
    assert await lost(other) == 0


async def test_what_a_process_had_in_its_hands_when_it_ended_is_counted_and_logged(
    layers: tuple[LocalLayer, LocalLayer], caplog: pytest.LogCaptureFixture
) -> None:
    layer, other = layers
    for n in range(3):
        await other.send("work", {"n": n})
    done = await layer.take_work("work")
    await layer.take_work("work")
    done.done()
    with caplog.at_level(logging.WARNING, "raceway.layers"):
        await layer.aclose()
        await until_lost(other, 1)
    assert "A process ended with 1 messages of the channel 'work' in its hands: they are lost." in caplog.text
    assert (await other.global_statistics())["messages_lost_count"] == 1
    assert await other.receive("work") == {"n": 2}


async def test_what_was_put_back_is_the_first_again(layers: tuple[LocalLayer, LocalLayer]) -> None:
    layer, other = layers
    for n in range(2):
        await other.send("work", {"n": n})
    work = await layer.take_work("work")
    assert work.put_back is not None
    work.put_back()
    await layer.aclose()
    assert [await other.receive("work") for _ in range(2)] == [{"n": 0}, {"n": 1}]
    assert await lost(other) == 0


async def test_a_worker_that_was_cancelled_gives_its_message_to_a_plain_receiver_who_holds_nothing(
    layers: tuple[LocalLayer, LocalLayer],
) -> None:
    layer, other = layers
    working = asyncio.ensure_future(layer.take_work("work"))
    receiving = asyncio.ensure_future(layer.receive("work"))
    await other.channel_statistics("work")
    await layer.channel_statistics("work")  # both wait at the broker
    sending = other.start_send("work", encode_event({"n": 1}))
    working.cancel()  # what was sent may be on its way to it
    await sending
    assert await receiving == {"n": 1}
    await asyncio.gather(working, return_exceptions=True)
    await layer.aclose()
    await other.send("work", {"n": 2})
    assert await other.receive("work") == {"n": 2}
    assert await lost(other) == 0


async def test_a_channel_of_this_process_has_nothing_to_hold(host: BrokerHost, path: Path) -> None:
    layer = LocalLayer(path=path)
    name = await layer.new_channel()
    await layer.send(name, {"n": 1})
    work = await layer.take_work(name)
    work.done()
    assert decode_event(work.encoded) == {"n": 1}
    assert work.put_back is None
    await layer.aclose()


async def test_a_delayed_message_reaches_another_process_and_a_thread_can_send_it(
    layers: tuple[LocalLayer, LocalLayer],
) -> None:
    layer, other = layers
    loop = asyncio.get_running_loop()
    began = loop.time()
    receiving = asyncio.ensure_future(other.receive("work"))
    await asyncio.to_thread(layer.send_later_from_thread, "work", MESSAGE, 0.2, "t")
    assert await receiving == {"type": "work.do"}
    assert loop.time() - began >= 0.19


async def test_a_delayed_message_to_a_connection_waits_with_the_broker(
    layers: tuple[LocalLayer, LocalLayer],
) -> None:
    layer, other = layers
    heard = asyncio.get_running_loop().create_future()
    name = await layer.new_channel()
    layer.open(name, lambda encoded: heard.set_result(decode_event(encoded)) or True)
    await other.start_send_later(name, MESSAGE, 0.05, "t")
    assert await asyncio.wait_for(heard, 5) == {"type": "work.do"}


async def test_whoever_knows_the_token_can_cancel(layers: tuple[LocalLayer, LocalLayer]) -> None:
    layer, other = layers
    await layer.start_send_later("work", MESSAGE, 600, "t")
    await layer.start_send_later("work", MESSAGE, 600, "u")
    assert await other.cancel("work", "t")
    assert not await layer.cancel("work", "t")
    assert await asyncio.to_thread(other.cancel_from_thread, "work", "u")
    assert not await asyncio.to_thread(layer.cancel_from_thread, "work", "u")


async def test_code_of_a_loop_need_not_wait(layers: tuple[LocalLayer, LocalLayer]) -> None:
    layer, other = layers
    layer.send_later_from_thread("work", MESSAGE, 0.01, "t")
    async with asyncio.timeout(5):
        assert await other.receive("work") == {"type": "work.do"}


async def test_without_a_broker_nothing_is_kept_for_later(path: Path) -> None:
    layer = LocalLayer(path=path)
    with pytest.raises(LayerUnavailable, match="No broker is running"):
        await layer.start_send_later("work", MESSAGE, 1, "t")
    with pytest.raises(LayerUnavailable, match="No broker is running"):
        await asyncio.to_thread(layer.send_later_from_thread, "work", MESSAGE, 1, "t")
    await layer.aclose()


async def test_a_process_that_may_not_host_does_not_also_when_it_listens(path: Path) -> None:
    layer = LocalLayer(path=path)
    layer.may_host = False
    layer.open(layer.new_channel_name(), lambda encoded: True)
    layer.host()
    assert not path.exists()  # noqa: ASYNC240  it takes no time
    await layer.aclose()
