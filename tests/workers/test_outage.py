from __future__ import annotations

import pytest

from raceway.workers.outage import QUIET_S, Outage

pytestmark = pytest.mark.pure


def test_an_outage_is_told_once_in_a_while_and_so_is_its_end() -> None:
    outage = Outage()
    assert not outage.succeeded()
    assert [outage.failed(now) for now in (0, 1, QUIET_S, QUIET_S + 1)] == [True, False, True, False]
    assert [outage.succeeded(), outage.succeeded()] == [True, False]
    assert outage.failed(QUIET_S + 2)
