"""The committed build of the browser client is the build of the committed source; told without node."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "client"
BUILD = ROOT / "src/raceway/static/raceway"
FILES = ["raceway.js", "raceway.mjs"]
BANNER = re.compile(r"/\*! raceway (\S+), .* client/src sha256:(\w{64}) body sha256:(\w{64}) \*/\n")

node_tools = pytest.mark.skipif(
    shutil.which("node") is None or not (CLIENT / "node_modules").is_dir(),
    reason="it needs node and, in client/, npm install",
)


def source_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted((CLIENT / "src").iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@pytest.mark.parametrize("name", FILES)
def test_the_build_belongs_to_the_source_and_was_not_edited(name: str) -> None:
    text = (BUILD / name).read_bytes().decode()
    banner = BANNER.match(text)
    assert banner is not None
    assert banner[2] == source_digest(), "run `npm run build` in client/ and commit the result"
    assert banner[3] == hashlib.sha256(text[banner.end() :].encode()).hexdigest()


@node_tools
@pytest.mark.topology
def test_building_again_makes_the_same_files(tmp_path: Path) -> None:
    subprocess.run(["node", "build.mjs", tmp_path], cwd=CLIENT, check=True)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (BUILD / name).read_bytes()


@node_tools
@pytest.mark.topology
@pytest.mark.parametrize("script", ["types", "test"])
def test_the_client_keeps_its_types_and_passes_its_own_tests(script: str) -> None:
    done = subprocess.run(["npm", "run", script], cwd=CLIENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
