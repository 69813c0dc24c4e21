"""When a lost server is tried again, and when a silent one counts as lost."""

from __future__ import annotations

import pytest

from raceway.layers.redis.kept import (
    DEAD_S,
    IDLE_S,
    LONGEST_RETRY_S,
    LOOK_S,
    WAIT_S,
    Silence,
    Verdict,
)


def test_what_waits_for_a_server_sees_at_least_one_attempt() -> None:
    assert LONGEST_RETRY_S < WAIT_S


def looks(silence: Silence, until: float, heard_at: float, waits_since: float | None) -> list[Verdict]:
    """What is found every ``LOOK_S`` from 0 on."""
    return [silence.judge(n * LOOK_S, heard_at, waits_since) for n in range(int(until / LOOK_S) + 1)]


def test_an_idle_server_is_asked_whether_it_lives() -> None:
    found = looks(Silence(0.0), IDLE_S, 0.0, None)
    assert found[-1] is Verdict.ASK
    assert set(found[:-1]) == {Verdict.FINE}


def test_a_server_that_leaves_a_question_unanswered_is_dead() -> None:
    found = looks(Silence(0.0), DEAD_S, 0.0, 0.0)
    assert found[-1] is Verdict.DEAD
    assert set(found[:-1]) == {Verdict.FINE}


def test_one_that_says_something_lives_whatever_it_has_not_answered_yet() -> None:
    silence = Silence(0.0)
    for n in range(60):
        assert silence.judge(n * LOOK_S, heard_at=n * LOOK_S - 1, waits_since=0.0) is Verdict.FINE


@pytest.mark.parametrize("pause_s", [LOOK_S * 3, 60.0])
def test_a_process_that_stood_still_blames_nobody(pause_s: float) -> None:
    silence = Silence(0.0)
    assert silence.judge(LOOK_S, 0.0, 0.0) is Verdict.FINE
    woken_at = LOOK_S + pause_s
    assert silence.judge(woken_at, 0.0, 0.0) is Verdict.FINE
    later = [silence.judge(woken_at + n * LOOK_S, 0.0, 0.0) for n in range(1, int(DEAD_S / LOOK_S) + 1)]
    assert later[-1] is Verdict.DEAD
    assert set(later[:-1]) == {Verdict.FINE}
