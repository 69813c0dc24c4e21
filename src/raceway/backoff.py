"""How long to wait before what has failed is tried again: values, without a clock."""

from __future__ import annotations


class Backoff:
    """The pauses after failures in a row: from ``first_s`` to ``longest_s`` seconds, twice as long each time."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = self._next_s = first_s
        self._longest_s = longest_s

    def failed(self, chance: float) -> float:
        """Seconds to wait now; ``chance`` is between 0 and 1, so that many do not come again at once."""
        wait_s = self._next_s * (0.5 + chance / 2)
        self._next_s = min(2 * self._next_s, self._longest_s)
        return wait_s

    def succeeded(self) -> None:
        self._next_s = self._first_s
