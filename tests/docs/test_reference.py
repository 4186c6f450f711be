"""Nothing that a user can type or set is left out of the documents."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from queuectl import errors
from queuectl.cli.main import app
from queuectl.core import settings
from queuectl.core.fields import FIELDS
from queuectl.core.result import RESULT_PATTERN
from tests.docs.markdown import ROOT, sections

README = (ROOT / "README.md").read_text()
JSON = (ROOT / "docs/JSON.md").read_text()
FORMAT = (ROOT / "spool/README.md").read_text()
DEFAULTS = settings.Settings._field_defaults


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


def section(title: str, text: str = README) -> str:
    return next(section.text for section in sections(text) if section.title == title)


@pytest.mark.parametrize("words", COMMANDS)
def test_command_has_its_place(words: str) -> None:
    """Each command is in the README's section of its noun, with each of its options; filters are said once for all."""
    text = section(f"queuectl {words.split(maxsplit=1)[0]}")
    if f"`{words}`" in section("Filters"):
        text += section("Filters")
    assert re.search(rf"`?(queuectl )?{words}\b", text), f"no {words!r}"
    for parameter in COMMANDS[words].params:
        if isinstance(parameter, click.Option) and "--json" not in parameter.opts:
            for option in parameter.opts:
                assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"{words}: no {option}"


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
    """--spool, --version and --help are in the section of the commands."""
    text = section("Commands")
    assert all(option in text for option in ("--spool", "--version", "--help"))


@pytest.mark.parametrize("key", settings.KEYS)
def test_setting_is_documented_with_its_default(key: str) -> None:
    """Each key is in the README's table, and its default is true."""
    row = re.search(rf"^\| `{key}` \| (\S+) \|", section("Settings"), re.MULTILINE)
    assert row is not None
    default = DEFAULTS[settings.Key.field(key)]
    assert row[1] == (f"{default:g}" if isinstance(default, float) else settings.as_text(default))


@pytest.mark.parametrize("field", FIELDS)
def test_field_is_documented(field: str) -> None:
    """Each field of a job is in the README's table and in the format's example."""
    assert re.search(rf"^\|.*`{field}`.*\|.*\|", section("A job"), re.MULTILINE)
    assert f'"{field}"' in section("Jobs", FORMAT)


def test_exit_codes_are_documented() -> None:
    """The table has the codes of all errors, and no others."""
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {value.exit_code for value in classes if issubclass(value, errors.QueuectlError)}
    rows = re.findall(r"^\| (\d) \|", section("Exit codes"), re.MULTILINE)
    assert {int(row) for row in rows} == codes | {0}


def test_results_are_documented() -> None:
    """The format names every way in which an attempt can end."""
    for kind in re.findall("[a-z]+", re.sub(r"\(.*?\)|\[.*?\]|\\d|\?", "", RESULT_PATTERN)):
        assert f"`{kind}" in FORMAT, kind
