"""What the supervisor does about the layers of its workers, short of a broker."""

from __future__ import annotations

import logging

import pytest

from raceway.supervisor.hosting import Hosting
from raceway.supervisor.pipe import Layers


@pytest.mark.parametrize(("workers", "told"), [(1, 0), (4, 1)])
def test_a_layer_that_ends_at_a_process_is_told_of_once(
    workers: int, told: int, caplog: pytest.LogCaptureFixture
) -> None:
    hosting = Hosting()
    with caplog.at_level(logging.WARNING, "raceway.supervisor"):
        for _ in range(workers):
            hosting.heard(Layers([], ["default"]), workers)
    assert caplog.text.count("The channel layer 'default' is memory, so each of 4 workers") == told
    assert len(caplog.records) == told
