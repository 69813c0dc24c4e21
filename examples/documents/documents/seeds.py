"""What the demo begins with: who may log in, and what there is to read."""

import tomllib
from pathlib import Path

PASSWORD = "planetexpress"
USERS = {
    "leela": ("Turanga", "Leela"),
    "fry": ("Philip J.", "Fry"),
    "amy": ("Amy", "Wong"),
    "professor": ("Hubert", "Farnsworth"),  # he may enter the admin
}


def read_documents():
    """The documents as dictionaries, the last one first on the page."""
    return tomllib.loads(Path(__file__).with_name("seeds.toml").read_text())["documents"]
