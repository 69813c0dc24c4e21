"""``python -m benchmarks.commits PORT COUNT``: send in database transactions what a WebSocket at PORT gets.

One text after the other to the group "room", each in a transaction of its own; prints as JSON the milliseconds from
before the COMMIT until the socket has it.
"""

from __future__ import annotations

import json
import random
import sys
import time

from websockets.sync.client import connect

from benchmarks.project.layer import ROOM

PAUSE_S = 0.02
"""At most so long after a text has arrived: not in step with anything that the layer does from time to time."""


def main(port: int, count: int) -> list[float]:
    from django.db import transaction

    from raceway import Group

    took_ms = []
    with connect(f"ws://127.0.0.1:{port}/room/") as socket:
        socket.send("message")
        socket.recv(10)  # it is a member
        for number in range(count):
            time.sleep(random.random() * PAUSE_S)
            with transaction.atomic():
                Group(ROOM).broadcast(f"{number}")
                began = time.perf_counter()
            if socket.recv(10) != f"{number}":
                raise RuntimeError("another text arrived")
            took_ms.append((time.perf_counter() - began) * 1e3)
    return took_ms


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:]))))
