"""Sharing one listening socket fairly.

Where all workers accept from one socket, whoever wakes first takes the connection, and connections that last pile up
on one worker. So one that has many more than the others stops accepting until it has not.
"""

from __future__ import annotations

from typing import Final

WEIGH_S: Final = 0.25
"""How often the supervisor tells the mean."""

ABOVE: Final = 1.1
"""A worker pauses above this multiple of the mean ..."""

SPARE: Final = 8
"""... and as many connections more: a few are no load."""


def should_pause(own: int, mean: float) -> bool:
    """Whether a worker with ``own`` connections leaves new ones to the others for now."""
    return own > mean * ABOVE + SPARE
