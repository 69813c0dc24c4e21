"""The code on the slides of "Django and this thing called Channels" (Andrew Godwin, 2016): as it stands there, but for
imports and names of today. Each test quotes its slide."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from types import SimpleNamespace
from typing import Any

import pytest
from django.http import HttpResponse

from raceway import Channel, Group
from raceway.layers import get_channel_layer
from raceway.messaging import LayerApplication, Message, MessageApplication, SynchronousLayer
from raceway.messaging.dispatch import Dispatcher
from raceway.messaging.routing import Router
from raceway.workers import Worker
from tests.messaging.serving import Served, serving, wait_for_members
from tests.server.running import DEADLINE_S

pytestmark = pytest.mark.shell


def ws_message(message):
    text = message.content["text"]
    reply = "You said: %s" % text  # noqa: UP031
    message.reply_channel.send(
        {
            "text": reply,
        }
    )


def test_slide_echo() -> None:
    """EXAMPLE: "This echoes messages back"; the routing is the dict of "All the routing is set up like URLs"."""
    with serving({"websocket.receive": ws_message}) as served, served.socket("/anywhere") as socket:
        socket.send("Hello")
        assert socket.recv(DEADLINE_S) == "You said: Hello"


async def test_slide_list_of_clients(layer: Any) -> None:
    """EXAMPLE: "This notifies clients of new blog posts", before there were groups."""

    def newpost(message):
        for client in client_list:
            Channel(client).send(
                {
                    "text": message.content["id"],
                }
            )

    client_list = [layer.new_channel_name(), layer.new_channel_name()]
    newpost(Message({"id": "7"}, "new-liveblog"))
    assert [await layer.receive(client) for client in client_list] == [
        {"type": "websocket.send", "text": "7"}
    ] * 2


# EXAMPLE: "But Channels has a better solution for that"


# Channel "websocket.connect"
def connect(message):
    Group("liveblog").add(message.reply_channel)


# Channel "new-liveblog"
def newpost(message):
    Group("liveblog").send(
        {
            "text": message.content["id"],
        }
    )


class LiveblogPost:
    """EXAMPLE: "And you can send to channels from anywhere"; what Django adds to a model is not the point here."""

    id = 27

    def save(self):
        Channel("new-liveblog").send(
            {
                "id": str(self.id),
            }
        )


def test_slide_liveblog() -> None:
    routing = {"websocket.connect": connect, "new-liveblog": newpost}
    with (
        serving(routing) as served,
        served.socket("/liveblog/") as one,
        served.socket("/liveblog/") as two,
        working(served, routing),
    ):
        wait_for_members("liveblog", 2)
        LiveblogPost().save()
        assert one.recv(DEADLINE_S) == two.recv(DEADLINE_S) == "27"


@contextmanager
def working(served: Served, routing: Any) -> Iterator[None]:
    """A worker for the named channels: on slides a thread of runserver's, here a task of the server's."""
    application = MessageApplication(routing)
    layer = get_channel_layer()
    assert layer is not None
    worker = Worker(application, application.channel_names(), layer)
    served.server.call(worker.start)
    try:
        yield
    finally:
        served.server.run(worker.stop())


thumbnails: list[str] = []


def thumb(message):
    thumbnails.append(message.content["id"])


async def test_slide_offloading(layer: Any) -> None:
    """EXAMPLE: "You can offload processing from views"; the consumer is named by a dotted string, as on the slide of
    the routing."""

    def render(request):
        return HttpResponse("It is on its way.")

    def upload_image(request):
        image = SimpleNamespace(id=12)
        Channel("thumbnail").send(
            {
                "id": str(image.id),
            }
        )
        return render(request)

    routing = {
        "websocket.connect": connect,
        "websocket.receive": "tests.messaging.test_slides_002.ws_message",
        "thumbnail": "tests.messaging.test_slides_002.thumb",
    }
    assert upload_image(None).content == b"It is on its way."
    thumbnails.clear()
    await Dispatcher(Router(routing)).consume(Message(await layer.receive("thumbnail"), "thumbnail"))
    assert thumbnails == ["12"]


def test_slide_views_by_default() -> None:
    """EXAMPLE: "The HTTP channel just goes to the view system by default"."""
    routing = {
        # This is actually the default
        "http.request": "raceway.messaging.ViewConsumer",
    }
    for same in (routing, {}):
        with serving(same) as served:
            client = HTTPConnection(served.address, timeout=DEADLINE_S)
            client.request("GET", "/hello/", headers={"Host": "testserver"})
            response = client.getresponse()
            assert (response.status, response.read()) == (200, b"hello")
            client.close()


class RawLoop:
    """ "Raw ASGI app example", in a thread."""

    def __init__(self, layer: SynchronousLayer) -> None:
        self.layer = layer
        self.thread = threading.Thread(target=self.run_until_closed)

    def run_until_closed(self) -> None:
        with pytest.raises(RuntimeError, match="The layer was closed"):
            self.run(self.layer)

    def run(self, layer):
        while True:
            channel, message = layer.receive_many(
                ["http.request"],
                block=True,
            )
            if channel is None:
                continue
            layer.send(
                message["reply_channel"],
                {
                    "content": "Hello World!",
                    "status": 200,
                },
            )

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *ended: object) -> None:
        self.layer.close()
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive()


def test_slide_raw_loop_in_a_thread() -> None:
    with serving(LayerApplication()) as served, RawLoop(SynchronousLayer()):
        client = HTTPConnection(served.address, timeout=DEADLINE_S)
        for _ in range(3):
            client.request("GET", "/")
            response = client.getresponse()
            assert (response.status, response.read()) == (200, b"Hello World!")
        client.close()
