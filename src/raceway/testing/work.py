"""The consumers of named channels, in tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import partial

from raceway.asgi import project_application
from raceway.layers import ChannelLayer, channel_layers
from raceway.routing.channels import channel_names
from raceway.testing.thread import in_either
from raceway.threads import in_test
from raceway.types import ASGIApplication
from raceway.workers import Worker
from raceway.workers.names import choose_channels

__tracebackhide__ = __unittest = True  # a test that fails shows its own line, not ours


def run_workers(
    *channels: str, application: ASGIApplication | None = None, alias: str = "default"
) -> Awaitable[None]:
    """Have all that waits in named channels handled, and what that sends there, until nothing waits::

        Channel("thumbnails").send({"type": "thumbnail.make", "id": 3})
        run_workers()  # in an async def test: await run_workers()
        self.assertTrue(Image.objects.get(pk=3).thumbnail)

    ``channels`` are those that ``application`` routes (the project's, without one), unless some are named. What a
    handler raises, the call raises. Sync code runs in the test's own thread, inside its transaction. Raises
    ``ConfigurationError`` for a channel that is not routed.
    """
    served = project_application() if application is None else application
    names = choose_channels(channel_names(served), channels)
    return in_either(partial(_run_workers, served, names, channel_layers[alias]))


async def _run_workers(application: ASGIApplication, names: list[str], layer: ChannelLayer) -> None:
    # A task, whose context variables are its own.
    await asyncio.get_running_loop().create_task(_work(_TestWorker(application, names, layer), layer))


async def _work(worker: _TestWorker, layer: ChannelLayer) -> None:
    in_test.set(True)
    worker.start()
    try:
        while worker.error is None and not await _is_done(worker, layer):
            pass
    finally:
        await worker.stop(0)
    if worker.error is not None:
        raise worker.error


async def _is_done(worker: _TestWorker, layer: ChannelLayer) -> bool:
    await asyncio.sleep(0)
    for channel in worker.channels:
        if (await layer.channel_statistics(channel))["messages_pending"]:
            return False
    await asyncio.sleep(0)  # what was on its way before that answer is there now
    return worker.waits


class _TestWorker(Worker):
    """Keeps the first error, for the test."""

    error: BaseException | None = None

    def failed(self, channel: str, error: BaseException) -> None:
        self.error = self.error or error
