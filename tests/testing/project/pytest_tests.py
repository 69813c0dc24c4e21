"""Tests as a project writes them, for pytest with pytest-django and pytest-asyncio."""

from __future__ import annotations

import asyncio

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from websockets.asyncio.client import connect as open_websocket
from websockets.sync.client import connect as open_websocket_sync

from raceway import Group
from raceway.consumers import AsyncWebsocketConsumer
from raceway.layers import get_channel_layer

layers = []


@pytest.fixture
def leela(db):
    return User.objects.create(username="leela")


@pytest.fixture
async def fry(db):
    return await User.objects.acreate(username="fry")


@pytest.mark.parametrize("path", ["/people/", "/apeople/"])
def test_plain_tests_see_the_consumers_rows(raceway_connect, leela, path):
    with raceway_connect(path, user=leela) as socket:
        socket.expect_json({"user": "leela", "people": 1})
        socket.send_json({"new": "bender"})
        socket.expect_json({"people": 2})
    assert User.objects.count() == 2


@pytest.mark.parametrize("path", ["/people/", "/apeople/"])
async def test_async_tests_see_the_consumers_rows(raceway_connect, leela, fry, path):
    async with raceway_connect(path, user=fry) as socket:
        await socket.expect_json({"user": "fry", "people": 2})
        await socket.send_json({"new": "bender"})
        await socket.expect_json({"people": 3})
    assert await User.objects.acount() == 3


def test_async_fixtures_of_plain_tests(fry):
    assert User.objects.get() == fry


@pytest.mark.django_db
def test_connections_of_plain_tests_stay_their_own():
    assert not connection.allow_thread_sharing


@pytest.mark.django_db
def test_nothing_has_stayed():
    assert User.objects.count() == 0


@pytest.mark.django_db
async def test_nothing_has_stayed_in_coroutines():
    assert await User.objects.acount() == 0


@pytest.mark.django_db(transaction=True)
async def test_without_a_transaction(raceway_connect):
    leela = await User.objects.acreate(username="leela")
    async with raceway_connect("/people/", user=leela) as socket:
        await socket.expect_json({"user": "leela", "people": 1})


def test_the_database_stays_forbidden(raceway_connect):
    with pytest.raises(RuntimeError, match="Database access not allowed"), raceway_connect("/people/"):
        pass


def test_what_is_published(raceway_published, leela, client):
    client.get(f"/rename/{leela.pk}/?name=Turanga")
    raceway_published.assert_published("people", {"type": "person.renamed", "name": "Turanga"})


@pytest.mark.django_db
async def test_what_is_published_in_a_thread(raceway_published):
    from asgiref.sync import sync_to_async

    def save():
        with transaction.atomic():
            Group("people").send({"type": "x"})
            raceway_published.assert_nothing_published()

    await sync_to_async(save)()
    raceway_published.assert_published("people", {"type": "x"}, times=1)


async def test_the_clock(raceway_clock, raceway_connect):
    class Slow(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await asyncio.sleep(3600)
            await self.send(text_data)

    async with raceway_connect(Slow) as socket:
        await socket.send("x")
        await raceway_clock.advance(3600)
        await socket.expect_text("x")


def test_the_live_server(raceway_live_server):
    User.objects.create(username="leela")
    server = raceway_live_server
    with open_websocket_sync(f"{server.ws_url}/people/", origin=server.url) as socket:
        assert socket.recv() == '{"user":"AnonymousUser","people":1}'


async def test_the_live_server_from_coroutines(raceway_live_server):
    server = raceway_live_server
    async with open_websocket(f"{server.ws_url}/people/", origin=server.url) as socket:
        assert await socket.recv() == '{"user":"AnonymousUser","people":0}'


@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_test_has_its_own_layers(number):
    layers.append(get_channel_layer())
    assert len({id(layer) for layer in layers}) == len(layers)
