"""Feed random client frames, right, wrong and damaged, to the WebSocket engine and to the ``websockets`` library.

    python fuzz/websocket.py --seconds 600 [--seed 1]

Ends with status 1 at the first stream on which they disagree, after printing it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.wire.websocket_client import CONTINUATION, FIN, RSV1, client_frame, close_payload
from tests.wire.websocket_oracle import disagreement

from raceway.wire.websocket.deflate import compress, negotiate

MAX_BYTES = 70_000
SIZES = (0, 0, 1, 2, 5, 30, 125, 126, 127, 1000, 65535, 65536, MAX_BYTES, MAX_BYTES + 1)
CODES = (1000, 1001, 1004, 1005, 1006, 1007, 1012, 1014, 1015, 2999, 3000, 4999, 5000)
TEXT = "plain κόσμε größe \U0001f3c1 "


def random_payload(rng: random.Random) -> bytes:
    size = rng.choice(SIZES) if rng.random() < 0.2 else rng.randrange(60)
    match rng.randrange(4):
        case 0:
            return rng.randbytes(size)
        case 1:
            return (TEXT * (size // len(TEXT) + 1))[:size].encode()
        case 2:
            return (TEXT.encode() * (size // len(TEXT) + 1))[:size]
    return b"x" * size


def random_control_frame(rng: random.Random) -> bytes:
    match rng.randrange(12):
        case 0:
            payload = close_payload(rng.choice(CODES), rng.choice(("", "reason", "größe")))
            return client_frame(FIN | 0x08, payload[: rng.choice((1, 2, 3, 99, 99, 99))])
        case 1:
            return client_frame(FIN | 0x08)
    return client_frame(FIN | rng.choice((0x09, 0x0A)), rng.randbytes(rng.choice((0, 4, 125))))


def random_message(rng: random.Random, deflate: bool) -> bytes:
    payload, first = random_payload(rng), rng.choice((0x01, 0x02))
    if deflate and rng.random() < 0.6:
        payload, first = compress(payload, rng.randrange(9, 16)), first | RSV1
    edges = sorted(rng.randrange(len(payload) + 1) for _ in range(rng.choice((0, 0, 1, 3))))
    stream = b""
    for number, (begin, end) in enumerate(zip([0, *edges], [*edges, len(payload)], strict=True)):
        last = number == len(edges)
        stream += client_frame(
            (FIN if last else 0) | (CONTINUATION if number else first),
            payload[begin:end],
            mask=rng.randbytes(4),
        )
        if not last and rng.random() < 0.3:
            stream += random_control_frame(rng)
    return stream


def random_odd_frame(rng: random.Random) -> bytes:
    return client_frame(
        rng.choice((rng.randrange(256), FIN | RSV1 | rng.randrange(16))),
        compress(random_payload(rng), 15) if rng.random() < 0.5 else random_payload(rng),
        mask=rng.choice((None, rng.randbytes(4), rng.randbytes(4))),
        length_octets=rng.choice((None, None, 8)),
    )


def random_stream(rng: random.Random, deflate: bool) -> bytes:
    stream = bytearray()
    for _ in range(rng.randrange(6)):
        match rng.randrange(10):
            case 0:
                stream += random_odd_frame(rng)
            case 1 | 2:
                stream += random_control_frame(rng)
            case _:
                stream += random_message(rng, deflate)
    for _ in range(rng.choice((0, 0, 1, 2)) if stream else 0):
        stream[rng.randrange(min(len(stream), rng.choice((10, 1000, len(stream)))))] ^= rng.randrange(256)
    return bytes(stream[: rng.choice((len(stream), len(stream), rng.randrange(len(stream) + 1)))])


def random_cuts(rng: random.Random, size: int) -> list[int]:
    if size < 2000 and rng.random() < 0.2:
        return list(range(size))
    return [rng.randrange(size + 1) for _ in range(rng.choice((0, 1, 2, 9, 99)))]


def random_offers(rng: random.Random) -> str:
    words = (
        "permessage-deflate",
        "server_max_window_bits",
        "client_max_window_bits",
        "=",
        ";",
        ",",
        " ",
        '"',
        "8",
        "15",
    )
    return "".join(rng.choice(words) for _ in range(rng.randrange(15)))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    rng = random.Random(seed)
    deadline = time.monotonic() + options.seconds
    streams = 0
    while time.monotonic() < deadline:
        deflate = rng.random() < 0.5
        stream = random_stream(rng, deflate)
        cuts = random_cuts(rng, len(stream))
        why = disagreement(stream, cuts, MAX_BYTES, deflate)
        if why is not None:
            print(
                f"seed {seed}, stream {streams}, deflate {deflate}, cuts {cuts}\n{stream[:2000]!r}\n{why[:4000]}"
            )
            return 1
        negotiate(random_offers(rng))
        streams += 1
    print(f"seed {seed}: {streams} streams, no disagreement")
    return 0


if __name__ == "__main__":
    sys.exit(main())
