"""One publish to one group, on its way through the members."""

from __future__ import annotations

import logging
from collections.abc import Container
from typing import Final

from raceway.prepared import PreparedMessage
from raceway.registry.members import Closing, Member, Message
from raceway.registry.policy import Policy

logger = logging.getLogger("raceway.registry")

NOT_BEGUN: Final = -1


class FanOut:
    """Hand ``message`` to the members that a group has when this begins, some at a time.

    Each is reached at most once; who leaves before its turn is skipped; who joins later is not reached. What
    one member raises is logged and costs no other member the message.
    """

    __slots__ = ("done", "exclude", "full_count", "group", "message", "policy", "recipients")

    def __init__(self, group: str, message: Message, exclude: str | None, policy: Policy) -> None:
        self.group = group
        self.message = message
        self.exclude = exclude
        self.policy = policy
        self.recipients: list[Member] = []
        self.done = NOT_BEGUN
        self.full_count = 0
        """Recipients that had no room for the event."""

    @property
    def is_finished(self) -> bool:
        return self.done >= len(self.recipients)

    def begin(self, members: dict[Member, int]) -> None:
        """Fix the recipients."""
        self.recipients = list(members)
        if self.exclude is not None:
            self.recipients = [member for member in self.recipients if member.channel != self.exclude]
        self.done = 0

    def advance(self, members: Container[Member], limit: int) -> int:
        """Reach up to ``limit`` more recipients, of those that are still in ``members``; return how many."""
        batch = self.recipients[self.done : self.done + limit]
        self.done += len(batch)
        message = self.message
        if isinstance(message, PreparedMessage):
            self._push(batch, members, message)
        elif isinstance(message, Closing):
            self._close(batch, members, message)
        else:
            self._deliver(batch, members, message)
        return len(batch)

    # Three loops, not one: a choice per recipient is work per recipient.

    def _push(self, batch: list[Member], members: Container[Member], message: PreparedMessage) -> None:
        policy, key = self.policy, self.group
        for member in batch:
            if member in members:
                try:
                    member.push(message, policy, key)
                except Exception:
                    self._report(member)

    def _deliver(self, batch: list[Member], members: Container[Member], encoded: bytes) -> None:
        for member in batch:
            if member in members:
                try:
                    if not member.deliver(encoded):
                        self.full_count += 1
                except Exception:
                    self._report(member)

    def _close(self, batch: list[Member], members: Container[Member], closing: Closing) -> None:
        for member in batch:
            if member in members:
                try:
                    member.close(closing)
                except Exception:
                    self._report(member)

    def _report(self, member: Member) -> None:
        logger.exception("A message to the group %r could not be handed to %s.", self.group, member.channel)
