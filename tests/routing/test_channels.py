from __future__ import annotations

import pytest

import tests.project  # noqa: F401  Django's settings
from raceway.routing import ChannelNameRouter, ProtocolTypeRouter
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
