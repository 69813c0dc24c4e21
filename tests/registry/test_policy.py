"""What happens to pushes while a client is slow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raceway.registry.policy import POLICIES, Policy, PushQueue, Verdict


def filled(limit_bytes: int, *frames: bytes) -> PushQueue[bytes]:
    queue = PushQueue[bytes](limit_bytes)
    for frame in frames:
        assert queue.offer(frame, "close") is Verdict.QUEUED
    return queue


@pytest.mark.parametrize("policy", POLICIES)
def test_what_fits_is_queued_in_order(policy: Policy) -> None:
    queue = PushQueue(10)
    assert queue.offer(b"one", policy, "a") is Verdict.QUEUED
    assert queue.offer(b"two", policy, "b") is Verdict.QUEUED
    assert queue.take() == [b"one", b"two"]
    assert queue.size_bytes == 0
    assert queue.take() == []


def test_one_can_be_taken_at_a_time() -> None:
    queue = filled(4, b"12", b"34")
    assert queue.first == b"12"
    assert queue.take_first() == b"12"
    assert queue.size_bytes == 2
    assert queue.take() == [b"34"]
    assert queue.first is None


def test_close_overflows_and_leaves_the_queue_to_the_caller() -> None:
    assert filled(4, b"1234").offer(b"5", "close") is Verdict.OVERFLOWED


def test_drop_newest_refuses_the_push_at_hand() -> None:
    queue = filled(4, b"12", b"34")
    assert queue.offer(b"5", "drop_newest") is Verdict.DROPPED
    assert queue.take() == [b"12", b"34"]


def test_drop_oldest_makes_room_and_counts() -> None:
    queue = filled(5, b"12", b"34", b"5")
    assert queue.offer(b"678", "drop_oldest") is Verdict.QUEUED
    assert queue.dropped_oldest == 2
    assert queue.take() == [b"5", b"678"]


def test_drop_oldest_refuses_what_can_never_fit() -> None:
    queue = filled(4, b"12")
    assert queue.offer(b"12345", "drop_oldest") is Verdict.DROPPED
    assert queue.take() == [b"12"]


def test_latest_replaces_the_waiting_push_of_its_key_only() -> None:
    queue = PushQueue(100)
    queue.offer(b"a1", "latest", "a")
    queue.offer(b"b1", "latest", "b")
    queue.offer(b"plain", "close", "a")
    assert queue.offer(b"a2", "latest", "a") is Verdict.QUEUED
    assert queue.replaced == 1
    assert queue.take() == [b"b1", b"plain", b"a2"]


def test_latest_is_dropped_when_nothing_of_its_key_gives_way() -> None:
    assert filled(4, b"1234").offer(b"5", "latest", "a") is Verdict.DROPPED


@given(
    st.lists(
        st.tuples(st.binary(max_size=12), st.sampled_from(POLICIES), st.sampled_from("abc")), max_size=40
    ),
    st.integers(0, 30),
)
def test_the_bound_always_holds_and_sizes_add_up(
    offers: list[tuple[bytes, Policy, str]], limit_bytes: int
) -> None:
    queue = PushQueue(limit_bytes)
    queued = 0
    for frame, policy, key in offers:
        queued += queue.offer(frame, policy, key) is Verdict.QUEUED
        assert queue.size_bytes <= limit_bytes
        assert queue.size_bytes == sum(len(waiting) for _, waiting in queue.waiting)
    assert len(queue.take()) == queued - queue.dropped_oldest - queue.replaced
