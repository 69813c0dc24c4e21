"""Fresh channel layers for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

from raceway.layers import ChannelLayer, channel_layers
from raceway.layers.memory import MemoryLayer
from raceway.testing.database import see_commits
from raceway.testing.thread import is_loop_running, loop_thread

FRONT_OPTIONS = frozenset(signature(ChannelLayer).parameters) - {"drop_share"}
"""What every layer can be told, so also the one that takes its place; but tests are not to fail now and then."""


@contextmanager
def fresh_channel_layers() -> Iterator[None]:
    """Put an empty layer in the place of each one in ``CHANNEL_LAYERS``, and those back afterwards.

    It is a ``memory`` layer with the same capacities and expiry; or, if the alias has a ``TEST_CONFIG``, its own
    backend with that instead of ``CONFIG``, flushed and closed at the end. A broker named there is to be one
    that nobody else uses.
    """
    fresh = {alias: fresh_layer(alias) for alias in channel_layers}
    old = {alias: channel_layers.set(alias, layer) for alias, layer in fresh.items()}
    try:
        yield
    finally:
        for alias, layer in old.items():
            channel_layers.set(alias, layer)
        for layer in fresh.values():
            if type(layer) is not MemoryLayer and not is_loop_running():
                with loop_thread() as thread:
                    thread.run(end_layer(layer))


def fresh_layer(alias: str) -> ChannelLayer:
    """An empty layer for tests in the place of the one that is configured."""
    config = channel_layers.configs.get(alias, {})
    if "TEST_CONFIG" in config:
        return channel_layers.make_test_backend(alias)
    options = {name: value for name, value in config.get("CONFIG", {}).items() if name in FRONT_OPTIONS}
    return MemoryLayer(**options)


async def end_layer(layer: ChannelLayer) -> None:
    await layer.flush()
    await layer.aclose()


class ChannelLayersMixin:
    """For ``unittest``: each test has fresh channel layers, and sees what it sends at the end of ``atomic`` blocks.

    ``class ChatTests(ChannelLayersMixin, TestCase)``. Under pytest the plugin does this for every test.
    """

    def run(self, result: Any = None) -> Any:
        with fresh_channel_layers(), see_commits():
            return super().run(result)  # type: ignore[misc]
