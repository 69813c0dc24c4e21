"""An environment with other people's servers and layers beside Raceway, made from PyPI once and then kept."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / "tests" / ".env-interop"
PYTHON = ENVIRONMENT / "bin" / "python"
COMPLETE = ENVIRONMENT / ".installed"

REQUIREMENTS = (
    "channels>=4.3,<4.4",
    "channels_redis>=4.3,<4.4",
    "daphne>=4.2,<5",
    "granian>=2",
    "hypercorn>=0.17",
    "starlette>=0.40",
    "uvicorn[standard]>=0.30",
)
EXTRAS = ("encryption", "postgres", "redis")
"""Of Raceway, for its own layers under other people's consumers."""

INSTALL_TIMEOUT_S = 600.0


class NotInstalled(Exception):
    """The environment could not be made; the text says why."""


def install() -> None:
    """Make the environment, unless it is complete. Raises ``NotInstalled``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [library for extra in EXTRAS for library in project["optional-dependencies"][extra]]
    wanted = "\n".join([sys.version, *REQUIREMENTS, *project["dependencies"], *extras])
    if COMPLETE.exists() and COMPLETE.read_text() == wanted:
        return
    run(sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT))
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--editable", f"{ROOT}[{','.join(EXTRAS)}]", *REQUIREMENTS)
    COMPLETE.write_text(wanted)


def run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, stderr=subprocess.PIPE, text=True, check=False, timeout=INSTALL_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"{' '.join(command[:4])} ... took more than {INSTALL_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        raise NotInstalled(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "pip failed")
