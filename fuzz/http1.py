"""Feed the HTTP/1.1 reader with mutated requests until it breaks a promise: ``python -m fuzz.http1 [--seconds N]``.

The promises are those of ``tests.wire.http1_properties``: nothing is raised, the order of events is right, a violation
is last, cuts do not matter, little is held, and llhttp agrees on every body. Prints the input that breaks one and how
to repeat it, and exits with 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback

from tests.wire.http1_corpus import INVALID, INVALID_BODIES, VALID
from tests.wire.http1_properties import check

CORPUS = [data for table in (VALID, INVALID, INVALID_BODIES) for data, _ in table.values()]
LINES = sorted({line + b"\r\n" for data in CORPUS for line in data.split(b"\r\n") if len(line) < 100})
BYTES = b'\r\n\r\n\t  :;,="\\/?#%@[]*\0\x0b\x0c\x7f\x80\x85\xff0123aAfFgGzZ'
LONGEST_BYTES = 1500


def make(chance: random.Random) -> bytes:
    """Join a few requests and spoil them a little."""
    data = b"".join(chance.choices(CORPUS, k=chance.choice((1, 1, 1, 2, 3))))
    for _ in range(chance.choice((0, 1, 1, 2, 3, 8))):
        position = chance.randrange(len(data) + 1)
        kind = chance.randrange(6)
        if kind == 0:
            data = data[:position] + bytes(chance.choices(BYTES, k=chance.randint(1, 3))) + data[position:]
        elif kind == 1:
            data = data[:position] + data[position + chance.randint(1, 4) :]
        elif kind == 2:
            data = data[:position] + bytes(chance.choices(BYTES, k=1)) + data[position + 1 :]
        elif kind == 3:
            data = data[:position] + chance.choice(LINES) + data[position:]
        elif kind == 4:
            line_begin = data.rfind(b"\n", 0, position) + 1
            data = data[:line_begin] + chance.choice(LINES) + data[line_begin:]
        else:
            end = position + chance.randint(1, 40)
            data = data[:end] + data[position:end] * chance.randint(1, 3) + data[end:]
    return data[:LONGEST_BYTES]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="stop after so long (default: never)"
    )
    parser.add_argument("--seed", type=int, default=None, help="repeat a run")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    until = time.monotonic() + options.seconds
    tried = 0
    while time.monotonic() < until:
        data = make(chance)
        cuts = [chance.randrange(len(data) + 1) for _ in range(chance.randrange(4))]
        try:
            check(data, cuts)
        except Exception:
            traceback.print_exc()
            print(f"seed {seed}, input {tried}:\ncheck({data!r}, {cuts})", file=sys.stderr)
            return 1
        tried += 1
    print(f"seed {seed}: {tried} inputs kept every promise")
    return 0


if __name__ == "__main__":
    sys.exit(main())
