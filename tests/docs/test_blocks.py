"""Every block of code in the documentation is in a file that a test runs, and every link leads somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, ROOT, Block, blocks_of, pages

BLOCKS = [block for page in pages() for block in blocks_of(page)]
QUOTED = [block for block in BLOCKS if block.file is not None]
REST = [block for block in BLOCKS if block.file is None]

LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#+ +(?P<text>.+)$", re.MULTILINE)


def name_of(block: Block) -> str:
    return f"{block.page}: {block.text.splitlines()[0][:40]}"


def test_there_are_blocks() -> None:
    assert len(QUOTED) > 30


@pytest.mark.parametrize("block", QUOTED, ids=name_of)
def test_a_block_is_what_its_file_says(block: Block) -> None:
    assert block.file is not None
    text = (ROOT / block.file).read_text()
    if block.mark == "file":
        assert block.text == text
    else:
        lines = block.text.rstrip("\n")
        assert f"\n{lines}\n" in f"\n{text}\n", f"{block.file} does not have these lines"


@pytest.mark.parametrize("block", REST, ids=name_of)
def test_only_commands_and_directives_come_from_no_file(block: Block) -> None:
    if block.language == "{eval-rst}":
        assert block.page.startswith("docs/reference/")
        assert block.text.startswith(".. ")
    else:
        assert block.language == "console", "name the file of this block in a comment on the line before it"
        assert all(line.startswith("$ ") for line in block.text.splitlines())


def test_every_fence_is_a_block() -> None:
    """What the pattern misses would not be looked at."""
    for page in pages():
        fences = re.findall(r"^\s*```+", page.read_text(), re.MULTILINE)
        assert len(fences) == 2 * len(blocks_of(page)), (
            f"{page} has a block that is not at the start of a line"
        )


def exercised() -> set[str]:
    """The files that the modules beside this one, and those with a browser, say they run, in ``FILES``."""
    found: set[str] = set()
    for module in [*(ROOT / "tests/docs").glob("test_*.py"), *(ROOT / "tests/browser").glob("test_*.py")]:
        for node in ast.parse(module.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FILES":
                found.update(ast.literal_eval(node.value))
    return found


def test_every_quoted_file_is_run_by_a_test() -> None:
    assert {block.file for block in QUOTED} - exercised() == set()
    assert {file for file in exercised() if not (ROOT / file).is_file()} == set()


def test_every_snippet_is_quoted_or_needed() -> None:
    """A file of ``docs/snippets`` that no page shows and no test names is left over."""
    files = {
        str(path.relative_to(ROOT))
        for path in (DOCS / "snippets").rglob("*.py")
        if path.stat().st_size and "__pycache__" not in path.parts
    }
    assert files - exercised() == set()


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and MyST make it."""
    text = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return text.strip().replace(" ", "-")


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page: Path) -> None:
    text = BLOCK_TEXT.sub("", page.read_text())
    for match in LINK.finditer(text):
        target, _, anchor = match["target"].partition("#")
        if target.startswith(("https://", "http://")):
            continue
        found = (page.parent / target).resolve() if target else page
        assert found.is_file(), f"{match[0]} leads to no file"
        assert found.is_relative_to(ROOT)
        if anchor:
            anchors = {slug(heading["text"]) for heading in HEADING.finditer(found.read_text())}
            assert anchor in anchors, f"{match[0]} leads to no heading"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(DOCS)))
def test_a_reader_finds_the_page(page: Path) -> None:
    """Some other page links to it."""
    if page == DOCS / "index.md":
        return
    targets = {
        (other.parent / match["target"].partition("#")[0]).resolve()
        for other in pages()
        if other != page
        for match in LINK.finditer(other.read_text())
    }
    assert page.resolve() in targets


BLOCK_TEXT = re.compile(r"^(```+).*?^\1$", re.MULTILINE | re.DOTALL)
