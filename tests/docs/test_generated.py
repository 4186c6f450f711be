"""What is generated from the program is up to date: `make docs` would change nothing."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from docs import generate, manual
from tests.docs.markdown import sections
from tests.support import need

PAGES = generate.man_sources()
COMMANDS = {page.title: page for page in generate.root().all_below()}
UPDATE = "run: make docs"


@pytest.mark.parametrize("path", generate.documents(), ids=lambda path: path.name)
def test_generated_text_is_current(path: Path) -> None:
    """Documents and completion scripts say what the program says of itself."""
    assert path.read_text() == generate.documents()[path], UPDATE


@pytest.mark.parametrize("name", PAGES)
def test_manual_page_is_current(name: str) -> None:
    """Each manual page was made of its present source, and nobody has edited it."""
    path = generate.MAN / name
    assert path.exists(), UPDATE
    assert manual.is_current(path.read_text(), *PAGES[name]), UPDATE


def test_manual_pages_are_those_of_the_commands() -> None:
    """There is a page for queuectl, for each command and each group of commands, and for the spool; and no other."""
    found = {str(path.relative_to(generate.MAN)) for path in generate.MAN.glob("*/*")}
    assert found == {"man1/queuectl.1", "man5/queuectl-spool.5", *(f"man1/{page.name}.1" for page in COMMANDS.values())}


def test_every_command_has_a_section_in_the_order_of_the_help() -> None:
    """docs/commands.md has a section for each command, and each option of it."""
    titles = [section.title for section in sections(generate.COMMANDS.read_text())]
    assert [title for title in titles if title in COMMANDS] == list(COMMANDS)


@pytest.mark.parametrize("title", COMMANDS)
def test_example_by_hand_is_in_the_section_of_its_command(title: str) -> None:
    """Each section has an example whose first word is queuectl, in the help or below it."""
    text = next(section.text for section in sections(generate.COMMANDS.read_text()) if section.title == title)
    assert re.search(rf"^(.*\| |\$ .*)?{title}\b", text.partition("```shell")[2] or text, re.MULTILINE)


@pytest.mark.parametrize("name", ["man1/queuectl.1", "man1/queuectl-enqueue.1", "man5/queuectl-spool.5"])
def test_manual_page_can_be_read_in_a_terminal(name: str) -> None:
    """`man` formats a page in 80 columns, with the name, the headings and each option at the start of a line."""
    need("man")
    command = ["man", "-E", "UTF-8", "-l", str(generate.MAN / name)]
    environment = {"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""}
    text = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    assert f"{Path(name).stem} - {PAGES[name][0]}" in " ".join(text.split())
    prose = [line for line in text.splitlines() if not line.startswith("          ")]
    assert max(map(len, prose)) <= 80
    if name == "man1/queuectl-enqueue.1":
        for option, _ in COMMANDS["queuectl enqueue"].options():
            assert re.search(rf"^       {re.escape(option)}( |$)", text, re.MULTILINE), option


def test_notes_of_a_manual_page_are_the_prose_by_hand() -> None:
    """Prose and examples have sections of their own; a reference to another document is left out."""
    text = "See [Workers](operating.md).\n\nFirst.\n\n```console\n$ true\n```\n\nSecond,\nfor long.\n"
    assert generate.notes_and_examples(text) == ("First.\n\nSecond,\nfor long.", "```console\n$ true\n```")
    assert generate.notes_and_examples("") == ("", "")


def test_manual_page_is_written_from_its_source(tmp_path: Path) -> None:
    """What is written for a source is current for it, and no longer after an edit of either."""
    page = manual.render("queuectl-x", "1", "do x", "# Description\n\nUse `--x`.\n\n```\n.dot\n```\n")
    assert ".SH Description" in page
    assert "\n\\&.dot\n" in page
    assert manual.is_current(page, "do x", "# Description\n\nUse `--x`.\n\n```\n.dot\n```\n")
    assert not manual.is_current(page, "do x", "# Description\n\nUse `--y`.\n")
    assert not manual.is_current(page.replace("Use", "Do"), "do x", "# Description\n\nUse `--x`.\n\n```\n.dot\n```\n")
