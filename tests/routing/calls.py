"""Applications that note what they are called with, and a way to call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def note(name: str) -> Callable[..., Any]:
    """An application that leaves its scope, with its name in it, with the caller."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "noted", "scope": {**scope, "name": name}, "receive": receive, "send": send})

    return application


async def call(application: Any, **scope: Any) -> tuple[Any, list[Any]]:
    """Call ``application`` once; return the scope that reached a ``note``, if one was reached, and what was sent."""
    sent: list[Any] = []
    scope = {"type": "websocket", "path": "/", "headers": [], **scope}

    async def receive() -> Any:
        return {"type": f"{scope['type']}.connect"}

    async def send(event: Any) -> None:
        sent.append(event)

    await application(scope, receive, send)
    reached = None
    if sent and sent[0]["type"] == "noted":
        noted = sent.pop(0)
        reached = noted["scope"]
        if scope["type"] == "websocket":
            assert (noted["receive"], noted["send"]) == (receive, send), "middleware stands between"
    return reached, sent
