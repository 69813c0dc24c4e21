"""What is asked of Redis together is written together."""

from __future__ import annotations

import asyncio

import pytest

from raceway.layers.redis import RedisLayer
from raceway.layers.redis.connection import Connection
from tests.servers.redis import new_prefix, shared_server

MESSAGES = 20


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is written to Redis, piece by piece."""
    written: list[bytes] = []
    write = Connection.write

    def remember(connection: Connection, data: bytes) -> None:
        written.append(data)
        write(connection, data)

    monkeypatch.setattr(Connection, "write", remember)
    return written


async def test_a_worker_writes_once_for_each_message(written: list[bytes]) -> None:
    layer = RedisLayer(hosts=[shared_server().url], prefix=new_prefix())
    for n in range(MESSAGES + 1):
        await layer.send("work", {"type": "work", "n": n})
    work = await layer.take_work("work")
    written.clear()
    for _ in range(MESSAGES):
        work.done()
        work = await asyncio.ensure_future(layer.take_work("work"))
    assert len(written) == MESSAGES
    work.done()
    await layer.aclose()


async def test_what_many_send_at_once_is_one_write(written: list[bytes]) -> None:
    layer = RedisLayer(hosts=[shared_server().url], prefix=new_prefix())
    await layer.send("work", {"type": "work"})
    written.clear()
    await asyncio.gather(*(layer.send("work", {"type": "work"}) for _ in range(MESSAGES)))
    assert len(written) == 1
    await layer.aclose()
