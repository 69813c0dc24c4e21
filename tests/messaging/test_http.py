"""HTTP requests as messages, over the real server."""

from __future__ import annotations

import socket
from contextlib import closing
from http.client import HTTPConnection, IncompleteRead
from typing import Any

import pytest
from django.http import HttpResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import path as url

from raceway import Channel, Group
from raceway.asgi import get_asgi_application
from raceway.errors import ConsumeLater
from raceway.messaging import ViewConsumer, connection, encode_response, request_of, route
from raceway.messaging.views import CONTENT_BYTES
from tests.messaging.serving import Served, serving, wait_for_members
from tests.server.running import DEADLINE_S, Seen

pytestmark = pytest.mark.shell


def ask(served: Served, path: str = "/", method: str = "GET", **request: Any) -> Any:
    with closing(HTTPConnection(served.address, timeout=DEADLINE_S)) as client:
        client.request(method, path, **request)
        response = client.getresponse()
        response.said = response.read()  # type: ignore[attr-defined]
        return response


def test_a_consumer_answers() -> None:
    def consumer(message, name):
        message.reply_channel.send(
            {"status": 201, "headers": [["X-Name", name]], "content": f"Hello {name}".encode()}
        )

    with serving([route("http.request", consumer, path=r"^/hello/(?P<name>\w+)/$")]) as served:
        response = ask(served, "/hello/Fry/")
        assert (response.status, response.said) == (201, b"Hello Fry")
        assert (response.headers["x-name"], response.headers["content-length"]) == ("Fry", "9")


def test_what_a_request_says() -> None:
    seen = Seen()

    def consumer(message):
        seen.put(dict(message.content))
        message.reply_channel.send({"status": 200})

    with serving({"http.request": consumer}) as served:
        ask(served, "/a%20b/?c=d", "POST", body=b"x" * 100_000, headers={"X-Kind": "test"})
        said = seen.next()
    assert [b"x-kind", b"test"] in said.pop("headers")
    assert said.pop("client")[0] == "127.0.0.1"
    assert said.pop("reply_channel")
    assert said == {
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/a b/",
        "query_string": b"c=d",
        "root_path": "",
        "server": ["127.0.0.1", served.server.port],
        "body": b"x" * 100_000,
        "body_channel": None,
    }


def test_a_response_in_pieces() -> None:
    async def consumer(message):
        reply = message.reply_channel
        await reply.asend({"status": 200, "content": b"a", "more_content": True})
        await reply.asend({"content": b"b", "more_content": True})
        await reply.asend({"content": b"c"})
        await reply.asend({"content": b"too late"})

    with serving({"http.request": consumer}) as served:
        assert ask(served).said == b"abc"


def test_a_failing_consumer_is_500(caplog: pytest.LogCaptureFixture) -> None:
    def consumer(message):
        raise KeyError("no")

    with serving({"http.request": consumer}) as served:
        response = ask(served)
        assert (response.status, response.said) == (500, b"Internal Server Error\n")
    assert "Error processing message with consumer" in caplog.text


def test_a_consumer_that_fails_within_its_response_cuts_it_off(caplog: pytest.LogCaptureFixture) -> None:
    def consumer(message):
        message.reply_channel.send({"status": 200, "content": b"a", "more_content": True})
        raise KeyError("no")

    with serving({"http.request": consumer}) as served, pytest.raises(IncompleteRead):
        ask(served)


@pytest.mark.parametrize("reply", [{"content": b"no status"}, {"status": 200, "content": 5}])
def test_a_first_reply_that_is_none_is_500(reply: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with serving({"http.request": lambda message: message.reply_channel.send(reply)}) as served:
        assert ask(served).status == 500
    assert "The response to " in caplog.text


def test_a_message_that_closes_a_group_ends_a_request() -> None:
    with serving({"http.request": lambda message: message.reply_channel.send({"close": True})}) as served:
        assert ask(served).status == 403


def test_a_long_poll_is_answered_from_anywhere() -> None:
    with serving({"http.request": lambda message: Group("polls").add(message.reply_channel)}) as served:
        with closing(HTTPConnection(served.address, timeout=DEADLINE_S)) as client:
            client.request("GET", "/")
            wait_for_members("polls", 1)
            Group("polls").send({"status": 200, "content": "news"})
            assert client.getresponse().read() == b"news"
        wait_for_members("polls", 0)


def test_a_request_that_nobody_answers_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ANSWER_S", 0.05)
    with serving({"http.request": lambda message: None}) as served:
        assert ask(served).status == 503


def test_a_client_that_leaves_is_a_message() -> None:
    seen = Seen()

    def request(message):
        Group("polls").add(message.reply_channel)
        seen.put(message.reply_channel.name)

    def disconnect(message):
        seen.put((message.reply_channel.name, message["path"]))

    with serving({"http.request": request, "http.disconnect": disconnect}) as served:
        with closing(socket.create_connection(("127.0.0.1", served.server.port), DEADLINE_S)) as client:
            client.sendall(b"GET /poll/ HTTP/1.1\r\nHost: here\r\n\r\n")
            name = seen.next()
        assert seen.next() == (name, "/poll/")
        wait_for_members("polls", 0)


def test_a_response_that_is_complete_is_followed_by_nothing() -> None:
    seen = Seen()
    routing = {
        "http.request": lambda message: message.reply_channel.send({"status": 200}),
        "http.disconnect": lambda message: seen.put("left"),
    }
    with serving(routing) as served:
        assert ask(served).status == 200
    assert seen.nothing()


def test_consume_later() -> None:
    tries: list[int] = []

    def consumer(message):
        tries.append(1)
        if len(tries) == 1:
            raise ConsumeLater
        message.reply_channel.send({"status": 200, "content": str(len(tries))})

    with serving({"http.request": consumer}) as served:
        assert ask(served).said == b"2"


def test_a_body_that_is_too_large() -> None:
    with (
        override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=1000),
        serving({"http.request": lambda message: None}) as served,
    ):
        assert ask(served, method="POST", body=b"x" * 1001).status == 413


# Views

LARGE = b"x" * (2 * CONTENT_BYTES + 1)

urlpatterns = [
    url("large/", lambda request: HttpResponse(LARGE)),
    url("echo/", lambda request: HttpResponse(request.method + request.GET["q"] + request.POST["p"])),
    url("set/", lambda request: HttpResponse(request.get_host(), status=418, headers={"X-A": "b"})),
]


@pytest.fixture(params=["handed to Django", "as a message"])
def views(request: pytest.FixtureRequest) -> Any:
    """Where requests that no route is for go."""
    with override_settings(ROOT_URLCONF="tests.messaging.test_http"):
        yield {"http": get_asgi_application()} if request.param == "handed to Django" else {}


def test_views_are_the_default(views: Any) -> None:
    def consumer(message):
        message.reply_channel.send({"status": 200, "content": "consumer"})

    with serving([route("http.request", consumer, path="^/consumer")], **views) as served:
        assert ask(served, "/consumer/").said == b"consumer"
        response = ask(served, "/set/", headers={"Host": "testserver"})
        assert (response.status, response.said, response.headers["x-a"]) == (418, b"testserver", "b")
        assert ask(served, "/nowhere/", headers={"Host": "testserver"}).status == 404


def test_a_view_gets_the_whole_request(views: Any) -> None:
    form = {"Host": "testserver", "Content-Type": "application/x-www-form-urlencoded"}
    with serving([route("http.request", ViewConsumer)], **views) as served:
        assert ask(served, "/echo/?q=1", "POST", body=b"p=2", headers=form).said == b"POST12"


def test_a_large_response_of_a_view(views: Any) -> None:
    with serving({}, **views) as served:
        assert ask(served, "/large/", headers={"Host": "testserver"}).said == LARGE


def test_a_consumer_can_use_what_views_use() -> None:
    def consumer(message):
        request = request_of(message)
        said = (
            f"{request.method} {request.path} {request.GET['q']} {request.POST['p']} {request.COOKIES['c']}"
        )
        response = HttpResponse(said, status=201, headers={"X-A": "b"})
        response.set_cookie("kind", "oatmeal")
        for reply in encode_response(response):
            message.reply_channel.send(reply)

    form = {"Cookie": "c=3", "Content-Type": "application/x-www-form-urlencoded"}
    with serving({"http.request": consumer}) as served:
        response = ask(served, "/a/?q=1", "POST", body=b"p=2", headers=form)
        assert (response.status, response.said) == (201, b"POST /a/ 1 2 3")
        assert (response.headers["x-a"], response.headers["set-cookie"]) == ("b", "kind=oatmeal; Path=/")


@pytest.mark.parametrize(
    ("response", "contents"),
    [
        (HttpResponse(b""), [b""]),
        (HttpResponse(LARGE), [LARGE[:CONTENT_BYTES], LARGE[:CONTENT_BYTES], b"x"]),
        (StreamingHttpResponse([b"a", b"b"]), [b"a", b"b", b""]),
        (StreamingHttpResponse([]), [b""]),
    ],
)
def test_a_response_as_messages(response: Any, contents: list[bytes]) -> None:
    messages = list(encode_response(response))
    assert [message["content"] for message in messages] == contents
    assert [message["more_content"] for message in messages] == [True] * (len(contents) - 1) + [False]
    assert [message.get("status") for message in messages] == [200] + [None] * (len(contents) - 1)


def test_an_asynchronous_stream_is_no_response_as_messages() -> None:
    async def stream():
        yield b"a"

    with pytest.raises(TypeError, match="asynchronous stream"):
        list(encode_response(StreamingHttpResponse(stream())))


def test_a_reply_channel_of_a_request_takes_no_text(caplog: pytest.LogCaptureFixture) -> None:
    def consumer(message):
        Channel(message.reply_channel.name).send({"text": "x"})

    with serving({"http.request": consumer}) as served:
        assert ask(served).status == 500
    assert "begins with a 'status'" in caplog.text
