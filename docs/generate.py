"""Writes what documents and manual pages repeat from the program: `python -m docs.generate`, or `make docs`.

A block between `<!-- generated: NAME -->` and `<!-- end -->` is written here; all else in a document is by hand and is
kept. docs/commands.md has a section for each command, in the order of `queuectl --help`; what follows the block of a
command until the next heading is notes and examples by hand, and goes into its manual page too, but for paragraphs that
begin with a reference (`See [`). The manual pages and the completion scripts are committed, so that installing queuectl
needs no tool that makes them.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from docs import manual
from queuectl.cli import completion
from queuectl.cli.filters import filter_options
from queuectl.cli.groups import LazyGroup
from queuectl.cli.main import app
from queuectl.core import settings
from queuectl.core.fields import CAN_BE_SET, FIELDS
from queuectl.schemas import load

ROOT = Path(__file__).parents[1]
COMMANDS = ROOT / "docs/commands.md"
SETTINGS = ROOT / "docs/settings.md"
MAN = ROOT / "queuectl/man"
COMPLETIONS = ROOT / "contrib/completions"
_END = "<!-- end -->"
_EXAMPLE = "Example:\n"


class Page(NamedTuple):
    """A command, with the words that call it; () is `queuectl` itself."""

    words: tuple[str, ...]
    command: click.Command
    context: click.Context

    @property
    def title(self) -> str:
        return " ".join(("queuectl", *self.words))

    @property
    def name(self) -> str:
        """The name of its manual page."""
        return "-".join(("queuectl", *self.words))

    @property
    def short(self) -> str:
        return self.command.get_short_help_str(1000)

    @property
    def usage(self) -> str:
        return " ".join((self.title, *self.command.collect_usage_pieces(self.context)))

    @property
    def paragraphs(self) -> list[str]:
        """Its help, without the examples; one that keeps its lines begins with \\b."""
        return [part for part in self._parts() if not part.removeprefix("\b\n").startswith(_EXAMPLE)]

    @property
    def examples(self) -> str:
        """The lines of the examples in its help."""
        found = [part.removeprefix("\b\n") for part in self._parts()]
        lines = [part.removeprefix(_EXAMPLE) for part in found if part.startswith(_EXAMPLE)]
        return "\n".join(line.removeprefix("  ") for text in lines for line in text.splitlines())

    def _parts(self) -> list[str]:
        help = inspect.cleandoc(self.command.help or "")
        return [part.strip("\n") for part in re.split(r"\n\s*\n", help)]

    def options(self) -> Iterator[tuple[str, str]]:
        """Each option as it is typed, and its help; --help is left out, which every command has."""
        for param in self.command.params:
            record = param.get_help_record(self.context)
            if isinstance(param, click.Option) and record is not None:
                yield record[0], re.sub(r"  +", " ", record[1])

    def below(self) -> Iterator[Page]:
        """The commands of a group."""
        if isinstance(self.command, click.Group):
            for name in self.command.list_commands(self.context):
                command = self.command.get_command(self.context, name)
                assert command is not None
                yield Page((*self.words, name), command, click.Context(command, self.context, name))

    def all_below(self) -> Iterator[Page]:
        """Those, and the commands of groups in it, in order."""
        for page in self.below():
            yield page
            yield from page.all_below()


def root() -> Page:
    """The page of `queuectl`."""
    return Page((), app, click.Context(app, info_name="queuectl"))


def escape(text: str) -> str:
    """Text of a help as Markdown; options and names in backticks are code."""

    def plain(part: str) -> str:
        return re.sub(r"(?<![\w-])(--[a-z][a-z-]*)", r"`\1`", re.sub(r"([\\*_\[\]<>|{}#])", r"\\\1", part))

    parts = re.split(r"(`[^`]+`)", text)
    return "".join(part if part.startswith("`") else plain(part) for part in parts)


def code(text: str) -> str:
    """Code in a table."""
    return "`" + text.replace("|", "\\|") + "`"


def text_of(paragraph: str) -> str:
    """A paragraph of a help as Markdown."""
    if paragraph.startswith("\b\n"):
        return f"```text\n{paragraph.removeprefix(chr(8) + chr(10))}\n```"
    return escape(" ".join(paragraph.split()))


# --- documents


def filters() -> list[tuple[str, str]]:
    """The options that select jobs."""

    @click.command()
    @filter_options
    def command() -> None: ...

    return list(Page((), command, click.Context(command)).options())


def table(rows: list[tuple[str, ...]], *heads: str) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in (heads, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(heads)}", *lines[1:]])


def describe(page: Page) -> str:
    """The generated part of a command's section in docs/commands.md."""
    shared = filters()
    options = list(page.options())
    own = [(code(names), escape(help)) for names, help in options if (names, help) not in shared]
    selecting = [code(names.split()[0]) for names, help in options if (names, help) in shared]
    if selecting:
        own.append((", ".join(selecting), "the [filters](#filters)"))
    parts = [f"```text\n{page.usage}\n```", *map(text_of, page.paragraphs)]
    if page.examples:
        parts.append(f"```shell\n{page.examples}\n```")
    if own:
        parts.append(table([*own], "option", ""))
    return "\n\n".join(parts)


def commands_document(text: str) -> str:
    """docs/commands.md, with a section for each command."""
    start = re.compile(r"^#+ (.+)\n\n<!-- generated: (queuectl .+) -->\n", re.MULTILINE)
    by_hand: dict[str, str] = {}
    found = list(start.finditer(text))
    preamble = text[: found[0].start()] if found else text
    ends = [*(match.start() for match in found[1:]), len(text)]
    for match, end in zip(found, ends[: len(found)], strict=True):
        rest = text[match.end() : end]
        by_hand[match[2]] = re.sub(r"\n## .*\n*\Z", "", rest.partition(_END)[2]).strip()
    preamble = fill(preamble, "filters", table([(code(n), escape(h)) for n, h in filters()], "option", ""))
    parts = [re.sub(r"\n## [^\n]*\n*\Z", "", preamble).rstrip()]
    assert isinstance(app, LazyGroup)
    headings = {names[0]: heading for heading, names in app.sections().items()}
    for page in root().all_below():
        if len(page.words) == 1 and page.words[0] in headings:
            parts.append(f"## {headings[page.words[0]]}")
        block = f"<!-- generated: {page.title} -->\n\n{describe(page)}\n\n{_END}"
        parts.append(f"{'#' * (2 + len(page.words))} {page.title}\n\n{block}")
        parts += [text for text in [by_hand.pop(page.title, "")] if text]
    if by_hand:
        sys.exit(f"{COMMANDS}: there is no command {', '.join(by_hand)}; move its text or remove it")
    return "\n\n".join(parts) + "\n"


def fill(text: str, name: str, new: str) -> str:
    """A document with that block written again."""
    block = re.compile(rf"(<!-- generated: {name} -->\n).*?({_END})", re.DOTALL)
    assert block.search(text), f"no block {name!r}"
    return block.sub(lambda match: f"{match[1]}\n{new}\n\n{match[2]}", text)


def settings_table() -> str:
    """Each setting with its default and meaning."""
    defaults = settings.Settings._field_defaults
    rows = []
    for key, row in settings.KEYS.items():
        default = defaults[settings.Key.field(key)]
        shown = f"{default:g}" if isinstance(default, float) else settings.as_text(default)
        rows.append((f"`{key}`", escape(shown), escape(row.help)))
    return table([*rows], "key", "default", "meaning")


def fields_table() -> str:
    """Each field of a job with its values, its meaning, and how it is typed."""
    described = load("job")["properties"]
    options = {}
    enqueue = next(page for page in root().below() if page.words == ("enqueue",))
    for param in enqueue.command.params:
        if isinstance(param, click.Option):
            options[param.name] = param.opts[-1] if param.opts[-1].startswith("--") else param.opts[0]
    special = {"run_at": "--at, --in", "command": "after --", "params": "--param"}
    rows = []
    for name in FIELDS:
        option = options.get(name) or special.get(name, "")
        typed = ", ".join(f"`{part}`" if part.startswith("--") else "`--` …" for part in option.split(", ") if part)
        rows.append((f"`{name}`", described[name]["description"], typed, "yes" if name in CAN_BE_SET else ""))
    return table([*rows], "field", "meaning", "option of `enqueue`", "by `set`")


def settings_document(text: str) -> str:
    """docs/settings.md."""
    return fill(fill(text, "settings", settings_table()), "fields", fields_table())


# --- manual pages


def definitions(rows: list[tuple[str, str]]) -> str:
    """A list of options or commands in Markdown."""
    return "\n\n".join(f"`{term}`\n: {escape(text)}" for term, text in rows)


def notes_and_examples(by_hand: str) -> tuple[str, str]:
    """The prose that is written by hand, without references to other documents, and the blocks in it."""
    pieces = re.split(r"^(```.*?^```)$", by_hand, flags=re.MULTILINE | re.DOTALL)
    prose = "\n\n".join(piece.strip("\n") for piece in pieces[::2] if piece.strip())
    kept = [part for part in re.split(r"\n\n+", prose) if not part.startswith("See [")]
    return "\n\n".join(kept), "\n\n".join(pieces[1::2])


def command_page(page: Page, by_hand: str) -> str:
    """The manual page of a command, in Markdown."""
    parts = [f"# Synopsis\n\n`{page.usage.replace('queuectl ', 'queuectl [--spool DIR] ', 1)}`"]
    parts.append("# Description\n\n" + "\n\n".join(map(text_of, page.paragraphs)))
    if below := list(page.below()):
        parts.append("# Commands\n\n" + definitions([(below_one.title, below_one.short) for below_one in below]))
    if options := list(page.options()):
        parts.append("# Options\n\n" + definitions(options))
    notes, by_hand = notes_and_examples(by_hand)
    if notes:
        parts.append(f"# Notes\n\n{manual.plain(notes)}")
    shown = f"```\n{page.examples}\n```" if page.examples else ""
    if examples := "\n\n".join(filter(None, (shown, by_hand))):
        parts.append(f"# Examples\n\n{manual.plain(examples)}")
    parts.append("# Exit status\n\nSee queuectl(1).")
    others = {"queuectl": 1, **({f"queuectl-{page.words[0]}": 1} if len(page.words) > 1 else {})}
    others |= {below_one.name: 1 for below_one in below} | {"queuectl-spool": 5}
    parts.append("# See also\n\n" + ", ".join(f"**{name}**({section})" for name, section in others.items()))
    return "\n\n".join(parts)


def main_page(page: Page, document: str) -> str:
    """The manual page of queuectl itself, in Markdown: what docs/commands.md says of all commands, and their list."""
    parts = ["# Synopsis\n\n`queuectl [--spool DIR] COMMAND [ARGS]...`"]
    parts.append("# Description\n\n" + "\n\n".join(map(text_of, page.paragraphs)))
    parts.append("# Options\n\n" + definitions(list(page.options())))
    assert isinstance(app, LazyGroup)
    by_name = {below.words[0]: below for below in page.below()}
    listed = []
    for heading, names in app.sections().items():
        rows = [(f"queuectl {name}", by_name[name].short) for name in names]
        listed.append(f"## {heading}\n\n{definitions(rows)}")
    parts.append("# Commands\n\n" + "\n\n".join(listed))
    preamble = document.partition("\n## ")[2].partition("<!-- generated: queuectl ")[0]
    preamble = re.sub(r"\n## [^\n]*\n+###[^\n]*\n*\Z", "", f"## {preamble}")
    parts.append(manual.plain(re.sub(r"^#(#+ )", r"\1", preamble, flags=re.MULTILINE)))
    parts.append(f"# Examples\n\n```\n{page.examples}\n```")
    others = [f"**{below.name}**(1)" for below in page.below()]
    parts.append("# See also\n\n" + ", ".join([*others, "**queuectl-spool**(5)"]))
    return "\n\n".join(parts)


def man_sources() -> dict[str, tuple[str, str]]:
    """Each manual page by its path below queuectl/man/: what it is in a line, and its text in Markdown."""
    document = COMMANDS.read_text()
    first = root()
    found = {"man1/queuectl.1": ("run shell commands from a queue that is a directory", main_page(first, document))}
    for page in first.all_below():
        rest = document.partition(f"<!-- generated: {page.title} -->\n")[2].partition(_END)[2]
        by_hand = re.split(r"^##+ ", rest, maxsplit=1, flags=re.MULTILINE)[0].strip()
        short = page.short.removesuffix(".")
        found[f"man1/{page.name}.1"] = (short[:1].lower() + short[1:], command_page(page, by_hand))
    spool = (ROOT / "spool/README.md").read_text().partition("\n")[2]
    spool = re.sub(r"^#(#+ )", r"\1", spool, flags=re.MULTILINE)
    text = manual.plain(f"# Description\n{spool}\n\n# See also\n\n**queuectl**(1)")
    return found | {"man5/queuectl-spool.5": ("the directory that holds a job queue", text)}


# --- all of it


def completions() -> dict[str, str]:
    """The completion script of each shell, by its path below contrib/completions/."""
    completion.register()
    paths = {"bash": "bash/queuectl", "zsh": "zsh/_queuectl", "fish": "fish/queuectl.fish"}
    return {path: completion.script(shell) for shell, path in paths.items()}


def documents() -> dict[Path, str]:
    """What each document that has generated blocks should hold."""
    return {
        COMMANDS: commands_document(COMMANDS.read_text()),
        SETTINGS: settings_document(SETTINGS.read_text()),
        **{COMPLETIONS / path: text for path, text in completions().items()},
    }


def main() -> None:
    """Write everything that is not up to date, and remove manual pages of commands that are gone."""
    for path, text in documents().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    sources = man_sources()
    for path in MAN.glob("man*/*"):
        if str(path.relative_to(MAN)) not in sources:
            path.unlink()
    for name, (short, source) in sources.items():
        path = MAN / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or not manual.is_current(path.read_text(), short, source):
            path.write_text(manual.render(path.stem, path.suffix[1:], short, source))


if __name__ == "__main__":
    main()
