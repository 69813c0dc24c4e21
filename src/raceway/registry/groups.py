"""Which channels of this process are in which group, and the publishes on their way to them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final

from raceway.prepared import PreparedMessage
from raceway.registry.fanout import NOT_BEGUN, FanOut
from raceway.registry.members import Close, Closing, Deliver, Gap, Member, Message, Push
from raceway.registry.policy import Policy

logger = logging.getLogger("raceway.registry")

SLICE_MEMBERS: Final = 500
"""Members reached before pings, HTTP and other groups get their turn."""

WAITING_FANOUTS: Final = 1000
"""Publishes that may queue behind a slow fan-out of their group; a publisher of more does the work itself."""


class Members:
    """One group's members in this process, each with how often it joined, and its fan-outs in order."""

    __slots__ = ("fanouts", "is_scheduled", "members")

    def __init__(self) -> None:
        self.members: dict[Member, int] = {}
        self.fanouts: deque[FanOut] = deque()
        self.is_scheduled = False


class Registry:
    """The channels and groups of one event loop; joining and leaving cost the same in a group of any size.

    No I/O, no clock: ``call_soon(function, *args)`` is how a long fan-out asks for its next turn. ``appeared(group)``
    and ``vanished(group)`` are called when a group gets its first member and when it has lost its last. All methods
    belong to one thread, but for those that only look.
    """

    def __init__(
        self,
        call_soon: Callable[..., object],
        slice_members: int = SLICE_MEMBERS,
        appeared: Callable[[str], object] | None = None,
        vanished: Callable[[str], object] | None = None,
    ) -> None:
        self._call_soon = call_soon
        self._slice_members = slice_members
        self._appeared = appeared
        self._vanished = vanished
        self._channels: dict[str, Member] = {}
        self._groups: dict[str, Members] = {}
        self.full_count = 0
        """Events that found their listener full since the beginning."""

    def __contains__(self, channel: object) -> bool:
        return channel in self._channels

    def __len__(self) -> int:
        """Channels that are open."""
        return len(self._channels)

    # Channels

    def open(self, channel: str, deliver: Deliver, push: Push, close: Close, gap: Gap | None = None) -> None:
        """Begin to hand this channel's messages over. Raises ``ValueError`` if it is open already."""
        if channel in self._channels:
            raise ValueError(f"The channel {channel!r} is open already.")
        self._channels[channel] = Member(channel, deliver, push, close, gap)

    def close(self, channel: str) -> None:
        """Forget a channel and its membership of every group; closing a closed one does nothing."""
        self.leave_all(channel)
        self._channels.pop(channel, None)

    def send(self, channel: str, message: Message, policy: Policy = "close", key: Hashable = None) -> bool:
        """Hand ``message`` to one channel; ``False`` if it is full. A channel that is not open loses it.

        ``policy`` and ``key`` are for a client message and a slow client.
        """
        member = self._channels.get(channel)
        if member is None:
            return True
        if isinstance(message, PreparedMessage):
            member.push(message, policy, key)
        elif isinstance(message, Closing):
            member.close(message)
        elif not member.deliver(message):
            self.full_count += 1
            return False
        return True

    # Groups

    def join(self, name: str, channel: str) -> None:
        """Make an open channel a member. A second join wants a second ``leave``, so that two parts of one
        consumer can use the same group."""
        member = self._channels.get(channel)
        if member is None:
            return
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Members()
            if self._appeared is not None:
                self._appeared(name)
        group.members[member] = group.members.get(member, 0) + 1
        member.groups.add(name)

    def leave(self, name: str, channel: str) -> None:
        """Take back one ``join``; nothing happens if there was none."""
        member = self._channels.get(channel)
        if member is None or name not in member.groups:
            return
        members = self._groups[name].members
        if members[member] > 1:
            members[member] -= 1
        else:
            member.groups.discard(name)
            self._remove(name, member)

    def leave_all(self, channel: str) -> None:
        """Take back every ``join`` of a channel."""
        member = self._channels.get(channel)
        if member is not None:
            for name in member.groups:
                self._remove(name, member)
            member.groups.clear()

    def channels(self, name: str) -> list[str]:
        """The channels in a group, in the order in which they joined. Any thread may ask."""
        group = self._groups.get(name)
        return [] if group is None else [member.channel for member in list(group.members)]

    def count(self, name: str) -> int:
        """How many channels are in a group. Any thread may ask."""
        group = self._groups.get(name)
        return 0 if group is None else len(group.members)

    def groups(self) -> list[str]:
        """The groups that have members."""
        return list(self._groups)

    def clear(self) -> None:
        """Empty every group; the channels stay open."""
        for channel in self._channels:
            self.leave_all(channel)

    def _remove(self, name: str, member: Member) -> None:
        members = self._groups[name].members
        del members[member]
        if not members:
            del self._groups[name]
            if self._vanished is not None:
                self._vanished(name)

    # Gaps

    def gap(self, reason: str, prefix: str = "") -> int:
        """Tell every member of a group whose name begins with ``prefix`` that messages may have been missed; return how
        many there are."""
        members = [
            member
            for member in self._channels.values()
            if any(name.startswith(prefix) for name in member.groups)
        ]
        self._tell_gap(members, reason)
        return len(members)

    def _tell_gap(self, members: list[Member], reason: str) -> None:
        for member in members[: self._slice_members]:
            if member.gap is not None and self._channels.get(member.channel) is member:
                try:
                    member.gap(reason)
                except Exception:
                    logger.exception("%s could not be told of a gap.", member.channel)
        if rest := members[self._slice_members :]:
            self._call_soon(self._tell_gap, rest, reason)

    # Fan-out

    def publish(
        self, name: str, message: Message, exclude: str | None = None, policy: Policy = "close"
    ) -> None:
        """Hand ``message`` to every member but the channel ``exclude``.

        Members see the publishes to one group in order: one that comes while another is under way waits.
        ``policy`` says what a slow client's queue does with a client message.
        """
        group = self._groups.get(name)
        if group is None:
            return
        fanouts = group.fanouts
        fanouts.append(FanOut(name, message, exclude, policy))
        if len(fanouts) == 1:
            self._work(group, self._slice_members)
        elif len(fanouts) > WAITING_FANOUTS:
            self._work(group, len(group.members))

    def _turn(self, group: Members) -> None:
        group.is_scheduled = False
        self._work(group, self._slice_members)

    def _work(self, group: Members, limit: int) -> None:
        """Reach ``limit`` recipients of the waiting fan-outs, or all; ask for another turn if some remain."""
        fanouts, members = group.fanouts, group.members
        while fanouts and limit > 0:
            fanout = fanouts[0]
            if fanout.done == NOT_BEGUN:
                fanout.begin(members)
            limit -= fanout.advance(members, limit)
            if not fanout.is_finished:
                break
            if fanouts and fanouts[0] is fanout:  # a member may have published, and worked, in between
                fanouts.popleft()
                self.full_count += fanout.full_count
        if fanouts and not group.is_scheduled:
            group.is_scheduled = True
            self._call_soon(self._turn, group)
