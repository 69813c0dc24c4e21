channel_routing = {
    "websocket.connect": "blog.consumers.connect",
    "websocket.disconnect": "blog.consumers.disconnect",
    "new-liveblog": "blog.consumers.newpost",
}
