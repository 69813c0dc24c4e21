"""What the broker of the ``local`` layer decides: frames of members and the time go in, frames to members come out."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeAlias, cast

from raceway.layers.local.wire import (
    LENGTH_BYTES,
    VERSION,
    AddNamed,
    Answer,
    Asked,
    Beat,
    BrokenFrame,
    Cancel,
    CancelLater,
    Changed,
    Count,
    Deliver,
    DiscardNamed,
    Done,
    Enter,
    Exit,
    Figures,
    Flush,
    FromBroker,
    GiveBack,
    Hello,
    Join,
    Listen,
    Members,
    Own,
    Publish,
    Refused,
    Reply,
    Roll,
    RollCount,
    Send,
    SendLater,
    Subscribe,
    Take,
    Taken,
    Unlisten,
    Unsubscribe,
    Welcome,
    decode_from_member,
    encode,
)
from raceway.layers.queues import DELAYED, NO_CAPACITY, Delayed, NamedMembers, Queues
from raceway.layers.roster import Change, Roster, presence_group
from raceway.layers.roster import Effect as RosterEffect
from raceway.layers.spec import encode_event, non_local_name, pack, process_of

ASK_S: Final = 1.0
"""How long the processes that are asked something have for their answers."""

LOOKS: Final = 6
"""How often in a lease the broker looks for members that have gone silent."""

SETTLE_S: Final = 1.0
"""How long a new broker that follows another lets members come back, before it says who is there, and that a process is
not."""

UNSETTLED: Final = 10_000
UNSETTLED_BYTES: Final = 16 * 1024 * 1024
"""Messages that wait meanwhile for a process that owns their channels, and joins; of more those are dropped."""


class Drop(NamedTuple):
    """End the connection of a member; nothing of it is left here."""

    why: str


class Lost(NamedTuple):
    """A member has ended with so many messages of a channel in its hands."""

    channel: str
    number: int


Effect: TypeAlias = tuple[int, bytes | Drop | Lost]
"""What to write to a member, or that it has to go, or what went with it."""


class Member:
    """One connection, and all that has to be taken back when it ends."""

    __slots__ = (
        "asked",
        "asks",
        "groups",
        "has_resumed",
        "heard_at",
        "holds",
        "id",
        "listens",
        "must_beat",
        "process",
        "takes",
        "wants_hold",
    )

    def __init__(self, member_id: int, now: float) -> None:
        self.id = member_id
        self.process = ""
        """Empty until it has said ``Hello``."""
        self.heard_at = now
        self.must_beat = True
        """Its silence is its end: it has not greeted yet, or holds something that others are kept from by it."""
        self.has_resumed = False
        """It had another broker before this one."""
        self.groups: set[str] = set()
        self.listens: set[str] = set()
        self.takes: dict[int, str] = {}
        self.wants_hold: set[int] = set()
        """Those of its takes whose message will be in its hands."""
        self.holds: dict[int, tuple[str, float]] = {}
        """By the number of its take, the channel of a message in its hands, and for how long its count is kept."""
        self.asks: set[int] = set()
        """The numbers of what it has asked others by way of the broker."""
        self.asked: set[int] = set()
        """The numbers of what it has been asked."""


class Ask:
    """A question of one member to others, and what they have answered."""

    __slots__ = ("asker", "deadline", "n", "value", "waiting")

    def __init__(
        self, asker: Member, n: int, value: Any, waiting: dict[int, Member], deadline: float
    ) -> None:
        self.asker = asker
        self.n = n
        self.value = value
        self.waiting = waiting
        self.deadline = deadline


class Broker:
    """Pass on what members say to each other, and keep what waits for nobody in particular.

    Whoever holds the connections tells of them by ``connect``, ``receive`` and ``disconnect``, calls ``wake`` at
    ``deadline``, and does what they return, in its order. A member is forgotten with all that it held when its
    connection ends, when it says nothing for ``lease_s``, or says what no member says.
    """

    def __init__(self, name: str, lease_s: float, now: float) -> None:
        self.name = name
        self.lease_s = lease_s
        self._members: dict[int, Member] = {}
        self._owners: dict[str, dict[int, Member]] = {}
        """By process, those that said ``Own``: the first is told."""
        self._subscribers: dict[str, dict[int, Member]] = {}
        self._listeners: dict[str, OrderedDict[int, Member]] = {}
        """By channel; the first is the next."""
        self._takers: dict[str, OrderedDict[tuple[int, int], Member]] = {}
        """By channel or ``prefix!``, and in it by member and number; the first is the next."""
        self._queues = Queues(now)
        self._delayed: Delayed[bytes] = Delayed()
        self._named = NamedMembers()
        self._asks: OrderedDict[int, Ask] = OrderedDict()
        """The first to end comes first."""
        self._last_ask = 0
        self._roster = Roster()
        """Who is there; a connection's owner is the number of its member."""
        self._settled_at = now + SETTLE_S
        self._has_resumed = False
        self._unsettled: list[tuple[Member, Roll | RollCount | Send | Join]] = []
        """What waits for members that have yet to find this broker."""
        self._unsettled_bytes = 0
        self._look_at = now
        self._out: list[Effect] = []

    def __len__(self) -> int:
        """Members that are connected."""
        return len(self._members)

    def waiting_count(self, now: float) -> int:
        """Messages that wait in channels, or for their time, and are lost if the broker ends."""
        return self._queues.figures(None, now)["messages_pending"] + len(self._delayed)

    # Connections

    def connect(self, member_id: int, now: float) -> None:
        """A connection has begun, of a member with a number that no other has had."""
        if not self._members:
            self._look_at = now + self.lease_s / LOOKS
        self._members[member_id] = Member(member_id, now)

    def receive(self, member_id: int, body: bytes, now: float) -> list[Effect]:
        """A member has said something: the body of one frame."""
        member = self._members.get(member_id)
        if member is None:
            return []  # it was dropped, and this was on its way
        member.heard_at = now
        try:
            frame = decode_from_member(body)
            if type(frame) is Publish and member.process:
                self._publish(member, frame, body, now)  # the one that needs its bytes
            elif member.process and type(frame) is not Hello:
                _ANSWERS[type(frame)](self, member, frame, now)
            else:
                self._greet(member, frame)
        except BrokenFrame as error:
            self._drop(member, str(error), now)
        return self._take_out()

    def disconnect(self, member_id: int, now: float) -> list[Effect]:
        """A connection has ended."""
        member = self._members.get(member_id)
        if member is not None:
            self._forget(member, now)
        return self._take_out()

    @property
    def deadline(self) -> float | None:
        """When to call ``wake``; never, if it is ``None``."""
        deadline = self._roster.deadline
        if self._members and (deadline is None or self._look_at < deadline):
            deadline = self._look_at
        if self._asks and deadline is not None:
            deadline = min(deadline, next(iter(self._asks.values())).deadline)
        if self._unsettled and deadline is not None:
            deadline = min(deadline, self._settled_at)
        due_at = self._delayed.deadline
        if due_at is not None:
            due_at = max(due_at, self._admits_at)
            deadline = due_at if deadline is None else min(deadline, due_at)
        return deadline

    def wake(self, now: float) -> list[Effect]:
        """The deadline may have passed."""
        while self._asks and next(iter(self._asks.values())).deadline <= now:
            self._finish(next(iter(self._asks)))
        if now >= self._settled_at:
            self._settle(now)
        self._send_due(now)
        if self._members and now >= self._look_at:
            self._look(now)
        self._tell(self._roster.wake(now))
        return self._take_out()

    def _look(self, now: float) -> None:
        """Drop who is silent, and say when to look again."""
        pause_s = self.lease_s / LOOKS
        if now - self._look_at >= pause_s:
            # The broker itself was held up: it has not read what they said meanwhile, so silence proves nothing.
            for member in self._members.values():
                member.heard_at = now
        self._look_at = now + pause_s
        for member in list(self._members.values()):
            if member.must_beat:
                ends_at = member.heard_at + self.lease_s
                if ends_at <= now:
                    self._drop(member, f"it said nothing for {self.lease_s:g} s", member.heard_at)
                else:
                    self._look_at = min(self._look_at, ends_at)

    def _greet(self, member: Member, frame: object) -> None:
        if not isinstance(frame, Hello) or member.process:
            raise BrokenFrame("it did not say Hello first, and once")
        if frame.version != VERSION or not frame.process:
            raise BrokenFrame(
                f"it speaks version {frame.version} of the local layer's protocol, and this broker {VERSION}; let all "
                "processes of the project run the same version of Raceway"
            )
        member.process = frame.process
        member.must_beat = False
        member.has_resumed = frame.resumed
        self._has_resumed |= frame.resumed
        self._say(member, Welcome(self.name, self.lease_s))

    def _drop(self, member: Member, why: str, now: float) -> None:
        """``now`` is when it was last known to be there."""
        self._out.append((member.id, Drop(why)))
        self._forget(member, now)

    def _forget(self, member: Member, now: float) -> None:
        del self._members[member.id]
        for group in member.groups:
            _discard(self._subscribers, group, member.id)
        for channel in member.listens:
            _discard(self._listeners, channel, member.id)
        for n, channel in member.takes.items():
            _discard(self._takers, channel, (member.id, n))
        self._lose(member, now)
        _discard(self._owners, member.process, member.id)
        for number in member.asks:
            for other in self._asks.pop(number).waiting.values():
                other.asked.discard(number)
        for number in member.asked:
            ask = self._asks[number]
            del ask.waiting[member.id]  # it is not missing: what it was asked about has gone with it
            if not ask.waiting:
                self._finish(number)
        self._tell(self._roster.forget_owner(member.id, now))
        self._tell(self._roster.wake(now))

    # Groups

    def _own(self, member: Member, frame: Own, now: float) -> None:
        member.must_beat = True
        self._owners.setdefault(member.process, {})[member.id] = member
        self._settle(now)

    def _subscribe(self, member: Member, frame: Subscribe, now: float) -> None:
        member.must_beat = True
        for group in frame.groups:
            member.groups.add(group)
            self._subscribers.setdefault(group, {})[member.id] = member
        self._answer(member, frame.n, None)

    def _unsubscribe(self, member: Member, frame: Unsubscribe, now: float) -> None:
        for group in frame.groups:
            member.groups.discard(group)
            _discard(self._subscribers, group, member.id)

    def _publish(self, member: Member, frame: Publish, body: bytes, now: float) -> None:
        subscribers = self._subscribers.get(frame.group)
        if subscribers is not None:
            others = [other.id for other in subscribers.values() if other.process != member.process]
            if others:
                whole = len(body).to_bytes(LENGTH_BYTES, "big") + body
                self._out.extend((other, whole) for other in others)
        if self._named:
            self._hand_named(frame, now)
        self._answer(member, frame.n, None)

    def _hand_named(self, frame: Publish, now: float) -> None:
        for channel, capacity in self._named.channels(frame.group, now).items():
            if channel != frame.exclude:
                # Each gets what it has room for.
                self._hand(channel, frame.message, frame.expiry_s, capacity, now)

    def _add_named(self, member: Member, frame: AddNamed, now: float) -> None:
        self._named.add(frame.group, frame.channel, frame.until, frame.capacity, now)
        self._answer(member, frame.n, None)

    def _discard_named(self, member: Member, frame: DiscardNamed, now: float) -> None:
        self._named.discard(frame.group, frame.channel)
        self._answer(member, frame.n, None)

    # Channels

    def _send(self, member: Member, frame: Send, now: float) -> None:
        if self._waits_for_owner(member, frame, now):
            return
        if self._hand(frame.channel, frame.message, frame.expiry_s, frame.capacity, now):
            self._answer(member, frame.n, None)
        elif frame.n:
            self._say(member, Refused(frame.n, "full"))

    def _hand(self, channel: str, message: bytes, expiry_s: float, capacity: int, now: float) -> bool:
        """Give a message to its owner, else to whoever waits for it, else keep it; ``False`` if there is no room."""
        process = process_of(channel)
        if process is not None:
            owner = self._owner(process)
            if owner is not None:  # else the process has ended, and the channel with it
                self._say(owner, Deliver(channel, message))
            return True
        taker = self._next_taker(channel)
        if taker is None and channel in self._listeners:
            self._deliver(channel, message)
            return True
        if not self._queues.put(channel, message, now, now + expiry_s, capacity):
            return False
        if taker is not None:
            self._give(channel, *taker, now)
        return True

    def _take(self, member: Member, frame: Take, now: float) -> None:
        member.must_beat = True
        if frame.n in member.takes:
            raise BrokenFrame(f"it takes twice with the number {frame.n}")
        if frame.hold:
            member.wants_hold.add(frame.n)
        if self._delayed:  # the timer may be late
            self._send_due(now)
        if not self._give(frame.channel, member, frame.n, now):
            member.takes[frame.n] = frame.channel
            self._takers.setdefault(frame.channel, OrderedDict())[member.id, frame.n] = member

    def _cancel(self, member: Member, frame: Cancel, now: float) -> None:
        channel = member.takes.pop(frame.take, None)
        if channel is not None:
            member.wants_hold.discard(frame.take)
            _discard(self._takers, channel, (member.id, frame.take))

    def _done(self, member: Member, frame: Done, now: float) -> None:
        member.holds.pop(frame.take, None)  # else another broker has given it

    def _lose(self, member: Member, now: float) -> None:
        """What was in the hands of a member has gone with it."""
        for channel, kept_s in member.holds.values():
            self._queues.lose(channel, now, kept_s)
        counts = Counter(channel for channel, _ in member.holds.values())
        self._out.extend((member.id, Lost(channel, number)) for channel, number in counts.items())

    def _send_later(self, member: Member, frame: SendLater, now: float) -> None:
        due_at = now + frame.delay_s
        if self._delayed.add(frame.channel, frame.token, frame.message, due_at, frame.expiry_s):
            self._answer(member, frame.n, None)
        else:
            self._say(member, Refused(frame.n, f"{DELAYED} delayed messages wait already"))

    def _cancel_later(self, member: Member, frame: CancelLater, now: float) -> None:
        self._send_due(now)
        self._answer(member, frame.n, self._delayed.cancel(frame.channel, frame.token))

    @property
    def _admits_at(self) -> float:
        """When what is due may be sent: not before those that had another broker have found this one."""
        return self._settled_at if self._has_resumed else 0.0

    def _send_due(self, now: float) -> None:
        if now >= self._admits_at:
            for later in self._delayed.take_due(now):
                self._hand(later.channel, later.payload, later.expires_at - now, NO_CAPACITY, now)

    def _give_back(self, member: Member, frame: GiveBack, now: float) -> None:
        member.holds.pop(frame.take, None)
        channel, message, expires_at = frame.channel, frame.message, frame.expires_at
        if expires_at <= now:
            return
        taker = self._next_taker(channel)
        if taker is None and channel in self._listeners:
            self._deliver(channel, message)
            return
        self._queues.put_back(channel, message, now=now, expires_at=expires_at)
        if taker is not None:
            self._give(channel, *taker, now)

    def _listen(self, member: Member, frame: Listen, now: float) -> None:
        member.must_beat = True
        member.listens.add(frame.channel)
        self._listeners.setdefault(frame.channel, OrderedDict())[member.id] = member
        for message in self._queues.take_all(frame.channel, now):
            self._deliver(frame.channel, message)
        self._answer(member, frame.n, None)

    def _unlisten(self, member: Member, frame: Unlisten, now: float) -> None:
        member.listens.discard(frame.channel)
        _discard(self._listeners, frame.channel, member.id)

    def _owner(self, process: str) -> Member | None:
        """The one member of a process that hears of the channels it owns."""
        owners = self._owners.get(process)
        return None if owners is None else next(iter(owners.values()))

    def _waits_for_owner(self, member: Member, frame: Send | Join, now: float) -> bool:
        """The process that owns the channel had another broker, maybe, and has not found this one yet."""
        if now >= self._settled_at or not self._has_resumed:
            return False
        process = process_of(frame.channel)
        if process is None or process in self._owners:
            return False
        size = len(frame.message) if isinstance(frame, Send) else 0
        if len(self._unsettled) >= UNSETTLED or self._unsettled_bytes + size > UNSETTLED_BYTES:
            return False
        self._unsettled.append((member, frame))
        self._unsettled_bytes += size
        return True

    def _settle(self, now: float) -> None:
        """Do what has waited, but for what has to wait longer."""
        unsettled, self._unsettled, self._unsettled_bytes = self._unsettled, [], 0
        for member, frame in unsettled:
            if isinstance(frame, Roll | RollCount):
                self._roll(member, frame, now)
            elif isinstance(frame, Send):
                self._send(member, frame, now)
            else:
                self._join(member, frame, now)

    def _next_taker(self, channel: str) -> tuple[Member, int] | None:
        """Who has waited longest for a message of ``channel``: for this very channel, else for all of its prefix."""
        takers = self._takers
        if not takers:
            return None
        for listened in (channel, non_local_name(channel)) if "!" in channel else (channel,):
            if listened in takers:
                (_, n), member = next(iter(takers[listened].items()))
                del member.takes[n]
                _discard(takers, listened, (member.id, n))
                return member, n
        return None

    def _give(self, listened: str, member: Member, n: int, now: float) -> bool:
        """Let a member have the next message; ``False`` if there is none."""
        waiting = self._queues.pop(listened, now)
        if waiting is None:
            return False
        if n in member.wants_hold:
            member.wants_hold.discard(n)
            member.holds[n] = waiting.channel, waiting.expires_at - waiting.since
        self._say(member, Taken(n, waiting.channel, waiting.encoded, waiting.expires_at))
        return True

    def _deliver(self, channel: str, message: bytes) -> None:
        """To those who listen, in turn."""
        listeners = self._listeners[channel]
        member_id, member = next(iter(listeners.items()))
        listeners.move_to_end(member_id)
        self._say(member, Deliver(channel, message))

    # Questions that other members answer

    def _join(self, member: Member, frame: Join, now: float) -> None:
        if member.id not in self._members or self._waits_for_owner(member, frame, now):
            return
        process = process_of(frame.channel)
        owner = None if process is None else self._owner(process)
        what = "leave" if frame.leaves else "join"
        self._ask(
            member, frame.n, what, frame.group, frame.channel, () if owner is None else (owner,), None, now
        )

    def _count(self, member: Member, frame: Count, now: float) -> None:
        count = len(self._named.channels(frame.group, now))
        subscribers = self._subscribers.get(frame.group, {}).values()
        self._ask(member, frame.n, "count", frame.group, "", subscribers, count, now)

    def _list_members(self, member: Member, frame: Members, now: float) -> None:
        channels = list(self._named.channels(frame.group, now))
        subscribers = self._subscribers.get(frame.group, {}).values()
        self._ask(member, frame.n, "members", frame.group, "", subscribers, channels, now)

    def _flush(self, member: Member, frame: Flush, now: float) -> None:
        self._queues.clear()
        self._delayed.clear()
        self._named.clear()
        holding = [
            other
            for other in self._members.values()
            if other.groups or other.id in self._owners.get(other.process, ())
        ]
        self._ask(member, frame.n, "flush", "", "", holding, None, now)

    def _ask(
        self,
        asker: Member,
        n: int,
        what: str,
        group: str,
        channel: str,
        others: Iterable[Member],
        value: Any,
        now: float,
    ) -> None:
        """Ask others for what is added to ``value``; the last to answer, or ``ASK_S``, ends it."""
        self._last_ask = number = self._last_ask + 1
        ask = self._asks[number] = Ask(asker, n, value, {other.id: other for other in others}, now + ASK_S)
        asker.asks.add(number)
        for other in ask.waiting.values():
            other.asked.add(number)
            self._say(other, Asked(number, what, group, channel))
        if not ask.waiting:
            self._finish(number)

    def _reply(self, member: Member, frame: Reply, now: float) -> None:
        if frame.n not in member.asked:
            return  # too late, or the asker has gone
        ask = self._asks[frame.n]
        if ask.value is not None:
            if type(frame.value) is not type(ask.value):
                raise BrokenFrame(f"it answered {frame.value!r:.80}, which is no answer")
            ask.value += frame.value
        member.asked.discard(frame.n)
        del ask.waiting[member.id]
        if not ask.waiting:
            self._finish(frame.n)

    def _finish(self, number: int) -> None:
        ask = self._asks.pop(number)
        ask.asker.asks.discard(number)
        for other in ask.waiting.values():
            other.asked.discard(number)
        self._answer(ask.asker, ask.n, ask.value, len({other.process for other in ask.waiting.values()}))

    # Presence

    def _enter(self, member: Member, frame: Enter, now: float) -> None:
        member.must_beat = True
        # Who was there when the broker before this one ended has not joined just now.
        again = member.has_resumed and now < self._settled_at
        self._tell(
            self._roster.enter(
                frame.presence,
                frame.key,
                frame.channel,
                frame.meta,
                frame.grace_s,
                member.id,
                now,
                again=again,
            )
        )
        self._answer(member, frame.n, None)

    def _exit(self, member: Member, frame: Exit, now: float) -> None:
        self._tell(self._roster.exit(frame.presence, frame.channel, now))
        self._answer(member, frame.n, None)

    def _roll(self, member: Member, frame: Roll | RollCount, now: float) -> None:
        if self._has_resumed and now < self._settled_at:
            self._unsettled.append((member, frame))  # others have yet to say who is there
        elif isinstance(frame, Roll):
            self._answer(member, frame.n, self._roster.roll(frame.presence))
        else:
            self._answer(member, frame.n, self._roster.count(frame.presence))

    def _tell(self, effects: list[RosterEffect]) -> None:
        """Have one member signal that somebody has joined or left, and all that watch know of it."""
        for effect in effects:
            if isinstance(effect, Change):
                teller = self._members.get(cast(int, effect.owner)) or self._any_owner()
                if teller is not None:
                    self._say(teller, Changed(effect.presence, effect.kind, effect.key, effect.metas))
                continue
            group = presence_group(effect.presence)
            if group in self._subscribers:
                message = pack(encode_event(effect.event))
                whole = encode(Publish(0, group, message, None, "close", 0.0))
                self._out.extend((watcher, whole) for watcher in self._subscribers[group])

    def _any_owner(self) -> Member | None:
        """A member that has channels, so no passing command: it speaks for those that have gone."""
        return self._owner(next(iter(self._owners))) if self._owners else None

    # What can be asked of the broker itself

    def _figures(self, member: Member, frame: Figures, now: float) -> None:
        self._answer(member, frame.n, self._queues.figures(frame.channel, now))

    def _beat(self, member: Member, frame: Beat, now: float) -> None:
        """That it was heard is all."""

    # What is said

    def _answer(self, member: Member, n: int, value: Any, missing: int = 0) -> None:
        if not n:
            return
        try:
            self._say(member, Answer(n, value, missing))
        except BrokenFrame:
            self._say(member, Refused(n, "the answer is larger than a frame"))

    def _say(self, member: Member, frame: FromBroker) -> None:
        self._out.append((member.id, encode(frame)))

    def _take_out(self) -> list[Effect]:
        out, self._out = self._out, []
        return out


_ANSWERS: Final[dict[type, Callable[[Broker, Member, Any, float], None]]] = {
    Beat: Broker._beat,
    Own: Broker._own,
    Subscribe: Broker._subscribe,
    Unsubscribe: Broker._unsubscribe,
    AddNamed: Broker._add_named,
    DiscardNamed: Broker._discard_named,
    Send: Broker._send,
    Take: Broker._take,
    Cancel: Broker._cancel,
    GiveBack: Broker._give_back,
    Done: Broker._done,
    SendLater: Broker._send_later,
    CancelLater: Broker._cancel_later,
    Listen: Broker._listen,
    Unlisten: Broker._unlisten,
    Join: Broker._join,
    Count: Broker._count,
    Members: Broker._list_members,
    Flush: Broker._flush,
    Enter: Broker._enter,
    Exit: Broker._exit,
    Roll: Broker._roll,
    RollCount: Broker._roll,
    Figures: Broker._figures,
    Reply: Broker._reply,
}


def _discard(table: dict[str, Any], name: str, key: object) -> None:
    """Take one entry out of a table of tables, which keeps no empty ones."""
    entries = table.get(name)
    if entries is not None and key in entries:
        del entries[key]
        if not entries:
            del table[name]
