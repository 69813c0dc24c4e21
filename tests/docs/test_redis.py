"""What the how-to about Redis says: its forms of ``hosts`` are read, and its user may do what the layer does."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from typing import Any

import pytest
from django.utils.module_loading import import_string

from raceway.errors import LayerUnavailable
from raceway.layers.redis import RedisLayer
from raceway.layers.redis.hosts import parse_hosts
from tests.docs.blocks import DOCS, ROOT
from tests.servers.redis import running_server

FILES = ["docs/snippets/redis/hosts.py", "docs/snippets/redis/users.acl"]

SAID = {
    "ONE": "redis.internal:6379",
    "SAME": "redis.internal:6379",
    "TLS": "redis.internal:6379",
    "UNIX": "/run/redis/redis.sock",
    "SHARDS": "redis1.internal:6379 redis2.internal:6379 redis3.internal:6379",
    "SENTINEL": "the master 'mymaster' of Sentinel",
    "CLUSTER": "the Cluster of node1.internal:7000, node2.internal:7000",
}


@pytest.fixture
def forms(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(DOCS / "snippets/redis"))
    yield import_module("hosts")
    del sys.modules["hosts"]


@pytest.mark.parametrize("form", SAID)
def test_a_form_of_hosts_is_read(forms: Any, form: str) -> None:
    assert " ".join(map(str, parse_hosts(getattr(forms, form)))) == SAID[form]


def test_two_forms_of_one_server_are_the_same(forms: Any) -> None:
    assert parse_hosts(forms.ONE) == parse_hosts(forms.SAME)


def test_the_setting_makes_a_layer(forms: Any) -> None:
    config = forms.CHANNEL_LAYERS["default"]
    layer = import_string(config["BACKEND"])(**config["CONFIG"])
    assert isinstance(layer, RedisLayer)
    assert layer.prefix == "shop"


@pytest.mark.shell
async def test_the_user_may_do_all_that_the_layer_does_and_nothing_else() -> None:
    with running_server(aclfile=ROOT / FILES[1]) as server:
        hosts = [f"redis://raceway:secret@127.0.0.1:{server.port}"]
        layer, other = (RedisLayer(hosts=hosts, prefix="shop") for _ in range(2))
        inbox = await other.new_channel()
        await layer.group_add("group", inbox)
        await layer.group_add("group", "work")
        await layer.group_send("group", {"type": "a"})
        for channel in (inbox, "work"):
            assert await asyncio.wait_for(other.receive(channel), 5) == {"type": "a"}
        later = layer.prepare({"type": "later"})
        await layer.start_send_later("work", later, 0.05, "token")
        work = await asyncio.wait_for(other.take_work("work"), 5)
        work.done()
        await asyncio.to_thread(layer.send_from_thread, "work", later)
        assert await layer.group_count("group") == 2
        await layer.global_statistics()
        await layer.flush()
        assert await layer.group_count("group") == 0
        await layer.aclose()
        await other.aclose()

        stranger = RedisLayer(hosts=hosts, prefix="else")
        with pytest.raises(LayerUnavailable, match="NOPERM"):
            await stranger.send("work", {"type": "a"})
        await stranger.aclose()
