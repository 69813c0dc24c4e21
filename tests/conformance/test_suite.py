"""The suite itself: a simple layer passes it, and each fault is found by the test that is for it."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any

import pytest

from raceway import clock
from raceway.layers.front import running_loop
from raceway.layers.memory import MemoryLayer
from raceway.testing.conformance import FrontConformance, LayerConformance
from tests.conformance import broken, plain
from tests.project import database  # noqa: F401  for transactions

NOT_CLAIMED = {
    "test_receiving_by_prefix",
    "test_sync_code_sends_to_a_receiver_in_a_loop",
    "test_sync_code_sends_to_a_group",
    "test_a_receiver_in_another_loop",
    "test_a_loop_that_ended_leaves_the_layer_as_it_was",
    *(name for name in dir(LayerConformance) if name.endswith("_from_a_thread")),
}


class Clocked:
    quiet_s = 0

    async def pass_time(self, seconds: float) -> None:
        clock.move(seconds)
        self.addCleanup(clock.move, -seconds)  # type: ignore[attr-defined]


class PlainConformance(Clocked, LayerConformance):
    receives_by_prefix = False
    crosses_loops = False


def outcome(
    layer: type,
    suite: type[LayerConformance] = PlainConformance,
    only: str | None = None,
    **attributes: Any,
) -> unittest.TestResult:
    """What unittest's own machinery says of the suite with ``layer``."""

    class Test(suite, unittest.IsolatedAsyncioTestCase):  # type: ignore[misc, valid-type]
        arrival_s = 0.1

        def make_layer(self, **options: Any) -> Any:
            self.made = layer(**options)
            return self.made

        def make_neighbour(self, **options: Any) -> Any:
            network = getattr(self.made, "network", None)
            return None if network is None else layer(network=network, **options)

        def make_stranger(self, **options: Any) -> Any:
            return layer(**options)

        async def lose_connection(self, layer: Any) -> None:
            self.need(hasattr(layer, "lose_connection"), "a connection that can be lost")
            layer.lose_connection()

    for name, value in attributes.items():
        setattr(Test, name, value)
    result = unittest.TestResult()
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(Test) if only is None else Test(only)
    tests.run(result)
    return result


def names(of: list[Any]) -> set[str]:
    cases = [getattr(case, "test_case", case) for case, _ in of]  # a subtest belongs to its test
    return {case.id().rpartition(".")[2] for case in cases}


def failures(result: unittest.TestResult) -> set[str]:
    return names(result.failures) | names(result.errors)


def test_a_layer_of_the_specification_alone_passes() -> None:
    result = outcome(plain.PlainLayer)
    assert failures(result) == set()
    assert names(result.skipped) == NOT_CLAIMED


@pytest.mark.parametrize(
    ("layer", "found_by"),
    [
        (plain.LastInFirstOut, "test_messages_come_in_the_order_in_which_they_were_sent"),
        (plain.LastInFirstOut, "test_group_messages_keep_their_order"),
        (plain.DeliversTwice, "test_each_message_is_received_once"),
        (plain.DeliversTwice, "test_a_group_message_reaches_each_member_once"),
        (plain.ReceiversShareMessages, "test_several_receivers_share_the_messages"),
        (plain.OneQueueForAll, "test_channels_do_not_mix"),
        (plain.SharesMessages, "test_what_is_changed_after_sending_was_sent_as_it_was"),
        (plain.SharesMessages, "test_each_member_has_its_own_copy"),
        (plain.SharesInside, "test_what_is_changed_after_sending_was_sent_as_it_was"),
        (plain.IgnoresCapacity, "test_a_full_channel_refuses"),
        (plain.IgnoresPatterns, "test_capacity_by_pattern"),
        (plain.NeverExpires, "test_messages_expire"),
        (plain.KeepsMembersForEver, "test_a_membership_ends_some_time_after_the_last_add"),
        (plain.ForgetsTheRenewal, "test_a_membership_ends_some_time_after_the_last_add"),
        (plain.ChecksNoNames, "test_impossible_names_of_channels_are_a_type_error"),
        (plain.ChecksNoNames, "test_impossible_names_of_groups_are_a_type_error"),
        (
            plain.CancelledReceiversTakeTheirMessage,
            "test_a_receiver_that_is_cancelled_as_a_message_comes_loses_none",
        ),
        (plain.WakesOneReceiver, "test_a_receiver_that_is_cancelled_leaves_its_message_to_another"),
        (plain.GroupsRaiseFull, "test_a_group_passes_over_a_full_member"),
        (plain.DiscardsNobody, "test_who_was_discarded_hears_nothing"),
        (plain.FlushKeepsGroups, "test_flush_leaves_nothing"),
        (plain.NewChannelsAreOne, "test_new_channels_differ_and_work"),
        (plain.LargeMessagesAreCut, "test_a_message_may_have_a_mebibyte"),
        (plain.WrongTypes, "test_all_types_of_the_specification_arrive"),
        (plain.LastInFirstOut, "test_the_messages_of_each_sender_keep_their_order"),
        (plain.LastPatternWins, "test_capacity_by_pattern"),
        (plain.TwoShards, "test_no_message_to_many_new_channels_is_lost"),
        (plain.ExpiredMessagesEndMemberships, "test_a_message_that_expires_ends_no_membership"),
        (plain.CancelledReceiversAreNoMembers, "test_a_receiver_that_is_cancelled_stays_a_member"),
        (plain.MeetsNobody, "test_machines_that_share_a_layer_reach_each_other"),
        (plain.MeetsEverybody, "test_machines_with_layers_of_their_own_do_not"),
        (plain.EachMachineGetsItsOwn, "test_receivers_on_several_machines_share_the_messages"),
        (plain.LastInFirstOut, "test_order_holds_between_machines"),
        (plain.CountsForItself, "test_machines_fill_one_channel_together"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_fault_is_found(layer: type, found_by: str) -> None:
    assert found_by in failures(outcome(layer))


def test_a_layer_that_lives_in_one_loop_is_found() -> None:
    found = failures(outcome(plain.OneForEachLoop, crosses_loops=True))
    assert "test_a_receiver_in_another_loop" in found


def test_a_layer_without_groups_and_flush_is_not_asked_for_them() -> None:
    class Bare(plain.PlainLayer):
        extensions = []
        group_add = group_discard = group_send = flush = None  # type: ignore[assignment]

    result = outcome(Bare)
    assert failures(result) == set()
    skipped = names(result.skipped)
    assert {"test_flush_leaves_nothing", "test_group_messages_keep_their_order"} <= skipped


def test_a_layer_that_stays_in_one_process_is_not_asked_for_others() -> None:
    alone = {
        "make_neighbour": LayerConformance.make_neighbour,
        "make_stranger": LayerConformance.make_stranger,
    }
    result = outcome(plain.PlainLayer, **alone)
    assert failures(result) == set()
    assert {name for name in names(result.skipped) if "machine" in name} == {
        name for name in dir(LayerConformance) if name.startswith("test_") and "machine" in name
    }


def test_what_a_layer_does_not_claim_is_not_asked_for() -> None:
    attributes = {"refuses_at_capacity": False, "expires_messages": False}
    assert failures(outcome(plain.IgnoresCapacity, **attributes)) == set()
    assert failures(outcome(plain.NeverExpires, **attributes)) == set()


def test_make_layer_is_asked_for() -> None:
    class Test(LayerConformance, unittest.IsolatedAsyncioTestCase):
        pass

    result = unittest.TestResult()
    Test("test_channels_do_not_mix").run(result)
    assert "needs make_layer(self, **options)" in result.errors[0][1]


# What a front gives beyond the specification


class ClockedFront(Clocked, FrontConformance):
    pass


class SpoilsPushes(MemoryLayer):
    def open(self, channel: str, deliver: Any, push: Any = None, close: Any = None, gap: Any = None) -> None:
        super().open(channel, deliver, None, None, gap)


class TellsNoGap(MemoryLayer):
    def open(self, channel: str, deliver: Any, push: Any = None, close: Any = None, gap: Any = None) -> None:
        super().open(channel, deliver, push, close)


class ForgetsWhoIsLeftOut(MemoryLayer):
    def publish_here(self, group: str, message: Any, exclude: Any, policy: Any) -> None:
        super().publish_here(group, message, None, policy)


class CountsWrong(MemoryLayer):
    def count_from_thread(self, group: str) -> int:
        return super().count_from_thread(group) + 1


class MakesLoops(MemoryLayer):
    def publish_from_thread(self, *args: Any, **options: Any) -> None:
        if running_loop() is None:
            asyncio.new_event_loop().close()
        super().publish_from_thread(*args, **options)


class SharesCapacity(MemoryLayer):
    def _put(self, channel: str, encoded: bytes) -> bool:
        return super()._put(channel.partition("!")[0], encoded)


class ClosesNothing(MemoryLayer):
    def close(self, channel: str) -> None:
        pass


class KeepsNoStatistics(MemoryLayer):
    def send_from_thread(self, channel: str, message: Any) -> None:
        self._send(channel, message)


class KeepsGhosts(MemoryLayer):
    def close(self, channel: str) -> None:
        part = self._part_of(channel)
        if part is not None:
            part.registry.close(channel)


class TellsNoDiffs(MemoryLayer):
    def publish_here(self, group: str, message: Any, exclude: Any, policy: Any) -> None:
        if not group.startswith("raceway.presence."):
            super().publish_here(group, message, exclude, policy)


class HasNoLimit(MemoryLayer):
    def require_size(self, message: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("layer", "found_by"),
    [
        (SpoilsPushes, "test_client_messages_are_pushed"),
        (TellsNoGap, "test_members_are_told_of_a_gap_once"),
        (ForgetsWhoIsLeftOut, "test_one_member_can_be_left_out"),
        (CountsWrong, "test_members_and_their_count"),
        (MakesLoops, "test_threads_send_in_order_and_make_no_loop"),
        (SharesCapacity, "test_each_connection_has_its_capacity_for_itself"),
        (ClosesNothing, "test_a_closed_channel_hears_nothing"),
        (KeepsNoStatistics, "test_statistics"),
        (KeepsGhosts, "test_people_are_there_as_long_as_they_have_a_connection"),
        (TellsNoDiffs, "test_members_of_a_presence_are_told_who_comes_and_goes"),
        (HasNoLimit, "test_a_message_may_be_too_large"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_fault_of_a_front_is_found(layer: type, found_by: str) -> None:
    assert found_by in failures(outcome(layer, ClockedFront))


@pytest.mark.parametrize(
    ("layer", "found_by"),
    broken.FOUND_BY,
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_each_fault_is_found_by_its_test(layer: type, found_by: str) -> None:
    assert failures(outcome(layer, ClockedFront, found_by)) == {found_by}


@pytest.mark.parametrize("test", sorted({found_by for _, found_by in broken.FOUND_BY}))
def test_a_whole_layer_passes_it(test: str) -> None:
    """So that a broken one fails for its fault."""
    result = outcome(broken.Joined, ClockedFront, test)
    assert (failures(result), result.skipped) == (set(), [])


def test_a_front_without_members_and_statistics_is_not_asked_for_them() -> None:
    class Small(MemoryLayer):
        extensions = ["groups", "flush"]

    result, whole = outcome(Small, ClockedFront), outcome(MemoryLayer, ClockedFront)
    assert failures(result) == set()
    assert names(result.skipped) - names(whole.skipped) == {
        "test_members_and_their_count",
        "test_members_of_a_presence_are_told_who_comes_and_goes",
        "test_people_are_there_as_long_as_they_have_a_connection",
        "test_statistics",
        "test_flush_forgets_what_waits_for_its_time",
        *(name for name in dir(FrontConformance) if name.startswith("test_") and "delay" in name),
    } - names(whole.skipped)
