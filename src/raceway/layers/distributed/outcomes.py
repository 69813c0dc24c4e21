"""What becomes of futures that nobody waits for, or that others wait for too."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from functools import partial
from typing import Any

from raceway.errors import ChannelFull

logger = logging.getLogger("raceway.layers")


async def ended(pending: asyncio.Future[Any]) -> None:
    """Wait for what others wait for too."""
    await asyncio.shield(pending)


def copy_outcome(copy: Future[Any], outcome: asyncio.Future[Any]) -> None:
    error = None if outcome.cancelled() else outcome.exception()
    if error is None:
        copy.set_result(None)
    else:
        copy.set_exception(error)


def told(what: str, future: asyncio.Future[Any]) -> None:
    """Say in the log what became of something that nobody waits for."""
    if not future.done():
        future.add_done_callback(partial(told, what))
    elif not future.cancelled() and (error := future.exception()) is not None:
        if isinstance(error, ChannelFull):  # each member of a group gets what it has room for; it is counted
            logger.info("%s", error)
        else:
            logger.warning("%s could not be sent: %s", what, error)


def tell_short(missing: int) -> None:
    if missing:
        logger.warning("%d processes did not answer in time: what was asked lacks them.", missing)
