"""What Raceway logs, shown on the terminal to those who have configured no logging."""

from __future__ import annotations

import logging

FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


class OwnRecords(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to stderr, unless the root logger has handlers: then they write, and this would say it twice."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)


def show_records(level: str, who: str = "") -> None:
    """Show records of ``level`` and above; only Raceway's: what others log is for them to configure.

    ``who`` stands before each text: which of several processes says it.
    """
    handler = OwnRecords()
    handler.setFormatter(
        logging.Formatter(FORMAT.replace("%(message)s", f"{who}%(message)s"), "%Y-%m-%d %H:%M:%S")
    )
    logger = logging.getLogger("raceway")
    logger.addHandler(handler)
    logger.setLevel(level.upper())
