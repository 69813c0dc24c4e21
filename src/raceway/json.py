"""The package's one JSON encoder: everything that Raceway writes as JSON, unless a class has its own.

Beyond what JSON knows it takes what Django code holds: dates, times and UUIDs (ISO text, as ``orjson`` writes
them), ``Decimal`` (its digits, as text), ``timedelta`` (ISO 8601 duration), lazy strings (their text now),
sets (a list in no particular order), and dictionary keys that are not strings.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import orjson
from django.utils.duration import duration_iso_string
from django.utils.functional import Promise

MAX_DEPTH: Final = 200
"""What is read must also be writable, inside a message or two: ``orjson`` reads 1,024 levels, but writes 254."""


def encode_json(value: object) -> bytes:
    """Write ``value`` as UTF-8 JSON text. Raises ``TypeError`` for a type that has no JSON form."""
    return orjson.dumps(value, _default, orjson.OPT_NON_STR_KEYS)


def decode_json(text: str | bytes) -> Any:
    """Read JSON text. Raises ``ValueError`` where it is malformed (RFC 8259), or nested deeper than ``MAX_DEPTH``."""
    value = orjson.loads(text)
    openings = (
        text.count("[") + text.count("{") if isinstance(text, str) else text.count(b"[") + text.count(b"{")
    )
    if openings > MAX_DEPTH:
        _require_depth(value)
    return value


def _require_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"The JSON text is nested deeper than {MAX_DEPTH} levels.")


def _default(value: object) -> object:
    if isinstance(value, Decimal | Promise):
        return str(value)
    if isinstance(value, timedelta):
        return duration_iso_string(value)
    if isinstance(value, set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__qualname__} has no JSON form")
