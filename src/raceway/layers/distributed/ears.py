"""What one loop does with the frames that its carrier brings."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from raceway.errors import ChannelFull, LayerUnavailable
from raceway.layers.distributed.frames import (
    Ask,
    Beat,
    Cancel,
    Changed,
    Deliver,
    Enter,
    Exit,
    Gone,
    Join,
    Publish,
    Reply,
    Whole,
    decode,
)
from raceway.layers.roster import PRESENCE_GROUPS
from raceway.registry.policy import Policy

if TYPE_CHECKING:
    from raceway.layers.distributed.layer import DistributedLayer
    from raceway.layers.distributed.part import DistributedPart

logger = logging.getLogger("raceway.layers")


class LoopEars:
    """Hand what a carrier brings to one loop's channels."""

    def __init__(self, layer: DistributedLayer, part: DistributedPart) -> None:
        self._layer = layer
        self._part = part

    def heard(self, address: str, frame: bytes) -> None:
        if address.startswith("c:"):
            self._part.receiving.wake_for(address)
            return
        try:
            said = decode(frame)
            if isinstance(said, Publish):
                self._publish(address[2:], said)
            elif isinstance(said, Deliver):
                self._deliver(said)
            elif isinstance(said, Reply):
                self._part.answered(said)
            elif isinstance(said, Enter | Exit | Beat | Whole | Gone):
                self._part.attending.heard(said)
            elif isinstance(said, Changed):
                if self._layer.presence_changed is not None:
                    self._layer.presence_changed(said.presence, said.kind, said.key, said.metas)
            else:
                self._answer(said)
        except ValueError as error:  # not one of ours, or sealed with another key
            logger.debug("A frame to %s is dropped: %s", address, error)

    def _publish(self, group: str, frame: Publish) -> None:
        if frame.process != self._layer._process:
            message = self._layer._seal.unseal(frame.message)
            self._part.registry.publish(group, message, frame.exclude, cast(Policy, frame.policy))

    def _deliver(self, frame: Deliver) -> None:
        message = self._layer._seal.unseal(frame.message)
        if frame.delay_s:
            self._layer.send_later_from_thread(frame.channel, message, frame.delay_s, frame.token)
        else:
            with suppress(ChannelFull):  # the sender is in another process; it is counted
                self._layer._send(frame.channel, message)

    def _answer(self, frame: Ask | Join | Cancel) -> None:
        part = self._part
        value: Any = None
        if isinstance(frame, Join):
            part.run(self._join(frame))
            return
        if isinstance(frame, Cancel):
            value = self._layer.cancel_from_thread(frame.channel, frame.token)
        elif frame.what == "count":
            value = part.registry.count(frame.name)
        elif frame.what == "channels":
            value = part.registry.channels(frame.name)
        elif frame.what in ("roll", "roll_count"):
            part.run(self._answer_at_desk(frame))
            return
        elif frame.what == "again":
            value = part.attending.say_again()
        elif frame.what == "whole":
            part.attending.say_all()
        elif frame.what == "lost":
            self._layer.tell_gap("the process that kept the presences has gone", part, PRESENCE_GROUPS)
        elif frame.what == "elect":
            part.attending.elect()
        elif frame.what == "flush":
            part.registry.clear()
            self._layer.clear()
        if frame.reply_to:
            part.reply(frame.reply_to, Reply(frame.n, value))

    async def _join(self, frame: Join) -> None:
        if frame.leaves:
            await self._layer.start_leave(frame.group, frame.channel)
        else:
            await self._layer.start_join(frame.group, frame.channel)
        self._part.reply(frame.reply_to, Reply(frame.n, None))

    async def _answer_at_desk(self, frame: Ask) -> None:
        value = await self._part.attending.answer(frame.what, frame.name)
        self._part.reply(frame.reply_to, Reply(frame.n, value))

    def lost(self, reason: str) -> None:
        self._part.attending.lost()
        self._layer.on_lost(reason)

    def missed(self, reason: str) -> None:
        self._part.receiving.wake_all()
        self._part.attending.restored()
        self._layer.tell_gap(reason, self._part)
        self._layer.on_restored(reason)


def said_at_desk(answers: list[Any]) -> Any:
    """What the desk has answered; ``None`` if there is none, and nobody anywhere.

    Raises ``LayerUnavailable`` while whoever had the desk is dead, and nobody has it yet.
    """
    for answer in answers:
        if isinstance(answer, list):
            return answer[0]
    if any(answers):
        raise LayerUnavailable(
            "The process that kept the presences has gone, and no other has taken over yet."
        )
    return None
