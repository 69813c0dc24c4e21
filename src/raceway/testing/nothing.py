"""What a test that waited in vain is told."""

from __future__ import annotations


class NothingCame(AssertionError, TimeoutError):
    """What a test waited for did not come. A failed assertion to test runners; also a ``TimeoutError``."""
