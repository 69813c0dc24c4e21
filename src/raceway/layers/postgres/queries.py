"""The statements of ``queries.sql`` by their names."""

from __future__ import annotations

from importlib.resources import files
from typing import Final


def parse(text: str) -> dict[str, str]:
    """Each statement under its heading, ``-- name: what it is for``."""
    statements: dict[str, list[str]] = {}
    name = None
    for line in text.splitlines():
        if line.startswith("-- "):
            heading, colon, _ = line.removeprefix("-- ").partition(": ")
            if colon and heading.isidentifier():
                name = heading
                statements[name] = []
        elif name is not None:
            statements[name].append(line)
    return {name: "\n".join(lines).strip() for name, lines in statements.items()}


ONE_CHANNEL: Final = "channel = %(channel)s"
BY_PREFIX: Final = "channel >= %(low)s AND channel < %(high)s"


def variants(statements: dict[str, str]) -> dict[str, str]:
    """The statements, and those that differ in one word."""
    turn = statements.pop("turn")
    pop, figures = statements.pop("pop"), statements.pop("figures")
    return {
        **statements,
        "turn": turn.replace("{lock}", "FOR UPDATE SKIP LOCKED"),
        "turn_for_sure": turn.replace("{lock}", "FOR UPDATE"),
        "pop": pop.replace("{channels}", ONE_CHANNEL),
        "pop_by_prefix": pop.replace("{channels}", BY_PREFIX),
        "figures": figures.replace("{channels}", ONE_CHANNEL),
        "figures_by_prefix": figures.replace("{channels}", BY_PREFIX),
    }


QUERIES: Final = {
    name: statement.encode()
    for name, statement in variants(
        parse(files(__package__).joinpath("queries.sql").read_text("utf-8"))
    ).items()
}
