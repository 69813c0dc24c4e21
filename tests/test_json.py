from __future__ import annotations

import datetime
import json
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

import tests.project  # noqa: F401  Django's settings
from raceway.json import MAX_DEPTH, decode_json, encode_json


@pytest.mark.parametrize(
    ("value", "read_back"),
    [
        ({"a": [1, 2.5, None, True, "ü"]}, {"a": [1, 2.5, None, True, "ü"]}),
        ({1: "leela", None: 0}, {"1": "leela", "null": 0}),
        (Decimal("1.20"), "1.20"),
        (datetime.timedelta(days=1, seconds=2), "P1DT00H00M02S"),
        (datetime.datetime(2020, 1, 2, 3, tzinfo=datetime.UTC), "2020-01-02T03:00:00+00:00"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ({"lazy": gettext_lazy("hello")}, {"lazy": "hello"}),
        ({"safe": mark_safe("<b>")}, {"safe": "<b>"}),
        ({7}, [7]),
        (frozenset("x"), ["x"]),
        ((1, (2,)), [1, [2]]),
    ],
)
def test_what_can_be_written(value: Any, read_back: Any) -> None:
    assert json.loads(encode_json(value)) == read_back


@pytest.mark.parametrize("value", [object(), {"a": [b"bytes"]}, {(1, 2): 3}, 2**70, "\ud800"])
def test_what_cannot(value: Any) -> None:
    with pytest.raises(TypeError):
        encode_json(value)


def test_reading() -> None:
    assert decode_json('{"a": [1]}') == {"a": [1]}
    for bad in ("", "{", "NaN", "[1,]", "01"):
        with pytest.raises(ValueError, match=r"\w"):
            decode_json(bad)


@pytest.mark.parametrize(
    "nest", [lambda inner: [inner], lambda inner: {"a": inner}], ids=["lists", "objects"]
)
def test_what_is_read_can_be_written(nest: Any) -> None:
    """``orjson`` reads deeper than it writes: a client must not be able to have others fail at that."""
    deep: Any = 0
    for _ in range(MAX_DEPTH):
        deep = nest(deep)
    text = encode_json(deep)
    assert decode_json(text) == deep
    assert encode_json({"type": "chat", "data": [decode_json(text.decode())]})
    deeper = text.replace(b"0", b"[0]")
    for too_deep in (deeper, deeper.decode()):
        with pytest.raises(ValueError, match="nested deeper than 200"):
            decode_json(too_deep)


def test_brackets_in_text_are_not_depth() -> None:
    assert decode_json('"' + "[" * 1000 + '"') == "[" * 1000
    assert decode_json("[" + "[]," * 1000 + "[]]") == [[]] * 1001
