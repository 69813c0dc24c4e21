"""Membership and fan-out, with members and a loop that are lists."""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from raceway.prepared import PreparedMessage
from raceway.registry import Closing, Registry
from raceway.registry.groups import WAITING_FANOUTS


class FakeLoop:
    """``call_soon`` that keeps what it is given until ``turn``."""

    def __init__(self) -> None:
        self.calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        self.calls.append((function, args))

    def turn(self) -> None:
        for _ in range(len(self.calls)):
            function, args = self.calls.popleft()
            function(*args)

    def run(self) -> None:
        while self.calls:
            self.turn()


class Ears:
    """Notes what each channel hears."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.heard: list[tuple[str, object]] = []

    def open(self, *channels: str, group: str | None = None) -> None:
        for channel in channels:
            self.registry.open(
                channel,
                lambda encoded, channel=channel: self._hear(channel, encoded),
                lambda message, policy, key, channel=channel: self._hear(channel, (message, policy, key)),
                lambda closing, channel=channel: self._hear(channel, closing),
            )
            if group is not None:
                self.registry.join(group, channel)

    def _hear(self, channel: str, what: object) -> bool:
        self.heard.append((channel, what))
        return True

    @property
    def channels(self) -> list[str]:
        return [channel for channel, _ in self.heard]


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


@pytest.fixture
def registry(loop: FakeLoop) -> Registry:
    return Registry(loop.call_soon, slice_members=3)


@pytest.fixture
def ears(registry: Registry) -> Ears:
    return Ears(registry)


def test_each_member_hears_an_event_once(registry: Registry, ears: Ears) -> None:
    ears.open("a", "b", group="g")
    ears.open("c")
    registry.publish("g", b"event")
    assert ears.heard == [("a", b"event"), ("b", b"event")]


def test_a_client_message_is_pushed_with_its_policy_and_the_group_as_key(
    registry: Registry, ears: Ears
) -> None:
    ears.open("a", group="g")
    message = PreparedMessage("hello")
    registry.publish("g", message, policy="latest")
    registry.publish("g", message)
    assert ears.heard == [("a", (message, "latest", "g")), ("a", (message, "close", "g"))]


def test_an_order_to_close_reaches_each_member(registry: Registry, ears: Ears) -> None:
    ears.open("a", "b", group="g")
    registry.publish("g", Closing(4000, "bye"))
    assert ears.heard == [("a", Closing(4000, "bye")), ("b", Closing(4000, "bye"))]


def test_one_channel_can_be_left_out(registry: Registry, ears: Ears) -> None:
    ears.open("a", "b", "c", group="g")
    registry.publish("g", b"event", exclude="b")
    assert ears.channels == ["a", "c"]


def test_two_joins_want_two_leaves(registry: Registry, ears: Ears) -> None:
    ears.open("a", group="g")
    registry.join("g", "a")
    registry.publish("g", b"1")
    registry.leave("g", "a")
    registry.publish("g", b"2")
    registry.leave("g", "a")
    registry.leave("g", "a")
    registry.publish("g", b"3")
    assert ears.heard == [("a", b"1"), ("a", b"2")]


def test_closing_a_channel_leaves_all_its_groups(registry: Registry, ears: Ears) -> None:
    ears.open("a", group="g")
    registry.join("h", "a")
    registry.close("a")
    registry.close("a")
    assert registry.channels("g") == registry.channels("h") == []
    ears.open("a")  # the name is free again
    registry.publish("g", b"event")
    assert ears.heard == []


def test_a_channel_can_leave_all_groups_and_stay_open(registry: Registry, ears: Ears) -> None:
    ears.open("a", group="g")
    registry.leave_all("a")
    registry.publish("g", b"event")
    registry.send("a", b"direct")
    assert ears.heard == [("a", b"direct")]


def test_clearing_empties_groups_and_keeps_channels(registry: Registry, ears: Ears) -> None:
    ears.open("a", "b", group="g")
    registry.clear()
    registry.publish("g", b"event")
    assert ears.heard == []
    assert "a" in registry


def test_a_name_cannot_be_open_twice(registry: Registry, ears: Ears) -> None:
    ears.open("a")
    with pytest.raises(ValueError, match="open already"):
        ears.open("a")


def test_joining_a_channel_that_is_not_open_does_nothing(registry: Registry) -> None:
    registry.join("g", "ghost")
    assert registry.channels("g") == []


def test_sending_to_one_channel(registry: Registry, ears: Ears) -> None:
    ears.open("a")
    message = PreparedMessage("x")
    assert registry.send("a", b"event")
    assert registry.send("a", message)
    assert registry.send("a", Closing())
    assert registry.send("ghost", b"event")
    assert ears.heard == [("a", b"event"), ("a", (message, "close", None)), ("a", Closing())]


def test_a_full_channel_says_so(registry: Registry) -> None:
    registry.open("a", lambda encoded: False, lambda *args: None, lambda closing: None)
    assert not registry.send("a", b"event")
    registry.send("a", PreparedMessage("its queue counts for itself"))
    registry.join("g", "a")
    registry.publish("g", b"event")
    assert registry.full_count == 2


def test_members_and_their_count(registry: Registry, ears: Ears) -> None:
    ears.open("b", "a", group="g")
    registry.join("g", "a")
    assert (registry.channels("g"), registry.count("g")) == (["b", "a"], 2)
    assert (registry.channels("h"), registry.count("h")) == ([], 0)


# Fan-out in slices


def test_a_large_group_is_reached_in_slices(registry: Registry, ears: Ears, loop: FakeLoop) -> None:
    ears.open(*"abcdefgh", group="g")
    registry.publish("g", b"event")
    assert ears.channels == list("abc")
    loop.turn()
    assert ears.channels == list("abcdef")
    loop.turn()
    assert ears.channels == list("abcdefgh")
    assert not loop.calls


def test_who_left_meanwhile_is_skipped_and_who_joined_is_not_reached(
    registry: Registry, ears: Ears, loop: FakeLoop
) -> None:
    ears.open(*"abcdef", group="g")
    registry.publish("g", b"event")
    registry.leave("g", "e")
    registry.close("f")
    ears.open("z", group="g")
    loop.run()
    assert ears.channels == list("abcd")


def test_later_publishes_wait_behind_and_fix_their_own_members(
    registry: Registry, ears: Ears, loop: FakeLoop
) -> None:
    ears.open(*"abcd", group="g")
    registry.publish("g", b"1")
    registry.publish("g", b"2")
    assert ears.heard == [("a", b"1"), ("b", b"1"), ("c", b"1")]
    registry.leave("g", "a")
    ears.open("z", group="g")
    loop.run()
    assert ears.heard[3:] == [("d", b"1"), ("b", b"2"), ("c", b"2"), ("d", b"2"), ("z", b"2")]


def test_another_group_need_not_wait(registry: Registry, ears: Ears, loop: FakeLoop) -> None:
    ears.open(*"abcdef", group="g")
    ears.open("z", group="h")
    registry.publish("g", b"1")
    registry.publish("h", b"2")
    assert ears.heard[-1] == ("z", b"2")


def test_a_group_that_empties_and_fills_again_in_between(
    registry: Registry, ears: Ears, loop: FakeLoop
) -> None:
    ears.open(*"abcde", group="g")
    registry.publish("g", b"1")
    registry.clear()
    registry.join("g", "e")
    registry.publish("g", b"2")
    loop.run()
    assert ears.heard == [("a", b"1"), ("b", b"1"), ("c", b"1"), ("e", b"2")]


def test_a_publisher_of_too_many_does_the_work_itself(registry: Registry, ears: Ears, loop: FakeLoop) -> None:
    ears.open(*"abcde", group="g")
    for _ in range(WAITING_FANOUTS + 1):
        registry.publish("g", b"x")
    assert len(ears.heard) >= 5
    for _ in range(10):
        registry.publish("g", b"x")
    assert len(ears.heard) >= 5 * 10
    loop.run()
    assert len(ears.heard) == 5 * (WAITING_FANOUTS + 11)  # nothing is lost
    assert ears.channels == list("abcde") * (WAITING_FANOUTS + 11)


def test_a_member_that_publishes_while_it_is_reached(registry: Registry, ears: Ears, loop: FakeLoop) -> None:
    def answer(encoded: bytes) -> bool:
        ears.heard.append(("first", encoded))
        if encoded == b"1":
            registry.publish("g", b"2")
        return True

    registry.open("first", answer, lambda *args: None, lambda closing: None)
    registry.join("g", "first")
    ears.open("second", group="g")
    registry.publish("g", b"1")
    loop.run()
    assert ears.heard == [("first", b"1"), ("second", b"1"), ("first", b"2"), ("second", b"2")]


@pytest.mark.parametrize("message", [b"event", PreparedMessage("x"), Closing()])
def test_what_one_member_raises_costs_no_other_the_message(
    registry: Registry, ears: Ears, caplog: pytest.LogCaptureFixture, message: Any
) -> None:
    def fail(*args: object) -> bool:
        raise OSError("broken member")

    registry.open("bad", fail, fail, fail)
    registry.join("g", "bad")
    ears.open("good", group="g")
    with caplog.at_level(logging.ERROR):
        registry.publish("g", message)
    assert ears.channels == ["good"]
    assert "bad" in caplog.text


# Cost


def python_calls(action: Callable[[], object]) -> int:
    count = 0

    def profile(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


def big_group(size: int) -> tuple[Registry, FakeLoop]:
    loop = FakeLoop()
    registry = Registry(loop.call_soon)

    def push(message: PreparedMessage, policy: str, key: object) -> None: ...

    def deliver(encoded: bytes) -> bool:
        return True

    for number in range(size):
        registry.open(str(number), deliver, push, push)
        registry.join("g", str(number))
    return registry, loop


@pytest.mark.parametrize("message", [PreparedMessage("x" * 128), b"event"])
def test_one_more_recipient_costs_one_call(message: Any) -> None:
    """The registry's own share of the five calls that a recipient may cost is the push or deliver itself."""

    def calls(size: int) -> int:
        registry, loop = big_group(size)

        def publish() -> None:
            registry.publish("g", message)
            loop.run()

        return python_calls(publish)

    few, many = calls(500), calls(10_500)
    slices = 20
    assert (many - few) / 10_000 <= 1.0 + 10 * slices / 10_000


def test_joining_and_leaving_cost_the_same_in_any_group() -> None:
    def calls(size: int) -> int:
        registry, _ = big_group(size)
        registry.open("one", lambda encoded: True, lambda *args: None, lambda closing: None)
        return python_calls(lambda: (registry.join("g", "one"), registry.leave("g", "one")))

    assert calls(10) == calls(10_000)


def test_a_group_appears_with_its_first_member_and_vanishes_with_its_last() -> None:
    seen: list[str] = []
    registry = Registry(
        FakeLoop().call_soon,
        appeared=lambda group: seen.append(f"+{group}"),
        vanished=lambda group: seen.append(f"-{group}"),
    )
    Ears(registry).open("a", "b", group="g")
    registry.join("g", "a")
    registry.join("other", "a")
    assert (seen, sorted(registry.groups())) == (["+g", "+other"], ["g", "other"])
    registry.leave("g", "a")
    registry.close("b")
    assert seen == ["+g", "+other"]
    registry.close("a")
    assert sorted(seen[2:]) == ["-g", "-other"]
    assert registry.groups() == []


def test_members_are_told_of_a_gap_in_slices(caplog: pytest.LogCaptureFixture) -> None:
    loop = FakeLoop()
    registry = Registry(loop.call_soon, slice_members=2)
    told: list[str] = []

    def open_channel(channel: str, gap: Callable[[str], object] | None) -> None:
        registry.open(channel, lambda encoded: True, lambda *_: None, lambda closing: None, gap)

    def fail(reason: str) -> None:
        raise ValueError(reason)

    open_channel("no member", told.append)
    for channel in ("a", "b", "c", "d"):
        open_channel(channel, lambda reason, channel=channel: told.append(f"{channel}: {reason}"))
        registry.join("g", channel)
    open_channel("broken", fail)
    open_channel("deaf", None)
    registry.join("g", "broken")
    registry.join("g", "deaf")
    assert registry.gap("broker lost") == 6
    assert told == ["a: broker lost", "b: broker lost"]
    registry.close("d")  # before its turn
    loop.run()
    assert told == ["a: broker lost", "b: broker lost", "c: broker lost"]
    assert "broken could not be told of a gap" in caplog.text
