"""The site that `make docs` builds from the documents, with Sphinx; it needs no network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]

project = "queuectl"
author = "the queuectl authors"
extensions = ["myst_parser"]
include_patterns = [
    "README.md",
    "docs/*.md",
    "spool/README.md",
    "contrib/*/README.md",
    "benchmarks/results/README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]
root_doc = "docs/README"
html_theme = "alabaster"
html_theme_options = {"page_width": "72em", "fixed_sidebar": True, "description": "a job queue that is a directory"}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_show_sphinx = False
html_copy_source = False
smartquotes = False
myst_heading_anchors = 4
suppress_warnings = ["myst.xref_missing", "myst.header", "misc.highlighting_failure"]
"""Links to files that are no documents, such as LICENSE; tests/docs/test_links.py checks them."""


def _list_documents(app: Sphinx, name: str, content: list[str]) -> None:
    """Give the index, which links the documents by reader, the table of contents that Sphinx navigates by."""
    if name == root_doc:
        linked = re.findall(r"\]\((?!https?:)([^)#]+\.md)\)", content[0])
        pages = dict.fromkeys(f"/{(ROOT / 'docs' / target).resolve().relative_to(ROOT)}" for target in linked)
        content[0] += "\n```{toctree}\n:hidden:\n\n" + "\n".join(pages) + "\n```\n"


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", _list_documents)
    return {"parallel_read_safe": True}
