from __future__ import annotations

import pytest

from raceway.backoff import Backoff

pytestmark = pytest.mark.pure


def test_the_pauses_grow_to_a_bound_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(0.1, 5.0)
    assert [backoff.failed(1) for _ in range(3)] == pytest.approx([0.1, 0.2, 0.4])
    waits = [backoff.failed(1) for _ in range(50)]
    assert max(waits) == waits[-1] == 5.0
    backoff.succeeded()
    assert backoff.failed(1) == pytest.approx(0.1)


def test_chance_spreads_the_retries_of_many_processes() -> None:
    assert Backoff(0.1, 5.0).failed(0) == Backoff(0.1, 5.0).failed(1) / 2
