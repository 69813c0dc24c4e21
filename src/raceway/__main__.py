"""``python -m raceway`` is the command ``raceway``."""

from raceway.cli import main

main()
