"""The one thing that must be in C: XOR with the client's mask (RFC 6455 section 5.3)."""

from __future__ import annotations

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the compiled part: the same in Python, three times slower
    from websockets.utils import apply_mask

__all__ = ["apply_mask"]
