"""What to type instead of a command or an option that queuectl does not have: a line to paste, of what was typed.

Loaded only once something is wrong. The words of other tools are in queuectl/cli/synonyms.py; what is in neither is
taken for a slip, and the nearest name of queuectl's own is suggested.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from typing import NamedTuple

import click

from queuectl.cli.context import existing_spool
from queuectl.cli.synonyms import COMMANDS, LINES, OPTIONS, PHRASES, SETTINGS, Row, times_of
from queuectl.core import groups, params
from queuectl.core.schedules import is_name
from queuectl.errors import UsageError

_NEAR = 0.7
"""How alike a slip and what was meant are, of 1: `strt` and `start` are 0.89, `--json` and `--in` 0.33."""


# --- commands


def unknown_command(ctx: click.Context, word: str, rest: list[str], known: Mapping[str, object]) -> UsageError:
    """The error for a word that is none of the commands `known` here; `rest` is what follows it."""
    why, line = _line_for(ctx, word, rest, known)
    hint = f"did you mean: {line}" if line else f"see: {ctx.command_path} --help"
    return UsageError(f"no such command {word!r}", why, hint)


def _line_for(ctx: click.Context, word: str, rest: list[str], known: Mapping[str, object]) -> tuple[str, str]:
    path = ctx.command_path.split()[1:]
    before = _before(path, [word, *rest])
    typed = shlex.join([*path, word.lower(), *rest])
    program = shlex.join(["queuectl", *before])
    for pattern, answer in PHRASES:
        match = re.fullmatch(pattern, typed)
        if match is not None:
            return "", answer.format(*match.groups()).rstrip().replace("queuectl ", f"{program} ", 1)
    if word.lower() in LINES and not path:
        why, answer = LINES[word.lower()]
        entry = _schedule_line(rest, [], before) if "{entry}" in answer else ""
        return why, answer.replace("{entry}", entry)
    if path == ["config"] and (setting := _setting(word)):
        return "", shlex.join(["queuectl", *before, "config", "set" if rest else "get", setting, *rest[-1:]])
    ours = COMMANDS.get(" ".join([*path, word.lower()]))
    if word.lower() == "parallel" and ":::" in rest:
        ours = "enqueue -- CMD"
    if ours is None:
        theirs = [name.split()[-1] for name in COMMANDS if name.split()[:-1] == path]
        near = _nearest(word.lower(), known) or _nearest(word.lower(), theirs)
        if near is None:
            return "", ""
        ours = " ".join([*path, near]) if near in known else COMMANDS[" ".join([*path, near])]
    return _with_rest(ctx.find_root().command, ours, rest, before)


def _with_rest(program: click.Command, ours: str, rest: list[str], before: list[str]) -> tuple[str, str]:
    """An answer of the table with the user's own words in the place of those in capitals."""
    if "&&" in ours or not rest:
        return "", shlex.join(["queuectl", *before]) + f" {ours}"
    head = [word for word in ours.split() if not (word.isupper() or "=" in word or word == "--")]
    command = find_command(program, head)
    if command is None:
        return "", shlex.join(["queuectl", *before]) + f" {ours}"
    found, path = command
    answer = _rewrite(found, path, rest)
    if not any("=" in word for word in answer.options):
        answer.options.extend(word for word in ours.split() if "=" in word)
    return answer.why, answer.line(["queuectl", *before], head)


def _setting(word: str) -> str | None:
    from queuectl.core.settings import KEYS

    key = word.replace("_", "-")
    return key if key in KEYS else None


def find_setting(word: str) -> str | None:
    """The setting of a group that a word means, or is a slip for."""
    from queuectl.spool.system.groups import KEYS

    return SETTINGS.get(word) or _nearest(word, KEYS)


def find_command(program: click.Command, words: list[str]) -> tuple[click.Command, str] | None:
    """The command that these words begin with, and its path without the program's name."""
    command = program
    path: list[str] = []
    for word in words:
        below = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
        if below is None:
            break
        command = below
        path.append(word)
    return (command, " ".join(path)) if path else None


# --- options


def unknown_option(error: click.UsageError) -> UsageError | None:
    """A better error for an option that there is not, or for another tool's value of one that there is; else None."""
    ctx = error.ctx
    if ctx is None or not isinstance(error, click.NoSuchOption | click.BadParameter):
        return None
    path = ctx.command_path.split()[1:]
    args = _after(path)
    answer = _rewrite(ctx.command, " ".join(path), args)
    if isinstance(error, click.NoSuchOption):
        what = f"no such option {error.option_name!r}"
        if not answer.is_changed:
            return UsageError(what, hint=f"see: {ctx.command_path} --help")
    elif answer.is_changed and error.param is not None and set(error.param.opts) & answer.replaced:
        opts = sorted(error.param.opts, key=len)
        what = f"{' or '.join(opts)} takes {_kind(error.param)}"
    else:
        return None
    line = answer.line(["queuectl", *_before(path, args)], path)
    return UsageError(what, answer.why, f"did you mean: {line}")


def unexpected_word(error: click.UsageError) -> UsageError | None:
    """A better error for a word behind a command that takes a group as an option, if the word names one; else None."""
    found = re.fullmatch(r"Got unexpected extra argument \((\S+)\)", error.message)
    if found is None or error.ctx is None or not any("--group" in param.opts for param in error.ctx.command.params):
        return None
    word, path = found[1], error.ctx.command_path.split()[1:]
    args = _after(path)
    with error.ctx:
        if args.count(word) != 1 or not _is_group(word):
            return None
    at, name = args.index(word), word.removesuffix(".")
    line = ["queuectl", *_before(path, args), *path, *args[:at], "--group", name, *args[at + 1 :]]
    return UsageError(f"{' '.join(path)} takes a group as an option", hint=f"try: {shlex.join(line)}")


def _is_group(word: str) -> bool:
    """Whether a word is a group with its dot, or the name of one that has settings."""
    if not groups.is_name(word.removesuffix(".")):
        return False
    there = existing_spool()
    return word.endswith(".") or (there is not None and os.path.isdir(there.group(word)))


def missing_value(command: click.Command, option: str, args: list[str], at: int, path: str) -> UsageError:
    """The error for an option that has `args[at]`, `--` or another option, for its value."""
    param = next(param for param in command.params if option in param.opts)
    why = "-- is where the options end" if args[at] == "--" else f"{args[at]} is an option"
    attached = f"{option}={args[at]}" if option.startswith("--") else f"{option}{args[at]}"
    line = f"{path} {shlex.join(args[:at])} {param.make_metavar(click.Context(command))} {shlex.join(args[at:])}"
    return UsageError(f"{option} needs a value", f"{why}; if it is the value: {attached}", f"try: {line}")


def _kind(param: click.Parameter) -> str:
    if isinstance(param.type, click.types.IntParamType):
        return "a number"
    return param.type.name


def bare_colons(words: tuple[str, ...], before: list[str], command: str) -> UsageError:
    """The error for GNU parallel's `echo ::: a b`, typed without a `--`."""
    why = "if ::: is for the command itself, put -- before it"
    found = _sweep_of(list(words))
    if found is None:
        return UsageError("::: does not make jobs", why, "see --param and --each in: queuectl enqueue --help")
    options, job, listing = found
    line = f"{command} {shlex.join([*before, *options, '--', *job])}"
    return UsageError("::: does not make jobs", why, f"did you mean: {f'{listing} | ' if listing else ''}{line}")


def _sweep_of(words: list[str]) -> tuple[list[str], list[str], str] | None:
    """The options, the command and what lists the values of GNU parallel's `echo ::: a b`; None if it cannot be said.

    Several lists of values are parameters named 1, 2, …, as in its `{1}` and `{2}`.
    """
    lists: list[list[str]] = [[]]
    for word in words:
        if word == ":::":
            lists.append([])
        elif word.startswith(":::"):
            return None
        else:
            lists[-1].append(word)
    job, *values = lists
    if len(values) == 1:
        listing = shlex.join(["printf", r"%s\n", *values[0]]) if values[0] else "LIST"
        return ["--each", "-"], job if any("{}" in word for word in job) else [*job, "{}"], listing
    texts = [f"{number}={','.join(each)}" for number, each in enumerate(values, 1)]
    try:
        is_same = [*params.parse(texts).values()] == values
    except UsageError:
        is_same = False
    places = [f"{{{number}}}" for number in range(1, len(texts) + 1)]
    if not any(place in word for place in places for word in job):
        job = [*job, *places]
    return ([word for text in texts for word in ("--param", text)], job, "") if is_same else None


class _Answer(NamedTuple):
    """Arguments of a command after each foreign option among them was replaced."""

    options: list[str]
    command: list[str]
    """What follows the options, with its `--`."""
    root: list[str]
    """Options that belong before the command."""
    wholes: list[tuple[str, tuple[str, ...]]]
    reasons: list[str]
    replaced: set[str]
    """The options that were."""

    @property
    def is_changed(self) -> bool:
        return bool(self.replaced)

    @property
    def why(self) -> str:
        return "; ".join(dict.fromkeys(self.reasons))

    def line(self, before: list[str], path: list[str]) -> str:
        """The line to type: `before` are the words in front of the command's `path`."""
        job = self.command
        if path == ["enqueue"]:
            self._name_group()
        if "--each" in self.options and job and not any("{}" in word for word in [*self.options, *job]):
            job = [*job, "{}"]
        line = shlex.join([*before, *self.root, *path, *self.options, *job])
        for template, values in self.wholes:
            words = [*values, *self.command]
            entry = _schedule_line(words, self.options, before[1:]) if "{entry}" in template else ""
            line = template.format(*values, line=line, entry=entry)
        return line

    def _has(self, *names: str) -> bool:
        return any(_split(word)[0] in names for word in self.options if _is_option(word))

    def _name_group(self) -> None:
        """Many jobs are of a group, which is also what has limits: it gets the name that the job was to have."""
        is_sweep, is_limited = self._has("--param", "--each"), self._has("--limit", "--max-failed")
        if self._has("-g", "--group") or not (is_sweep or is_limited):
            return
        at = self.options.index("--id") if "--id" in self.options[:-1] else len(self.options)
        if at < len(self.options) and "{" not in self.options[at + 1]:
            self.options[at] = "--group"
        elif is_limited and not is_sweep:
            self.options.extend(["--group", "NAME"])


def _rewrite(command: click.Command, path: str, args: list[str]) -> _Answer:
    """Replace each option that is another tool's, or a slip; values go with their options."""
    answer = _Answer([], [], [], [], [], set())
    flags, ours = own_options(command)
    is_prefix = path in ("enqueue", "run")  # the job's command follows the options
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "--" or (is_prefix and not _is_option(word)):
            is_command = word == "--" or word.lstrip().startswith("{") or word == "-"
            if path == "enqueue" and not is_command and ":::" in rest and (found := _sweep_of([word, *rest])):
                options, job, listing = found
                answer.options.extend(options)
                answer.command.extend(["--", *job])
                if listing:
                    answer.wholes.append(("{0} | {line}", (listing,)))
                break
            answer.command.extend([word, *rest] if is_command else ["--", word, *rest])
            break
        if not _is_option(word):
            answer.options.append(word)
            continue
        name, attached = _split(word)
        has_next = bool(rest) and not (is_prefix and rest[0] == "--")
        following = attached if attached is not None else (rest[0] if has_next else None)
        row, values = _row_for(path, name, following, name in ours and name not in flags)
        if row is None:
            name = _own_name(name, [*flags, *ours], answer)
            answer.options.append(
                word if name == _split(word)[0] else name if attached is None else f"{name}={attached}"
            )
            if name in ours and attached is None and has_next:
                answer.options.append(rest.pop(0))
            continue
        if row.read is not None and attached is None and has_next:
            rest.pop(0)
        answer.replaced.add(name)
        _apply(row, values, answer)
    return answer


def _apply(row: Row, values: tuple[str, ...], answer: _Answer) -> None:
    words = [word.format(*values) for word in row.ours.split()]
    if words[:1] == ["--spool"]:
        answer.root.extend(words)
    elif words[:1] == ["--"]:
        answer.command.extend(words)
    else:
        answer.options.extend(words)
    if row.whole != "{line}":
        answer.wholes.append((row.whole, values))
    if row.why:
        answer.reasons.append(row.why.format(*values))


def _row_for(path: str, name: str, value: str | None, is_ours: bool) -> tuple[Row | None, tuple[str, ...]]:
    """The row for an option and the value that follows it; none for one of ours with a value that it can have."""
    for row in OPTIONS.get(path, ()):
        if name not in row.names.split():
            continue
        if row.read is None:
            if not is_ours:
                return row, ()
            continue
        values = row.read("…" if value is None else value)
        if values is not None:
            return row, values
    return None, ()


def own_options(command: click.Command) -> tuple[set[str], set[str]]:
    """The command's own flags, and its options with a value."""
    flags, valued = {"-h", "--help"}, set[str]()
    for param in command.params:
        if isinstance(param, click.Option):
            (flags if param.is_flag or param.count else valued).update(param.opts)
    return flags, valued


def _own_name(name: str, ours: list[str], answer: _Answer) -> str:
    """The option of ours that a slip or a beginning of one is near to; the name itself if it is ours, or near none."""
    if name in ours or not name.startswith("--"):
        return name
    begun = [known for known in ours if known.startswith(name) and len(name) > 4]
    near = begun[0] if len(begun) == 1 else _nearest(name[2:], [known[2:] for known in ours if known.startswith("--")])
    if near is None:
        return name
    answer.replaced.add(name)
    return near if near.startswith("--") else f"--{near}"


def _is_option(word: str) -> bool:
    return word.startswith("-") and word not in ("-", "--")


def _split(word: str) -> tuple[str, str | None]:
    """An option and the value that is attached to it: `--name=value`, `-nvalue`."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return name, value if equals else None
    return word[:2], word[2:].removeprefix("=") or None


# --- what was typed


def _nearest(word: str, names: Iterable[str]) -> str | None:
    """The name that is most like a word; the first of several. None if none is like it."""
    best, found = _NEAR, None
    for name in names:
        likeness = SequenceMatcher(None, word[:40], name).ratio()
        if likeness >= best and (found is None or likeness > best):
            best, found = likeness, name
    return found


def _after(path: list[str]) -> list[str]:
    """The words of the command line after those that name the command."""
    words, wanted = list(sys.argv[1:]), list(path)
    while words and wanted:
        word = words.pop(0)
        if word == wanted[0]:
            wanted.pop(0)
        elif word == "--spool" and words:
            words.pop(0)
    return words


def _before(path: list[str], rest: list[str]) -> list[str]:
    """The words of the command line before those that name the command: --spool, if it was given."""
    return sys.argv[1 : len(sys.argv) - len(rest) - len(path)]


def times_as_words(ctx: click.Context) -> UsageError | None:
    """The error for a `schedule add` whose times were typed as words, as in a crontab; None if there are none."""
    path = ctx.command_path.split()[1:]
    args = _after(path)
    _, valued = own_options(ctx.command)
    options: list[str] = []
    words: list[str] = []
    end = args.index("--") if "--" in args else len(args)
    rest, job = args[:end], args[end + 1 :]
    while rest:
        word = rest.pop(0)
        if not _is_option(word):
            words.append(word)
            continue
        options.append(word)
        if word in valued and rest:
            options.append(rest.pop(0))
    named = words[1:] if words and is_name(words[0]) else words
    when, left = times_of(named)
    if left == named:
        return None
    name = ["--id", words[0]] if named is not words else []
    line = _schedule_line([*when[1:], *left, *(["--", *job] if job else [])], [*options, *name], _before(path, args))
    return UsageError(f"when is given with {when[0]}", hint=f"did you mean: {line}")


def _schedule_line(words: list[str], options: list[str], before: list[str]) -> str:
    """The line that adds a schedule: `words` are its times and its command, `options` those that its jobs are to have.

    It is named after the command, unless the options name a job or a group.
    """
    words = words[1:] if words[:1] == ["add"] else words
    at = words.index("--") if "--" in words else len(words)
    when, rest = times_of(words[:at])
    job = words[at + 1 :] or [word for word in rest if not word.startswith("-")]
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", os.path.basename((" ".join(job[:1]).split() or ["NAME"])[0]).split(".")[0])
    left = list(options)
    for option in ("--group", "-g", "--id"):
        if option in left[:-1]:
            at = left.index(option)
            name = left[at + 1]
            del left[at : at + 2]
    name = name.strip("_-") or "NAME"
    return shlex.join(["queuectl", *before, "schedule", "add", name, *when, *left, "--", *(job or ["CMD"])])
