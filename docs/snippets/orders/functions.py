async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def raw(scope, receive, send):
    """A plain ASGI application."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": scope["path"]})
    await send({"type": "websocket.close"})
