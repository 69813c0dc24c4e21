from __future__ import annotations

import pytest

from raceway.errors import ConfigurationError
from raceway.workers.names import choose_channels

pytestmark = pytest.mark.pure

ROUTED = {"thumbnails", "mail.in", "mail.out"}


@pytest.mark.parametrize(
    ("named", "only", "exclude", "chosen"),
    [
        ([], [], [], ["mail.in", "mail.out", "thumbnails"]),
        (["thumbnails", "mail.in"], [], [], ["mail.in", "thumbnails"]),
        ([], ["mail.*"], [], ["mail.in", "mail.out"]),
        ([], ["mail.*", "thumb*"], ["*.out"], ["mail.in", "thumbnails"]),
        (["mail.in", "mail.out"], [], ["mail.out"], ["mail.in"]),
    ],
)
def test_channels_are_named_or_all_that_are_routed_less_what_globs_leave_out(
    named: list[str], only: list[str], exclude: list[str], chosen: list[str]
) -> None:
    assert choose_channels(ROUTED, named, only, exclude) == chosen


def test_an_application_that_does_not_say_is_believed() -> None:
    assert choose_channels(None, ["b", "a", "a"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("routed", "named", "only", "text"),
    [
        (ROUTED, ["thumbnail"], [], "the channel 'thumbnail': did you mean 'thumbnails'"),
        (ROUTED, ["not a name"], [], "Channel name must be"),
        (ROUTED, [], ["video*"], "--only and --exclude leave out every one"),
        (set(), [], [], "routes no named channels: put channel_routes"),
        (None, [], [], "does not say which named channels it serves"),
    ],
)
def test_what_cannot_be_served_is_an_error(
    routed: set[str] | None, named: list[str], only: list[str], text: str
) -> None:
    with pytest.raises(ConfigurationError, match=text.replace("*", r"\*")):
        choose_channels(routed, named, only)
