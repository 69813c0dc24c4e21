"""What ``manage.py runworker`` is told, and refuses; what it does is in ``tests/topology/test_workers.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

import tests.project  # noqa: F401  Django's settings
from raceway.layers import channel_layers
from raceway.layers.foreign import ForeignLayer
from raceway.management.commands.runworker import Command, is_of_one_process, make_worker
from raceway.routing import ChannelNameRouter

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


def test_the_layer_and_the_channels_are_chosen_by_options(tmp_path: Path) -> None:
    layers = {
        **MEMORY,
        "other": {
            "BACKEND": "raceway.layers.local.LocalLayer",
            "CONFIG": {"path": str(tmp_path / "broker")},
        },
    }
    application = ChannelNameRouter({"mail.in": print, "mail.out": print, "video": print})
    said = ["--layer", "other", "--only-channels", "mail.*", "--exclude-channels", "*.out"]
    options = vars(Command().create_parser("manage.py", "runworker").parse_args(said))
    with override_settings(CHANNEL_LAYERS=layers):
        worker = make_worker(application, options)
        assert worker._layer is channel_layers["other"]
    assert worker.channels == ["mail.in"]


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
