"""What the layers say that need more than Raceway itself does."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest


@pytest.mark.parametrize(("layer", "library"), [("redis", "hiredis"), ("postgres", "psycopg")])
def test_a_layer_whose_library_is_missing_says_what_to_install(
    layer: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"raceway.layers.{layer}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf'needs {library}: pip install "raceway\[{layer}\]"'):
        import_module(name)
