from __future__ import annotations

import pytest

from raceway.workers.outage import LONGEST_RETRY_S, QUIET_S, Backoff, Outage

pytestmark = pytest.mark.pure


def test_the_pauses_grow_to_a_bound_and_begin_anew_after_a_success() -> None:
    backoff = Backoff()
    assert [backoff.failed(1) for _ in range(3)] == pytest.approx([0.1, 0.2, 0.4])
    for _ in range(10):
        backoff.failed(1)
    assert backoff.failed(1) == LONGEST_RETRY_S
    backoff.succeeded()
    assert backoff.failed(0) == pytest.approx(0.05)


def test_an_outage_is_told_once_in_a_while_and_so_is_its_end() -> None:
    outage = Outage()
    assert not outage.succeeded()
    assert [outage.failed(now) for now in (0, 1, QUIET_S, QUIET_S + 1)] == [True, False, True, False]
    assert [outage.succeeded(), outage.succeeded()] == [True, False]
    assert outage.failed(QUIET_S + 2)
