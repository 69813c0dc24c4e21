"""The reference lists what there is, and names nothing that is not there."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from django.core.management.base import CommandParser

import tests.project  # noqa: F401  Django's settings
from raceway import checks, conf
from raceway.cli import serve
from raceway.layers.configured import options_of
from raceway.layers.local import LocalLayer
from raceway.layers.postgres import checks as postgres_checks
from raceway.management.commands import runworker
from raceway.wire import limits
from tests.docs.blocks import DOCS, pages
from tests.test_public_names import NAMES

REFERENCE = DOCS / "reference"
CELL = re.compile(r"^\| `(?P<name>[^`-][^`]*)`(?: \*)? \|", re.MULTILINE)
DIRECTIVE = re.compile(r"^\.\. auto(?:class|function|exception):: (?P<name>\S+)$", re.MULTILINE)
DOTTED = re.compile(r"`(?P<name>raceway(?:\.\w+)+)[`(]")

NO_PAGE = {"raceway.layers.local", "raceway.layers.memory", "raceway.middleware", "raceway.server"}
PAGES = {name.removeprefix("raceway."): name for name in NAMES if name not in NO_PAGE}
"""The public module of each page."""

ELSEWHERE = {"layers": {"Channel", "Group", "User"}}
"""Names that another page describes."""


def public_names(page: str) -> set[str]:
    return {name for name in NAMES[PAGES[page]] if not name.startswith("__")} - ELSEWHERE.get(page, set())


def resolve(name: str) -> Any:
    """What a dotted name stands for. Raises ``AttributeError`` or ``ImportError`` if nothing does."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise ImportError(name)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_lists_the_public_names(page: str) -> None:
    text = (REFERENCE / f"{page}.md").read_text()
    assert set(CELL.findall(text)) == public_names(page)


@pytest.mark.parametrize("page", PAGES)
def test_each_class_and_function_is_described(page: str) -> None:
    text = (REFERENCE / f"{page}.md").read_text()
    described = {name.rpartition(".")[2] for name in DIRECTIVE.findall(text)}
    assert described <= public_names(page)
    for name in public_names(page) - described:
        assert not inspect.isclass(resolve(f"{PAGES[page]}.{name}")), f"{name} is not described"
    for name in DIRECTIVE.findall(text):
        assert inspect.getdoc(resolve(name)), f"{name} has no docstring"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(DOCS)))
def test_dotted_names_exist(page: Path) -> None:
    for name in DOTTED.findall(page.read_text()):
        if not re.fullmatch(
            r"raceway\.[EW]\d{3}|raceway\.m?js|raceway\.toml|raceway\.connect|raceway\.gap", name
        ):
            resolve(name)


def test_the_settings_are_listed_with_their_defaults() -> None:
    text = (REFERENCE / "settings.md").read_text()
    for field in fields(conf.Settings):
        assert f"| `{field.name.upper()}` | `{field.default!r}` |" in text


def test_the_options_of_a_layer_are_listed() -> None:
    text = (DOCS / "topics/layers.md").read_text()
    assert {*CELL.findall(text), "clock"} == options_of(LocalLayer)


def test_the_bounds_are_what_the_page_says() -> None:
    text = (DOCS / "topics/slow-clients.md").read_text()
    assert f"be {limits.UNAWAITED_BYTES // limits.MIB} MiB ahead" in text
    assert f"({limits.OWN_BYTES // limits.MIB} MiB on other servers" in text
    assert f"up to {limits.PUSHED_BYTES // limits.KIB} KiB of pushes" in text


def test_the_checks_are_listed() -> None:
    text = (REFERENCE / "settings.md").read_text()
    source = inspect.getsource(checks) + inspect.getsource(postgres_checks)
    ids = set(re.findall(r'id="(raceway\.[EW]\d+)"', source))
    assert {name for name in CELL.findall(text) if name.startswith("raceway.")} == ids


def option_rows() -> list[str]:
    """The table of ``raceway serve``'s options, from the command itself."""
    rows = []
    for option in serve.params:
        if not isinstance(option, click.Option):
            continue
        names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
        default = option.default if isinstance(option.default, str | int | float) else ""
        if default is True or default is False:
            default = "on" if default else "off"
        elif isinstance(default, float):
            default = f"{default:g} s"
        rows.append(f"| {names} | {default} | {option.help} |")
    return rows


def test_the_options_of_serve_are_listed() -> None:
    text = (REFERENCE / "serve.md").read_text()
    listed = [line for line in text.splitlines() if line.startswith("| `--")]
    assert listed == option_rows(), "docs/reference/serve.md wants these rows:\n" + "\n".join(option_rows())


def test_the_options_of_runworker_are_listed() -> None:
    parser = CommandParser()
    runworker.Command().add_arguments(parser)
    rows = [
        f"| {', '.join(f'`{name}`' for name in action.option_strings)} | {action.help} |"
        for action in parser._actions
        if action.option_strings and "--help" not in action.option_strings
    ]
    text = (REFERENCE / "workers.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("| `--")] == rows
