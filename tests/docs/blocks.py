"""The pages of the documentation, and the fenced blocks in them with the files that they come from.

The line before a block says where it is from: ``<!-- file: path -->`` for a whole file, ``<!-- part: path -->`` for
some of its lines.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>file|part): (?P<file>\S+) -->\n)?"
    r"(?P<fence>```+)(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """``mark`` and ``file`` say where ``text`` is from; a block of commands comes from no file."""

    page: str
    language: str
    text: str
    mark: Literal["file", "part"] | None
    file: str | None


def pages() -> list[Path]:
    """Every page for readers; ``docs/design`` is for those who change Raceway."""
    folders = (".", "tutorial", "howto", "topics", "reference")
    return sorted(page for folder in folders for page in (DOCS / folder).glob("*.md"))


def blocks_of(page: Path) -> list[Block]:
    name = str(page.relative_to(ROOT))
    return [
        Block(name, match["language"], match["text"], match["mark"], match["file"])
        for match in BLOCK.finditer(page.read_text())
    ]


def commands_of(block: Block) -> list[str]:
    """The shell commands of a ``console`` block."""
    return [line.removeprefix("$ ") for line in block.text.splitlines()]
