"""Nothing that a user can type or set is left out of the documents."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from queuectl import errors
from queuectl.cli.groups import LazyGroup
from queuectl.cli.main import app
from queuectl.core.fields import FIELDS
from queuectl.core.result import RESULT_PATTERN
from tests.docs.markdown import ROOT, sections

README = (ROOT / "README.md").read_text()
SETTINGS = (ROOT / "docs/settings.md").read_text()
COMMANDS_DOCUMENT = (ROOT / "docs/commands.md").read_text()
JSON = (ROOT / "docs/JSON.md").read_text()
FORMAT = (ROOT / "spool/README.md").read_text()


def commands_below(group: click.Group, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands_below(command, *path, name)
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands_below(app))


def section(title: str, text: str) -> str:
    return next(section.text for section in sections(text) if section.title == title)


def test_readme_is_short() -> None:
    """A newcomer reads it to its end; what is longer is in docs/."""
    assert len(README.splitlines()) <= 250


def test_readme_has_each_command_under_its_heading() -> None:
    """Its table has the commands of `queuectl --help`, by the same groups."""
    assert isinstance(app, LazyGroup)
    found: dict[str, list[str]] = {}
    heading = ""
    for first, names in re.findall(r"^\| (\w*) ?\| (\[`.*?) \|", section("Commands", README), re.MULTILINE):
        heading = first or heading
        found.setdefault(heading, []).extend(re.findall(r"`(\w+)`", names))
    listed = {title.split()[0].lower(): sorted(names) for title, names in app.sections().items()}
    assert {heading: sorted(names) for heading, names in found.items()} == listed


def test_index_has_every_document() -> None:
    """docs/README.md, from which the site is made, links each document, and README each that is for users."""
    names = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert names <= set(re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs/README.md").read_text()))
    assert names <= set(re.findall(r"\]\(docs/([\w-]+\.md)[)#]", README))


@pytest.mark.parametrize("width", [40, 60, 80, 100])
@pytest.mark.parametrize("words", COMMANDS)
def test_help_keeps_options_whole(words: str, width: int) -> None:
    """No line of a help text ends within an option: what is copied from it can be typed."""
    context = click.Context(COMMANDS[words], info_name=words, terminal_width=width)
    text = context.get_help()
    assert "\ue000" not in text
    assert not re.search(r"[^\s-]-$", text, re.MULTILINE)


@pytest.mark.parametrize("words", COMMANDS)
def test_json_shape_is_documented(words: str) -> None:
    """Each command with --json has a section of docs/JSON.md."""
    if any("--json" in parameter.opts for parameter in COMMANDS[words].params):
        titles = [section.title for section in sections(JSON)]
        assert any(re.fullmatch(rf"queuectl {words}( \S+)* --json", title) for title in titles)


def test_options_of_queuectl_itself_are_documented() -> None:
    """--spool, --version and --help are said before the first command."""
    text = COMMANDS_DOCUMENT.partition("### queuectl init")[0]
    assert all(option in text for option in ("--spool", "--version", "--help"))


@pytest.mark.parametrize("field", FIELDS)
def test_field_is_documented(field: str) -> None:
    """Each field of a job is in the table of docs/settings.md and in the format's example."""
    assert re.search(rf"^\| `{field}` \|", section("Fields of a job", SETTINGS), re.MULTILINE)
    assert f'"{field}"' in section("Jobs", FORMAT)


def test_exit_codes_are_documented() -> None:
    """The table has the codes of all errors, and no others."""
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {value.exit_code for value in classes if issubclass(value, errors.QueuectlError)}
    rows = re.findall(r"^\| (\d) \|", section("Exit status", COMMANDS_DOCUMENT), re.MULTILINE)
    assert {int(row) for row in rows} == codes | {0}


def test_results_are_documented() -> None:
    """The format names every way in which an attempt can end."""
    for kind in re.findall("[a-z]+", re.sub(r"\(.*?\)|\[.*?\]|\\d|\?", "", RESULT_PATTERN)):
        assert f"`{kind}" in FORMAT, kind
