"""The layers that a project gives its tests."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest
from django.test import override_settings

import tests.project  # noqa: F401  Django's settings
from raceway import Group
from raceway.layers import channel_layers, decode_event
from raceway.layers.local import LocalLayer
from raceway.layers.memory import MemoryLayer
from raceway.testing import fresh_channel_layers
from raceway.testing.live import live_server


def test_memory_stands_in_for_local() -> None:
    config = {"BACKEND": "raceway.layers.local.LocalLayer", "CONFIG": {"capacity": 7, "path": "/no/where"}}
    with override_settings(CHANNEL_LAYERS={"default": config}), fresh_channel_layers():
        assert type(channel_layers["default"]) is MemoryLayer
        assert channel_layers["default"].capacity == 7


@pytest.mark.shell
def test_a_broker_for_tests_ends_with_the_test(broker_path: Path) -> None:
    config = {"BACKEND": "raceway.layers.local.LocalLayer", "TEST_CONFIG": {"path": str(broker_path)}}

    async def use() -> list[object]:
        layer = channel_layers["default"]
        channel, heard = await layer.new_channel(), asyncio.Queue[object]()
        layer.open(channel, lambda encoded: heard.put_nowait(decode_event(encoded)) is None)
        await layer.group_add("group", channel)
        assert broker_path.is_socket()  # noqa: ASYNC240
        await asyncio.to_thread(Group("group").send, {"type": "n"})
        return [await heard.get(), await layer.group_count("group")]

    for _ in range(2):
        with override_settings(CHANNEL_LAYERS={"default": config}), fresh_channel_layers():
            assert isinstance(channel_layers["default"], LocalLayer)
            assert asyncio.run(use()) == [{"type": "n"}, 1]
        assert not broker_path.exists()
        gc.collect()  # whatever is not closed would say so


@pytest.mark.shell
def test_a_live_server_hosts_nothing(broker_path: Path) -> None:
    """Its class starts it before there are layers of a test; whoever serves the project meanwhile is not disturbed."""
    config = {"BACKEND": "raceway.layers.local.LocalLayer", "CONFIG": {"path": str(broker_path)}}
    with override_settings(CHANNEL_LAYERS={"default": config}), live_server():
        assert not broker_path.exists()
