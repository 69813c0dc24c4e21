from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from django.test import override_settings

import tests.project  # noqa: F401  Django's settings
from raceway.errors import ConfigurationError, InvalidChannelLayerError
from raceway.layers import channel_layers, get_channel_layer
from raceway.layers.foreign import ForeignLayer
from raceway.layers.memory import MemoryLayer

MEMORY = "raceway.layers.memory.MemoryLayer"


def layers(**config: Any) -> Any:
    return override_settings(CHANNEL_LAYERS={"default": {"BACKEND": MEMORY, **config}})


def test_memory_is_the_default_in_tests() -> None:
    assert isinstance(get_channel_layer(), MemoryLayer)
    assert get_channel_layer() is channel_layers["default"]
    assert "default" in channel_layers


@pytest.mark.topology
@pytest.mark.parametrize(
    ("code", "layer"),
    [
        ("pass", "LocalLayer"),  # with pytest's variables in its environment
        ("from django.test import utils; utils.setup_test_environment()", "MemoryLayer"),
        (
            "from django.test import utils; utils.setup_test_environment(); utils.teardown_test_environment()",
            "LocalLayer",
        ),
        (
            # A project that keeps its mails in memory has an outbox too.
            "from django.core import mail; from django.core.mail.backends import locmem;"
            "locmem.EmailBackend().send_messages([mail.EmailMessage(to=['fry@example.com'])]); mail.outbox",
            "LocalLayer",
        ),
        ("import pytest", "MemoryLayer"),
        (
            "import os, pytest; del os.environ['PYTEST_VERSION'], os.environ['PYTEST_CURRENT_TEST']",
            "LocalLayer",
        ),
    ],
)
def test_the_default_elsewhere(code: str, layer: str) -> None:
    script = f"""
import django
from django.conf import settings
settings.configure()
django.setup()
{code}
from raceway.layers import get_channel_layer
print(type(get_channel_layer()).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == (layer, "")


def test_options_reach_the_backend_and_a_changed_setting_counts() -> None:
    before = get_channel_layer()
    with layers(CONFIG={"capacity": 7, "expiry": 3}):
        layer = get_channel_layer()
        assert layer is not before
        assert layer is not None
        assert (layer.capacity, layer.expiry) == (7, 3)
    assert get_channel_layer() is not layer


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"CONFIG": {"capasity": 7}}, "no option 'capasity': did you mean 'capacity'?"),
        ({"CONFIG": {"hosts": []}}, "no option 'hosts': it can be 'capacity', "),
        ({"CONFG": {}}, "unknown key 'CONFG': did you mean 'CONFIG'?"),
        ({"CONFIG": {"capacity": 0}}, "MemoryLayer: capacity is a number above 0, not 0."),
        ({"CONFIG": {"expiry": "60"}}, "expiry is a number above 0, not '60'."),
        ({"CONFIG": {"group_expiry": -1}}, "group_expiry is a number above 0, not -1."),
        (
            {"CONFIG": {"channel_capacity": {"x*": True}}},
            "channel_capacity['x*'] is a number above 0, not True.",
        ),
        ({"BACKEND": "nowhere.Layer"}, "cannot be imported"),
        ({"BACKEND": "raceway.layers.memory.Memory"}, "cannot be imported"),
    ],
)
def test_mistakes_are_named(config: dict[str, Any], complaint: str) -> None:
    with layers(**config), pytest.raises(InvalidChannelLayerError) as caught:
        get_channel_layer()
    assert complaint in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, ConfigurationError)  # a server ends with its sentence


@override_settings(CHANNEL_LAYERS={"default": {}})
def test_a_backend_is_needed() -> None:
    with pytest.raises(InvalidChannelLayerError, match="no BACKEND"):
        get_channel_layer()


@override_settings(CHANNEL_LAYERS={"other": {"BACKEND": MEMORY}})
def test_an_alias_that_is_not_configured() -> None:
    assert get_channel_layer() is None
    assert list(channel_layers) == ["other"]
    with pytest.raises(InvalidChannelLayerError, match="no alias 'othr': did you mean 'other'"):
        channel_layers["othr"]


def test_a_layer_for_tests_has_its_own_options() -> None:
    with layers(CONFIG={"capacity": 7}, TEST_CONFIG={"expiry": 3}):
        layer = channel_layers.make_test_backend("default")
        assert (layer.capacity, layer.expiry) == (100, 3)
        assert layer is not channel_layers["default"]
        assert channel_layers.make_backend("default").capacity == 7
    with layers(), pytest.raises(InvalidChannelLayerError, match="no TEST_CONFIG"):
        channel_layers.make_test_backend("default")
    with (
        layers(TEST_CONFIG={"capasity": 3}),
        pytest.raises(InvalidChannelLayerError, match="did you mean 'cap"),
    ):
        channel_layers.make_test_backend("default")


def test_a_layer_can_be_swapped() -> None:
    mine = MemoryLayer()
    before = channel_layers["default"]
    assert channel_layers.set("default", mine) is before
    assert channel_layers["default"] is mine
    assert channel_layers.set("default", None) is mine


class SomebodyElses:
    """A layer that is none of ours, as far as settings care."""

    extensions = ["groups"]

    def __init__(self, hosts: Any = None, **options: Any) -> None:
        if options:
            raise TypeError(f"unexpected options {sorted(options)}")
        self.hosts = hosts


def test_other_peoples_layers_get_a_front() -> None:
    path = f"{__name__}.SomebodyElses"
    with layers(BACKEND=path, CONFIG={"hosts": ["a"]}):
        assert isinstance(get_channel_layer(), ForeignLayer)
    channel_layers.set("other", SomebodyElses())
    assert isinstance(channel_layers.set("other", None), ForeignLayer)
    with (
        layers(BACKEND=path, CONFIG={"host": "a"}),
        pytest.raises(InvalidChannelLayerError, match="unexpected opt"),
    ):
        get_channel_layer()
