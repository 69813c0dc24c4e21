"""How a failed assertion reads: what was expected, what came instead, and where they differ."""

from __future__ import annotations

from difflib import ndiff
from pprint import pformat
from typing import Any, Final

from raceway.json import decode_json, encode_json
from raceway.types import Event

LINE: Final = 100
"""The longest value that is shown on one line."""


class NothingCame(AssertionError, TimeoutError):
    """What a test waited for did not come. A failed assertion to test runners; also a ``TimeoutError``."""


def difference(expected: object, received: object) -> str:
    """``received`` and ``expected``; line by line where they have several."""
    before, after = repr(expected), repr(received)
    if max(len(before), len(after)) <= LINE:
        return f"expected: {before}\nreceived: {after}"
    lines = ndiff(pformat(expected, width=1).splitlines(), pformat(received, width=1).splitlines())
    return "- expected\n+ received\n\n" + "\n".join(line.rstrip() for line in lines)


def is_same_json(expected: Any, received: Any) -> bool:
    """Whether ``received``, from a client's JSON, is ``expected``, which may hold what JSON writes in its own way:
    dates, ``Decimal``, tuples ..."""
    if is_same(expected, received):
        return True
    try:
        return is_same(decode_json(encode_json(expected)), received)
    except TypeError:  # mock.ANY, for one
        return False


def is_same(expected: Any, received: Any) -> bool:
    """Whether they are equal; for Python ``True`` is 1, for who reads a message it is not."""
    if isinstance(expected, dict) and isinstance(received, dict):
        return expected.keys() == received.keys() and all(
            is_same(value, received[key]) for key, value in expected.items()
        )
    if isinstance(expected, list) and isinstance(received, list):
        return len(expected) == len(received) and all(map(is_same, expected, received))
    if isinstance(expected, int | float) and isinstance(received, int | float):
        return expected == received and isinstance(expected, bool) == isinstance(received, bool)
    return bool(expected == received)


def is_json_of(expected: Any, text: str) -> bool:
    """Whether ``text`` is JSON, and says ``expected``."""
    try:
        return is_same_json(expected, decode_json(text))
    except ValueError:
        return False


def describe(event: Event) -> str:
    """What the application did, as the end of a sentence that begins with "but"."""
    kind = event["type"]
    if kind == "websocket.send":
        text = event.get("text")
        return f"this came: {event.get('bytes') if text is None else text!r}"
    if kind == "websocket.close":
        reason = event.get("reason")
        return f"the application closed the socket with {event.get('code', 1000)}" + (
            f" ({reason})" if reason else ""
        )
    if kind.endswith("http.response.start"):
        return f"the application answered {event['status']}"
    return f"the application sent {event!r}"
