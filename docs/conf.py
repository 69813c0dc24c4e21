"""How the documentation is built: ``make docs``. Every warning is an error."""

import os
import re
import sys
from pathlib import Path

import django

HERE = Path(__file__).parent

# The docstrings are read from modules that need a project.
sys.path.insert(0, str(HERE / "snippets"))
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
django.setup()

from raceway import __version__  # noqa: E402

project = "Raceway"
author = "The Raceway developers"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["design", "snippets"]
root_doc = "index"
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False

html_theme = "furo"
html_title = "Raceway"
html_copy_source = False
html_show_copyright = False


SECTION = re.compile(r"^## (?P<caption>.+)$|\]\((?P<page>[\w./-]+)\.md\)", re.MULTILINE)


def add_contents(app, docname, source):
    """Make the table of contents from the links of an index page, which reads well by itself."""
    if docname not in ("index", "reference/index"):
        return
    caption, pages = "", []
    trees = [(caption, pages)]
    for match in SECTION.finditer(source[0]):
        if match["caption"]:
            caption, pages = match["caption"], []
            trees.append((caption, pages))
        elif match["page"] not in pages:
            pages.append(match["page"])
    for caption, pages in trees:
        if pages:
            title = f":caption: {caption}\n" if caption else ""
            source[0] += "\n```{toctree}\n:hidden:\n" + title + "\n" + "\n".join(pages) + "\n```\n"


def setup(app):
    app.connect("source-read", add_contents)
