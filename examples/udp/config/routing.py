from raceway.messaging import route

from lines.consumers import join, leave, udp_join, udp_line, udp_whisper, ws_line

channel_routing = [
    route("udp.receive", udp_join, data=r"^/join\s*$"),
    route("udp.receive", leave, data=r"^/leave\s*$"),
    route("udp.receive", udp_whisper, data=r"^/whisper (?P<line>.*)$"),
    route("udp.receive", udp_line),
    route("websocket.connect", join),
    route("websocket.receive", ws_line),
    route("websocket.disconnect", leave),
]
