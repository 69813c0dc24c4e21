from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from raceway.messaging import Message, Router, ViewConsumer, WebsocketConsumer, include, route, route_class
from raceway.messaging.routing import do_nothing


def consumer(message, **kwargs):
    pass


def other(message, **kwargs):
    pass


class Socket(WebsocketConsumer):
    pass


def message(channel: str = "websocket.receive", **content: Any) -> Message:
    return Message(content, channel)


def match(routing: Any, *args: Any, **content: Any) -> Any:
    return Router(routing).match(message(*args, **content))


class TestRoute:
    def test_channel(self) -> None:
        routes = [route("websocket.connect", consumer), route(["a", "b"], other)]
        assert match(routes, "websocket.connect") == (consumer, {})
        assert match(routes, "b") == (other, {})
        assert match(routes, "c") is None
        assert Router(routes).channels == {"websocket.connect", "a", "b"}

    def test_the_first_that_matches_counts(self) -> None:
        assert match([route("a", consumer), route("a", other)], "a") == (consumer, {})

    def test_filters_match_the_beginning_and_capture(self) -> None:
        routes = [route("websocket.receive", consumer, path=r"^/chat/(?P<room>\w+)/")]
        assert match(routes, path="/chat/lobby/more") == (consumer, {"room": "lobby"})
        assert match(routes, path="/other/chat/lobby/") is None

    def test_all_filters_have_to_match(self) -> None:
        routes = [route("http.request", consumer, method=r"^POST$", path=r"^/x/$")]
        assert match(routes, "http.request", method="POST", path="/x/") == (consumer, {})
        assert match(routes, "http.request", method="GET", path="/x/") is None
        assert match(routes, "http.request", method="POST", path="/y/") is None

    @pytest.mark.parametrize("kind", [b"(?P<key>v.+)", "(?P<key>v.+)"])
    @pytest.mark.parametrize("value", [b"value", "value"])
    def test_any_key_with_text_or_bytes_can_be_a_filter(self, kind: str | bytes, value: str | bytes) -> None:
        assert match([route("mail", consumer, address=kind)], "mail", address=value) == (
            consumer,
            {"key": "value"},
        )

    @pytest.mark.parametrize("content", [{}, {"address": None}, {"address": 5}])
    def test_what_is_no_text_does_not_match(self, content: dict[str, Any]) -> None:
        assert match([route("mail", consumer, address=".*")], "mail", **content) is None

    def test_a_group_without_a_name_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"without a name: write \(\?P<name>"):
            route("x", consumer, path=r"^/(\w+)/")

    def test_a_group_that_captures_nothing_is_none(self) -> None:
        assert match([route("x", consumer, path=r"^/(?P<a>a)?")], "x", path="/") == (consumer, {"a": None})

    def test_dotted(self) -> None:
        assert match([route("x", "tests.messaging.test_routing.consumer")], "x") == (consumer, {})

    @pytest.mark.parametrize("name", ["tests.nowhere.consumer", "tests.messaging.test_routing.nothing", "x"])
    def test_a_name_that_cannot_be_imported(self, name: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=name):
            route("x", name)

    def test_what_cannot_be_called(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="5 is no consumer"):
            route("x", 5)  # type: ignore[arg-type]


class TestRouteClass:
    def test_channels_are_those_of_the_class(self) -> None:
        routes = [route_class(Socket, path="^/chat")]
        for channel in ("websocket.connect", "websocket.receive", "websocket.disconnect"):
            assert match(routes, channel, path="/chat") == (Socket, {})
        assert match(routes, "websocket.connect", path="/other") is None

    def test_dotted(self) -> None:
        assert match([route_class("tests.messaging.test_routing.Socket")]) == (Socket, {})

    def test_a_class_that_does_not_say(self) -> None:
        with pytest.raises(ValueError, match="does not say its channels"):
            route_class(consumer)

    def test_as_route_is_the_same(self) -> None:
        assert match([Socket.as_route(path=r"^/(?P<name>\w+)")], path="/x") == (Socket, {"name": "x"})

    def test_as_route_with_attributes(self) -> None:
        found, _ = match([Socket.as_route({"groups": ["news"]})])
        assert issubclass(found, Socket)
        assert (found.groups, Socket.groups, found.__name__) == (["news"], None, "Socket")


class TestInclude:
    inner = [route("websocket.receive", consumer, path=r"^/(?P<room>\w+)$")]

    def test_what_has_matched_is_taken_off(self) -> None:
        assert match([include(self.inner, path=r"^/chat")], path="/chat/lobby") == (
            consumer,
            {"room": "lobby"},
        )
        assert match([include(self.inner, path=r"^/chat")], path="/lobby") is None

    def test_the_consumer_gets_the_whole_message(self) -> None:
        said = message(path="/chat/lobby")
        assert Router([include(self.inner, path=r"^/chat")]).match(said) is not None
        assert said["path"] == "/chat/lobby"

    def test_depth(self) -> None:
        routing: Any = self.inner
        for name in ("c", "b", "a"):
            routing = [include(routing, path=rf"^/{name}")]
        assert match(routing, path="/a/b/c/lobby") == (consumer, {"room": "lobby"})
        assert match(routing, path="/a/b/lobby") is None

    def test_captures_merge_and_the_inner_wins(self) -> None:
        inner = [route("websocket.receive", consumer, path=r"^/(?P<name>\w+)$")]
        routing = [include(inner, path=r"^/(?P<name>\w+)/(?P<area>\w+)")]
        assert match(routing, path="/outer/area/inner") == (consumer, {"name": "inner", "area": "area"})

    def test_without_filters(self) -> None:
        assert match([include(self.inner)], path="/lobby") == (consumer, {"room": "lobby"})

    def test_the_next_route_is_tried(self) -> None:
        routing = [include(self.inner, path="^/chat"), route("websocket.receive", other)]
        assert match(routing, path="/chat/not/here") == (other, {})

    def test_channels(self) -> None:
        assert Router([include(self.inner), route("x", other)]).channels == {"websocket.receive", "x"}


class TestRouting:
    def test_dict(self) -> None:
        routing = {"websocket.connect": consumer, "x": "tests.messaging.test_routing.other"}
        assert match(routing, "websocket.connect") == (consumer, {})
        assert match(routing, "x") == (other, {})

    def test_dotted_list_dict_and_module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module = ModuleType("some_routing")
        module.channel_routing = [route("x", consumer)]  # type: ignore[attr-defined]
        module.other = {"x": other}  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "some_routing", module)
        assert match("some_routing.channel_routing", "x") == (consumer, {})
        assert match("some_routing.other", "x") == (other, {})
        assert match([include("some_routing.other")], "x") == (other, {})
        with pytest.raises(ImproperlyConfigured, match=r"'some_routing.nothing' cannot be imported"):
            Router("some_routing.nothing")

    def test_a_module_by_itself(self) -> None:
        for _ in ("not imported yet", "imported"):
            routing = include("tests.messaging.routing_of_slide_003")
            assert match([routing], "websocket.connect", path="/chat")
        with pytest.raises(ImproperlyConfigured, match=r"'tests\.messaging' has no channel_routing"):
            Router("tests.messaging")

    def test_anything_with_the_two_methods_is_a_route(self) -> None:
        class Own:
            def match(self, message):
                return consumer, {"said": message["text"]}

            def channel_names(self):
                return {"x"}

        assert match([Own()], "x", text="t") == (consumer, {"said": "t"})
        assert Router([Own()]).channels == {"x"}

    def test_what_is_no_route(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="is no route"):
            Router([consumer])  # type: ignore[list-item]

    def test_added(self) -> None:
        router = Router([])
        router.add_route(route("x", consumer))
        assert router.match(message("x")) == (consumer, {})

    def test_defaults(self) -> None:
        router = Router([route("websocket.receive", consumer)])
        assert router.match(message("websocket.connect")) is None
        router.check_default()
        assert router.match(message("http.request")) == (ViewConsumer, {})
        assert router.match(message("websocket.connect")) == (do_nothing, {})
        assert router.match(message("websocket.receive")) == (consumer, {})
        assert router.match(message("thumbnail")) is None

    def test_a_default_of_ones_own(self) -> None:
        router = Router([])
        router.check_default(http_consumer=other)
        assert router.match(message("http.request")) == (other, {})
