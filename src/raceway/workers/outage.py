"""When to try again what failed, and when to say so: values, without a clock."""

from __future__ import annotations

from typing import Final

FIRST_RETRY_S: Final = 0.1
LONGEST_RETRY_S: Final = 5.0
"""Between these, about, what has failed is tried again."""

QUIET_S: Final = 60.0
"""After the log has told of an outage it is silent about it for so long."""


class Backoff:
    """How long to wait after each failure in a row."""

    def __init__(self) -> None:
        self._next_s = FIRST_RETRY_S

    def succeeded(self) -> None:
        self._next_s = FIRST_RETRY_S

    def failed(self, random: float) -> float:
        """Seconds to wait now; ``random`` is between 0 and 1, so that many do not come again at once."""
        wait_s = self._next_s * (0.5 + random / 2)
        self._next_s = min(2 * self._next_s, LONGEST_RETRY_S)
        return wait_s


class Outage:
    """Whether many who fail for the same reason have told of it."""

    def __init__(self) -> None:
        self._quiet_until: float | None = None

    def failed(self, now: float) -> bool:
        """Whether to tell of a failure."""
        if self._quiet_until is not None and now < self._quiet_until:
            return False
        self._quiet_until = now + QUIET_S
        return True

    def succeeded(self) -> bool:
        """Whether to tell that it is over."""
        was_told, self._quiet_until = self._quiet_until is not None, None
        return was_told
