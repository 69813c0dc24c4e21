"""When to tell of an outage: values, without a clock."""

from __future__ import annotations

from typing import Final

QUIET_S: Final = 60.0
"""After the log has told of an outage it is silent about it for so long."""


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
