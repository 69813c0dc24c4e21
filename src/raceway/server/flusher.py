"""One write per socket per pass of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

SOCKETS_PER_PASS: Final = 500
"""A flush of more sockets is cut here (about 1 ms), so that pings and requests are served in between."""


class Writer(Protocol):
    """A connection whose ``out`` holds what it wrote in this pass."""

    transport: asyncio.Transport
    out: list[bytes]
    out_bytes: int


class Flusher:
    """Remember which connections have written in this pass, and write each one's pieces joined at its end.

    ``call_soon`` is the event loop's.
    """

    __slots__ = ("_call_soon", "_dirty")

    def __init__(self, call_soon: Callable[..., Any]) -> None:
        self._call_soon = call_soon
        self._dirty: list[Writer] = []

    def mark(self, writer: Writer) -> None:
        """``writer`` has put its first piece of this pass into ``out``."""
        dirty = self._dirty
        dirty.append(writer)
        if len(dirty) == 1:
            self._call_soon(self._flush)

    def _flush(self) -> None:
        dirty = self._dirty
        if len(dirty) > SOCKETS_PER_PASS:
            self._dirty = dirty[SOCKETS_PER_PASS:]
            del dirty[SOCKETS_PER_PASS:]
            self._call_soon(self._flush)
        else:
            self._dirty = []
        for writer in dirty:
            out = writer.out
            if not out:  # written early or dropped meanwhile
                continue
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            writer.out_bytes = 0
            try:
                writer.transport.write(data)
            except RuntimeError:  # the transport was closed under us; connection_lost is on its way
                writer.transport.abort()
