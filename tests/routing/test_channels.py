from __future__ import annotations

from typing import Any

import pytest

import tests.project  # noqa: F401  Django's settings
from raceway.consumers import SyncConsumer
from raceway.errors import ConfigurationError, StopConsumer
from raceway.routing import ChannelNameRouter, ProtocolTypeRouter
from raceway.routing.channels import channel_names
from tests.routing.calls import call, note

ROUTER = ChannelNameRouter({"thumbnails": note("thumbnails"), "mail": note("mail")})


async def test_the_name_chooses() -> None:
    for name in ("thumbnails", "mail"):
        scope, _ = await call(ProtocolTypeRouter({"channel": ROUTER}), type="channel", channel=name)
        assert scope["name"] == name


async def test_an_unknown_name_is_refused_with_the_closest() -> None:
    with pytest.raises(ValueError, match="for the channel 'thumbnail': did you mean 'thumbnails'"):
        await call(ROUTER, type="channel", channel="thumbnail")


async def test_a_scope_without_a_channel_is_named() -> None:
    with pytest.raises(ValueError, match=r"scope of type 'websocket' .* put it under 'channel'"):
        await call(ROUTER)


def work(message: dict[str, Any]) -> None:
    """A function of one message."""


class Work(SyncConsumer):
    """A consumer class."""


async def test_a_function_of_one_argument_is_called_with_each_message() -> None:
    heard: list[Any] = []

    async def work(message: dict[str, Any]) -> None:
        heard.append(message)
        raise StopConsumer

    await call(ChannelNameRouter({"work": work}), type="channel", channel="work")
    assert heard == [{"type": "channel.connect"}]


@pytest.mark.parametrize(
    ("name", "given", "error", "text"),
    [
        ("work", Work, ConfigurationError, r"write Work\.as_asgi\(\)"),
        ("work", "tests.work", ConfigurationError, "neither an application nor a function"),
        ("not a name", work, TypeError, "Channel name must be"),
    ],
)
def test_what_cannot_serve_a_channel_is_told_at_once(
    name: str, given: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        ChannelNameRouter({name: given})


class Middleware:
    def __init__(self, inner: Any) -> None:
        self.inner = inner


@pytest.mark.parametrize(
    ("application", "names"),
    [
        (ROUTER, {"thumbnails", "mail"}),
        (ProtocolTypeRouter({"channel": ROUTER}), {"thumbnails", "mail"}),
        (Middleware(ProtocolTypeRouter({"channel": Middleware(ROUTER)})), {"thumbnails", "mail"}),
        (ProtocolTypeRouter({}), set()),
        (ProtocolTypeRouter({"channel": note("any")}), None),
        (note("any"), None),
    ],
)
def test_applications_say_which_channels_they_serve(application: Any, names: set[str] | None) -> None:
    assert channel_names(application) == names
