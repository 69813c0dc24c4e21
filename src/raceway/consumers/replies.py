"""What a message of the first generation does to the socket that it is sent to: ``accept``, ``text``, ``bytes`` and
``close``, several at once if need be. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raceway.close_codes import NORMAL
from raceway.errors import InvalidMessage
from raceway.types import Event


def websocket_events(reply: Mapping[str, Any], is_accepted: bool) -> list[Event]:
    """What a socket is sent for ``reply``, in order.

    Before the handshake is answered, ``accept: False`` and a ``close`` by itself refuse it, and data that is not empty
    accepts it; afterwards ``accept`` says nothing new. Raises ``InvalidMessage`` for a reply with text and bytes, which
    is none.
    """
    text, data, close = reply.get("text"), reply.get("bytes"), reply.get("close", False)
    if text is not None and data is not None:
        raise InvalidMessage("A reply has either 'text' or 'bytes', not both: it was ignored.")
    carries = text is not None or data is not None
    events: list[Event] = []
    if not is_accepted:
        if reply.get("accept") is False:
            return [{"type": "websocket.close"}]
        if reply.get("accept") or text or data:
            events.append({"type": "websocket.accept"})
        elif close and not carries:
            return [{"type": "websocket.close"}]
        elif close:
            events.append({"type": "websocket.accept"})
    if text is not None:
        events.append({"type": "websocket.send", "text": text})
    elif data is not None:
        events.append({"type": "websocket.send", "bytes": data})
    if close:
        events.append({"type": "websocket.close", "code": NORMAL if close is True else close})
    return events
