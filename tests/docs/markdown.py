"""Documents as data: fenced blocks, the commands and output of a console block, headings, links.

A block's language says what is to be done with it. `sh` is run as one script and must succeed. `console`
holds `$ command` lines (continued by `> ` lines), each followed by the output it must have; a line `…`
stands for any lines. A block of any language with `file=NAME` behind it is written to that file first.
Everything else, such as `shell` or `json`, is for people only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNNABLE = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "spool/README.md"]
"""The documents whose commands are run."""
DOCUMENTS = [
    *RUNNABLE,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "contrib/snakemake/README.md",
    ROOT / "benchmarks/results/README.md",
]

_FENCE = re.compile(r"^(`{3,})[ ]*(\w*)[ ]*(.*)$")
_HEADING = re.compile(r"^(#{1,6}) (.+)$")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def label(path: Path) -> str:
    """How a document is called in a test's name."""
    return str(path.relative_to(ROOT))


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is the number of its first line of text."""

    language: str
    file: str | None
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """A command of a console block and the output it is documented to have."""

    text: str
    output: str
    line: int


@dataclass(frozen=True)
class Section:
    """A heading and everything below it up to the next heading of its level or above."""

    level: int
    title: str
    text: str


def blocks(text: str) -> list[Block]:
    """The fenced blocks in order."""
    found: list[Block] = []
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        at += 1
        if fence is None:
            continue
        first = at
        while lines[at] != fence[1]:
            at += 1
        file = re.fullmatch(r"file=(\S+)", fence[3].strip())
        found.append(
            Block(fence[2], file[1] if file else None, "".join(line + "\n" for line in lines[first:at]), first + 1)
        )
        at += 1
    return found


def commands(block: Block) -> list[Command]:
    """The commands of a console block."""
    found: list[Command] = []
    words: list[str] = []
    output: list[str] = []
    start = block.line

    def finish() -> None:
        if words:
            found.append(Command("\n".join(words), "\n".join(output), start))

    for number, line in enumerate(block.text.splitlines(), block.line):
        if line.startswith("$ "):
            finish()
            words, output, start = [line[2:]], [], number
        elif line.startswith("> ") and words and not output:
            words.append(line[2:])
        else:
            assert words, f"line {number}: output without a command"
            output.append(line)
    finish()
    return found


def without_blocks(text: str) -> str:
    """The prose: headings, paragraphs and tables."""
    return re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)


def sections(text: str) -> list[Section]:
    """Every heading with its text, fenced blocks included."""
    lines = text.splitlines()
    heads: list[tuple[int, int, str]] = []
    fence = None
    for number, line in enumerate(lines):
        mark = _FENCE.match(line)
        if fence is not None:
            fence = None if line == fence else fence
        elif mark:
            fence = mark[1]
        elif head := _HEADING.match(line):
            heads.append((number, len(head[1]), head[2]))
    found = []
    for index, (number, level, title) in enumerate(heads):
        end = next((other for other, depth, _ in heads[index + 1 :] if depth <= level), len(lines))
        found.append(Section(level, title, "\n".join(lines[number:end])))
    return found


def anchors(text: str) -> set[str]:
    """The anchors that headings have, made as GitHub makes them."""
    return {
        re.sub(r"[^\w\- ]", "", section.title.replace("`", "").lower()).replace(" ", "-") for section in sections(text)
    }


def links(text: str) -> list[str]:
    """The targets of the links in the prose."""
    return _LINK.findall(without_blocks(text))
