"""Documents point at things that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from queuectl.spool.system import layout
from tests.docs.markdown import DOCUMENTS, ROOT, anchors, label, links, without_blocks

MODULE = re.compile(r"\b(?:queuectl|tests)(?:/\w+)*/\w+\.py\b|\b(?:queuectl|tests)(?:/\w+)+/")
ARCHITECTURE = ROOT / "docs/ARCHITECTURE.md"


@pytest.mark.parametrize("document", DOCUMENTS, ids=label)
def test_links_resolve(document: Path) -> None:
    """A link leads to a file here and a heading in it, or to the web."""
    for link in links(document.read_text()):
        target, _, anchor = link.partition("#")
        if target.startswith(("https://", "http://")):
            continue
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), f"{label(document)}: {link}"
        assert path.is_relative_to(ROOT), f"{label(document)}: {link}"
        assert not anchor or anchor in anchors(path.read_text()), f"{label(document)}: {link}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=label)
def test_named_modules_exist(document: Path) -> None:
    """Every path of a module or folder that a document names is there."""
    named = set(MODULE.findall(document.read_text()))
    assert not {name for name in named if not (ROOT / name).exists()}


@pytest.mark.parametrize("document", DOCUMENTS, ids=label)
def test_make_targets_exist(document: Path) -> None:
    """Every `make TARGET` that a document names can be made."""
    makefile = (ROOT / "Makefile").read_text()
    text = re.sub(r"^```make file=.*?^```$.*?^```$.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"(?:`|^|&& )make ([a-z]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_map_of_folders_is_complete() -> None:
    """docs/ARCHITECTURE.md says what each folder, or a module beside folders, owns; docstrings say it of the others."""
    rows = re.findall(r"^\| `(queuectl/\S*)` \|", ARCHITECTURE.read_text(), re.MULTILINE)
    for path in (ROOT / "queuectl").glob("*/**/*.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), path
        folder = f"{path.parent.relative_to(ROOT)}/"
        assert path.name == "__init__.py" or folder in rows or str(path.relative_to(ROOT)) in rows, path


def test_index_links_every_document_of_its_kind() -> None:
    """The site of `make docs` has what the index links, and is not built if a document of contrib/ is missing there."""
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#:]+\.md)\)", index.read_text())}
    assert {*ROOT.glob("docs/*.md"), *ROOT.glob("contrib/*/README.md")} - linked == {index}


@pytest.mark.parametrize("document", DOCUMENTS, ids=label)
def test_document_names_no_machine(document: Path) -> None:
    """No path of the machine it was written on, and nobody's name for a spool but the example's."""
    assert not re.findall(
        r"(?<![\w.])(?:/root|/work|/tmp|/home/(?!ann\b))[/\w.]*", without_blocks(document.read_text())
    )


def test_short_readme_of_a_spool_agrees_with_the_specification() -> None:
    """What `queuectl init` writes has the directories and names of spool/README.md, and says where that is."""
    full = (ROOT / "spool/README.md").read_text()
    patterns = re.findall(r"\S+-id\.json", layout.README)
    assert len(patterns) == 3
    assert all(f"`{pattern}`" in full for pattern in patterns)
    assert all(f"  {name}/" in layout.README and f"  {name}/" in full for name in (*layout.STATES, *layout._OWN))
    assert "spool/README.md" in layout.README
