"""The time, for what Raceway itself measures: expiry, leases, tokens. ``raceway.testing`` moves it."""

from __future__ import annotations

import time

_moved_s = 0.0


def monotonic() -> float:
    """Seconds since some moment; for how long something takes or may last."""
    return time.monotonic() + _moved_s


def now() -> float:
    """Seconds since 1970 (UTC); for what other processes and machines read."""
    return time.time() + _moved_s


def move(seconds: float) -> None:
    """Let it be so much later from now on; a negative number takes a move back. For tests only."""
    global _moved_s
    _moved_s += seconds
