"""What ``manage.py runworker`` refuses; what it does is in ``tests/topology/test_workers.py``."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

import tests.project  # noqa: F401  Django's settings
from raceway.layers.foreign import ForeignLayer
from raceway.management.commands.runworker import is_of_one_process

MEMORY = {"default": {"BACKEND": "raceway.layers.memory.MemoryLayer"}}


def test_a_layer_of_one_process_is_refused_with_the_mend() -> None:
    with (
        override_settings(CHANNEL_LAYERS=MEMORY),
        pytest.raises(
            CommandError,
            match=r"'default' keeps its messages in the process .* raceway\.layers\.local\.LocalLayer",
        ),
    ):
        call_command("runworker")


def test_the_layer_of_one_process_of_channels_is_known_too() -> None:
    class InMemoryChannelLayer: ...

    class RedisChannelLayer: ...

    assert is_of_one_process(ForeignLayer(InMemoryChannelLayer()))
    assert not is_of_one_process(ForeignLayer(RedisChannelLayer()))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--concurrency", "0"], "--concurrency"),
        (["--drain-seconds", "-1"], "--drain-seconds"),
        (["--drain-seconds", "nan"], "--drain-seconds"),
        (["--threads", "many"], "--threads"),
    ],
)
def test_numbers_are_checked(arguments: list[Any], text: str) -> None:
    with pytest.raises(CommandError, match=text):
        call_command("runworker", *arguments)
