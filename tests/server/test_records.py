"""What ``raceway serve`` logs is shown once, whatever the project has configured."""

from __future__ import annotations

from pathlib import Path
from signal import SIGTERM

import pytest

from tests.server.process import process

APPLICATION = """
import logging

{configure}


async def application(scope, receive, send):
    raise RuntimeError("no")
"""


@pytest.mark.parametrize(
    "configure", ["", "logging.basicConfig(format='of the root: %(message)s', level='INFO')"]
)
def test_each_record_is_shown_once(tmp_path: Path, configure: str) -> None:
    (tmp_path / "project.py").write_text(APPLICATION.format(configure=configure))
    with process(tmp_path, "project:application", "--port", "0") as server:
        server.ready()
        server.signal(SIGTERM)
        server.ended()
        lines = [line for line in server.rest_of_stderr() if "Stopped" in line]
    assert len(lines) == 1
    assert ("of the root" in lines[0]) == bool(configure)
