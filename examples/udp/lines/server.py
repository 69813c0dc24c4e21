"""A protocol server for lines over UDP (IPv4). A datagram becomes a message to the channel ``udp.receive``; what is
sent to the message's reply channel becomes a datagram to the client. It knows no consumers, and they need not know it.
"""

import asyncio
import logging
import secrets

from raceway import Channel, get_channel_layer
from raceway.errors import ChannelFull, LayerUnavailable

logger = logging.getLogger("lines")
WAITING = 1000
"""Datagrams that may wait here; more are lost, as UDP loses them."""


class Lines(asyncio.DatagramProtocol):
    def __init__(self):
        self.replies = f"udp.send.{secrets.token_hex(6)}!"  # and behind it, where the client is
        self.datagrams = asyncio.Queue(WAITING)
        self.lost_count = 0

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, client):
        if self.datagrams.full():
            self.lose(f"{WAITING} wait already.")
        else:
            self.datagrams.put_nowait((data, client))

    def lose(self, reason):
        self.lost_count += 1
        if self.lost_count.bit_count() == 1:  # of a flood the log hears at 1, 2, 4, 8 ...
            logger.warning("%d datagrams are lost, the last: %s", self.lost_count, reason)

    error_received = lose  # one was too long to be sent

    async def hear(self):
        server = list(self.transport.get_extra_info("sockname"))
        while True:
            data, (host, port) = await self.datagrams.get()
            name = f"{self.replies}{host}_{port}"
            message = {"reply_channel": name, "data": data, "client": [host, port], "server": server}
            try:
                await Channel("udp.receive").asend(message)
            except (ChannelFull, LayerUnavailable) as error:
                self.lose(error)

    async def answer(self):
        while True:
            try:
                message = await get_channel_layer().receive(self.replies)
            except LayerUnavailable as error:
                logger.warning("Nobody can be answered: %s", error)
                await asyncio.sleep(1)
                continue
            host, _, port = message["__asgi_channel__"].removeprefix(self.replies).rpartition("_")
            data = message["text"].encode() if "text" in message else message.get("data")
            if data is not None:
                self.transport.sendto(data, (host, int(port)))


async def serve(host, port):
    loop = asyncio.get_running_loop()
    transport, lines = await loop.create_datagram_endpoint(Lines, (host, port))
    logger.info("Serving lines on udp://%s:%d", *transport.get_extra_info("sockname"))
    await asyncio.gather(lines.hear(), lines.answer())
