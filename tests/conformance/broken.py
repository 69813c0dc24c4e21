"""Fronts that each break one promise, so that the suite shows that it would find it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from raceway import clock
from raceway.database import after_commit
from raceway.errors import ChannelFull
from raceway.layers.front import running_loop
from raceway.layers.memory import MemoryLayer
from raceway.layers.queues import Delayed, Later
from raceway.layers.spec import as_event, decode_event, encode_event
from tests.conformance.hub import Hub, HubCarrier, HubLayer

# Messages


class RefusesNumbersAsKeys(MemoryLayer):
    def prepare(self, message: Any) -> Any:
        if not all(isinstance(key, str) for key in message.get("users", ())):
            raise ValueError("int is not allowed for map key when strict_map_key=True")
        return super().prepare(message)


class MakesKeysText(MemoryLayer):
    def prepare(self, message: Any) -> Any:
        return super().prepare(texted(message))


def texted(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): texted(item) for key, item in value.items()}
    return [texted(item) for item in value] if isinstance(value, list) else value


class DirectMessagesOvertake(MemoryLayer):
    """Each waits for the next one, which goes first."""

    held: tuple[str, Any] | None = None

    def _send(self, channel: str, message: Any) -> None:
        held, self.held = self.held, (channel, message)
        if held is not None:
            super()._send(channel, message)
            super()._send(*held)
            self.held = None


class DropsNothing(MemoryLayer):
    def __init__(self, drop_share: float = 0, **options: Any) -> None:
        super().__init__(**options)


class DropsUncounted(MemoryLayer):
    def _send(self, channel: str, message: Any) -> None:
        if decode_event(as_event(message)).get("n", 0) % 4 != 3:
            super()._send(channel, message)


# Delay


class SendsAtOnce(MemoryLayer):
    def send_later_from_thread(self, channel: str, message: Any, delay_s: float, token: str) -> None:
        self.send_from_thread(channel, message)


class ForgetsWhatIsDelayed(MemoryLayer):
    def send_later_from_thread(self, channel: str, message: Any, delay_s: float, token: str) -> None:
        pass


class WakesNobodyLater(MemoryLayer):
    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        pass


class InTheOrderOfSending(MemoryLayer):
    class Delays(Delayed[Any]):
        def take_due(self, now: float) -> list[Later[Any]]:
            return sorted(super().take_due(now), key=lambda later: later.number)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._delayed = self.Delays()


class ExpiresFromSending(MemoryLayer):
    def _put_due(self, later: Later[Any]) -> bool:
        if later.due_at - self.expiry > 0 and later.due_at + self.expiry - self._clock() < 0.6 * self.expiry:
            return True
        return super()._put_due(later)


class NeverExpiresWhatWasDelayed(MemoryLayer):
    class Delays(Delayed[Any]):
        def add(self, channel: str, token: str, payload: Any, due_at: float, expiry_s: float) -> bool:
            return super().add(channel, token, payload, due_at, 1000)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._delayed = self.Delays()


class DelayedMessagesTakeRoom(MemoryLayer):
    def send_later_from_thread(self, channel: str, message: Any, *args: Any) -> None:
        if len(self._delayed) >= self.capacity:
            raise ChannelFull
        super().send_later_from_thread(channel, message, *args)

    def send_from_thread(self, channel: str, message: Any) -> None:
        if len(self._delayed) >= self.capacity:
            raise ChannelFull
        super().send_from_thread(channel, message)


class RefusesWhatIsDue(MemoryLayer):
    def _put_due(self, later: Later[Any]) -> bool:
        with suppress(ChannelFull):
            return self._put(later.channel, as_event(later.payload))
        return True


class CancelsNothing(MemoryLayer):
    def cancel_from_thread(self, channel: str, token: str) -> bool:
        return True


class CancelsAndDenies(MemoryLayer):
    def cancel_from_thread(self, channel: str, token: str) -> bool:
        super().cancel_from_thread(channel, token)
        return False


class FlushKeepsWhatIsDelayed(MemoryLayer):
    def clear(self) -> None:
        delayed, self._delayed = self._delayed, Delayed()
        super().clear()
        self._delayed = delayed


class HasNoLimitForDelayed(MemoryLayer):
    def require_size(self, message: Any) -> None:
        pass


# Transactions


class KnowsNoTransactions(MemoryLayer):
    def in_transaction(self) -> Any:
        return self


class WaitsAlways(MemoryLayer):
    def publish_from_thread(self, *args: Any) -> None:
        if running_loop() is not None or not after_commit(
            lambda: super(WaitsAlways, self).publish_from_thread(*args)
        ):
            super().publish_from_thread(*args)


class LosesWhatWaits(MemoryLayer):
    def in_transaction(self) -> Any:
        if not after_commit(lambda: None):
            return None

        def lose(*args: Any) -> None:
            pass

        return SimpleNamespace(send_from_thread=lose, publish_from_thread=lose, send_later_from_thread=lose)


# Between processes


class Joined(HubLayer):
    """Layers of one network, over a hub."""

    def __init__(self, network: Hub | None = None, **options: Any) -> None:
        self.network = network or Hub()
        super().__init__(hub=self.network, **options)

    def lose_connection(self) -> None:
        for part in self._parts.values():
            self.cut(part.carrier)  # type: ignore[attr-defined]

    def cut(self, carrier: HubCarrier) -> None:
        carrier.break_down("cut")


class JoinsNobodyElsewhere(Joined):
    def _telling(self, group: str, channel: str, *, leaves: bool) -> Any:
        return super()._telling(group, "conformance.nobody" if "!" in channel else channel, leaves=leaves)


class LeavesNobodyElsewhere(Joined):
    def _telling(self, group: str, channel: str, *, leaves: bool) -> Any:
        return super()._telling(group, "conformance.nobody" if leaves else channel, leaves=leaves)


class ForgetsNamedMembers(Joined):
    class Carrier(HubCarrier):
        def publish(self, group: str, frame: bytes) -> asyncio.Future[list[str]]:
            super().publish(group, frame)
            return self.begin(list)

    def make_carrier(self, loop: asyncio.AbstractEventLoop, ears: Any) -> HubCarrier:
        return self.Carrier(self.hub, loop, ears)


class LeavesNobodyOut(Joined):
    def _published(self, group: str, message: Any, exclude: str | None, policy: Any) -> bytes:
        return super()._published(group, message, None, policy)


class ForgetsThePolicy(Joined):
    def _published(self, group: str, message: Any, exclude: str | None, policy: Any) -> bytes:
        return super()._published(group, message, exclude, "close")


class KeepsTheNewest(Joined):
    """A full channel loses what it has had longest (V32)."""

    def _put(self, channel: str, encoded: bytes) -> bool:
        with suppress(ChannelFull):
            return super()._put(channel, encoded)
        self._queues.pop(channel, self._clock())
        return super()._put(channel, encoded)


class CapacityOfAProcess(Joined):
    """All channels of a process share one capacity (V33)."""

    def _put(self, channel: str, encoded: bytes) -> bool:
        if sum(len(queue.messages) for queue in self._queues._queues.values()) >= self.capacity:
            self._full_count += 1
            return True
        return super()._put(channel, encoded)


class CountsNoLoss(Joined):
    @property
    def full_count(self) -> int:
        return 0


class CountsItsOwn(Joined):
    async def group_count(self, group: str) -> int:
        here = sum(part.registry.count(group) for part in self._live_parts())
        return here + len(await self._carrier_here().named(group))


class FlushesItself(Joined):
    async def flush(self) -> None:
        for part in self._live_parts():
            part.call(part.registry.clear)
        await self._carrier_here().flush()


class TrustsClocks(Joined):
    """What is sent has the sender's time in it, and is too old for others (V34)."""

    def prepare(self, message: Any) -> Any:
        return encode_event({**message, "sent_at": self._clock()})

    async def receive(self, channel: str) -> Any:
        while True:
            message = await super().receive(channel)
            if abs(message.pop("sent_at") - clock.monotonic()) < self.expiry:
                return message


class DelaysInOneProcess(Joined):
    async def cancel(self, channel: str, token: str) -> bool:
        known = vars(self).setdefault("tokens", set())
        return token in known and await super().cancel(channel, token)

    def cancel_from_thread(self, channel: str, token: str) -> bool:
        return False


class TellsOfNoGap(Joined):
    def cut(self, carrier: HubCarrier) -> None:
        carrier.ears.lost("cut")


class TellsOfAGapTwice(Joined):
    def cut(self, carrier: HubCarrier) -> None:
        carrier.break_down("cut")
        carrier.ears.missed("cut")


class TellsOfAGapTooSoon(Joined):
    """The member is told, and one subscription comes a moment later."""

    def cut(self, carrier: HubCarrier) -> None:
        addresses = [address for address in carrier.addresses if address.startswith("g:")]
        for address in addresses:
            carrier.unsubscribe(address)
        carrier.break_down("cut")
        carrier.loop.call_later(0.05, lambda: [carrier.add(address) for address in addresses])


FOUND_BY: list[tuple[type, str]] = [
    (RefusesNumbersAsKeys, "test_keys_may_be_ints"),
    (MakesKeysText, "test_keys_may_be_ints"),
    (MakesKeysText, "test_keys_of_other_types_are_named"),
    (DirectMessagesOvertake, "test_direct_and_group_messages_each_keep_their_order"),
    (DropsNothing, "test_messages_can_be_lost_on_purpose"),
    (DropsUncounted, "test_messages_can_be_lost_on_purpose"),
    (SendsAtOnce, "test_a_delayed_message_comes_when_its_time_has_come"),
    (ForgetsWhatIsDelayed, "test_a_delayed_message_comes_when_its_time_has_come"),
    (WakesNobodyLater, "test_a_delayed_message_comes_to_who_waits_for_it"),
    (InTheOrderOfSending, "test_delayed_messages_come_in_the_order_in_which_they_are_due"),
    (ExpiresFromSending, "test_a_delayed_message_expires_after_it_was_due"),
    (NeverExpiresWhatWasDelayed, "test_a_delayed_message_expires_after_it_was_due"),
    (DelayedMessagesTakeRoom, "test_a_delayed_message_takes_no_room_and_finds_some"),
    (RefusesWhatIsDue, "test_a_delayed_message_takes_no_room_and_finds_some"),
    (CancelsNothing, "test_a_delayed_message_can_be_taken_back"),
    (CancelsAndDenies, "test_a_delayed_message_can_be_taken_back"),
    (HasNoLimitForDelayed, "test_a_delay_is_a_number_of_seconds"),
    (FlushKeepsWhatIsDelayed, "test_flush_forgets_what_waits_for_its_time"),
    (KnowsNoTransactions, "test_messages_wait_for_the_commit"),
    (LosesWhatWaits, "test_messages_wait_for_the_commit"),
    (KnowsNoTransactions, "test_what_is_rolled_back_is_never_sent"),
    (KnowsNoTransactions, "test_a_savepoint_that_is_rolled_back_takes_its_messages_along"),
    (KnowsNoTransactions, "test_delayed_messages_wait_for_the_commit_too"),
    (LosesWhatWaits, "test_delayed_messages_wait_for_the_commit_too"),
    (WaitsAlways, "test_what_is_immediate_waits_for_nothing"),
    (JoinsNobodyElsewhere, "test_who_is_in_another_process_can_be_made_a_member"),
    (LeavesNobodyElsewhere, "test_who_is_in_another_process_can_be_made_a_member"),
    (ForgetsNamedMembers, "test_named_channels_and_connections_of_all_machines_in_one_group"),
    (LeavesNobodyOut, "test_client_messages_reach_other_machines_as_they_are"),
    (ForgetsThePolicy, "test_client_messages_reach_other_machines_as_they_are"),
    (KeepsTheNewest, "test_a_full_mailbox_elsewhere_keeps_what_came_first"),
    (CapacityOfAProcess, "test_a_full_mailbox_elsewhere_keeps_what_came_first"),
    (CountsNoLoss, "test_a_full_mailbox_elsewhere_keeps_what_came_first"),
    (CountsItsOwn, "test_members_of_all_machines"),
    (FlushesItself, "test_flush_is_for_all_machines"),
    (TrustsClocks, "test_clocks_of_machines_need_not_agree"),
    (DelaysInOneProcess, "test_another_machine_gets_or_cancels_what_is_delayed"),
    (TellsOfNoGap, "test_after_a_lost_connection_members_are_told_once_and_hear_what_comes_then"),
    (TellsOfAGapTwice, "test_after_a_lost_connection_members_are_told_once_and_hear_what_comes_then"),
    (TellsOfAGapTooSoon, "test_after_a_lost_connection_members_are_told_once_and_hear_what_comes_then"),
]
"""Each with the test that is for it."""
