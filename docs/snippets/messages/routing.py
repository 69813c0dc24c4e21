from raceway.messaging import include, route

from messages.consumers import Sketch, Streams, connect, receive, report

chat = [
    route("websocket.connect", connect, path=r"^/(?P<room>\w+)/$"),
    route("websocket.receive", receive, path=r"^/(?P<room>\w+)/$"),
]

channel_routing = [
    include(chat, path=r"^/chat"),
    Sketch.as_route(path=r"^/draw/$"),
    Streams.as_route(path=r"^/streams/$"),
    route("http.request", report, method=r"^POST$", path=r"^/report/$"),
    route("log", "messages.consumers.write_down"),
]
