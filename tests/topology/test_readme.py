"""What README.md shows runs as it is pasted."""

from __future__ import annotations

import json
import re
from pathlib import Path

from websockets.sync.client import connect

from tests.server.process import process

README = Path(__file__).parents[2] / "README.md"

WAIT_S = 10.0


def test_the_first_consumer_runs_as_pasted(tmp_path: Path) -> None:
    text = README.read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    command = re.search(r"`raceway serve (chat:\w+)`", text)
    assert code is not None
    assert command is not None
    (tmp_path / "chat.py").write_text(code[1])
    no_project = {"DJANGO_SETTINGS_MODULE": ""}  # other tests of this run may have set one
    with process(tmp_path, command[1], "--port", "0", environ=no_project) as server:
        uri = f"ws://127.0.0.1:{server.ready().port}"
        with connect(uri) as leela, connect(uri) as fry:
            for text in ("hello", "bye"):
                leela.send(json.dumps({"text": text}))
                for client in (leela, fry):
                    assert json.loads(client.recv(WAIT_S)) == {"text": text}
