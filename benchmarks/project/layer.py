"""The project's channel layer, for programs that are not its servers; importing this sets Django up."""

# ruff: noqa: E402  Django is set up before models are imported

from __future__ import annotations

import django

django.setup()

from typing import Any

from benchmarks.project.messages import TEXT
from benchmarks.project.settings import RACEWAY_IS_HERE

ROOM = "room"


def project_layer() -> Any:
    if RACEWAY_IS_HERE:
        from raceway.layers import get_channel_layer
    else:
        from channels.layers import get_channel_layer
    return get_channel_layer()


async def broadcast() -> None:
    """``TEXT`` to every consumer of the room, from outside; Channels has its consumers' handler send it."""
    if RACEWAY_IS_HERE:
        from raceway import Group

        await Group(ROOM).abroadcast(TEXT)
    else:
        await project_layer().group_send(ROOM, {"type": "room.text", "text": TEXT})
