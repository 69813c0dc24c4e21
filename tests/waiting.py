"""Waiting for what no event tells of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

WITHIN_S: Final = 30.0
LATE: Final = "it did not come in time"


async def until(holds: Callable[[], object], within_s: float = WITHIN_S, pause_s: float = 0.0) -> None:
    """Let the loop turn until it holds; with a pause for what is in another process."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, LATE
        await asyncio.sleep(pause_s)


def eventually(holds: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Wait in this thread until it holds."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, LATE
        time.sleep(0.005)
