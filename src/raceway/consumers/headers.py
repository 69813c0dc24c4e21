"""Header fields as a consumer may write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

Text: TypeAlias = str | bytes
HeaderFields: TypeAlias = (
    Iterable[tuple[Text, Text]] | Mapping[Text, Text] | Mapping[str, str] | Mapping[bytes, bytes]
)
"""Headers as a list of pairs or as a dictionary, in bytes or in text."""


def encode_headers(headers: HeaderFields) -> list[tuple[bytes, bytes]]:
    """``headers`` as ASGI has them: pairs of bytes, names in lower case."""
    pairs: Iterable[tuple[Text, Text]] = headers.items() if isinstance(headers, Mapping) else headers
    return [(_as_bytes(name).lower(), _as_bytes(value)) for name, value in pairs]


def _as_bytes(text: Text) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else bytes(text)
