"""What is broadcast: 128 bytes, as text and as the JSON of an event."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.apps import BROADCAST_BYTES

TEXT = "x" * BROADCAST_BYTES
COMPACT = (",", ":")
SPACED = (", ", ": ")


def event(separators: tuple[str, str]) -> dict[str, Any]:
    """An event whose JSON, written with these separators, is of that size."""
    empty = {"type": "room.event", "text": ""}
    return {**empty, "text": "x" * (BROADCAST_BYTES - len(as_json(empty, separators)))}


def as_json(content: dict[str, Any], separators: tuple[str, str]) -> str:
    return json.dumps(content, separators=separators)
