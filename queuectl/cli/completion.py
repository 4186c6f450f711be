"""Completion in bash, zsh and fish: the scripts for the shells, and the values that options and arguments may have.

A shell asks by running queuectl with the line up to the cursor; the answer is one item a line, `TYPE,VALUE`. `plain` is
a whole word, `partial` the beginning of one; for `file`, `dir`, `program` and `command` (all that follows `--`) the
shell completes by itself, as it does elsewhere. Nothing is ever created or reported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

import click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string

from queuectl.cli.context import complete_groups, complete_jobs, spool_to_complete

_BASH = """\
%(complete_func)s() {
    local IFS=' ' type value at=0 cur=${COMP_WORDS[COMP_CWORD]} line=${COMP_LINE:0:COMP_POINT}
    [[ -n $COMP_LINE ]] || line="${COMP_WORDS[*]:0:COMP_CWORD+1}"
    COMPREPLY=()
    while IFS=, read -r type value; do
        IFS=$'\\n'
        case $type in
        plain) COMPREPLY+=("$value") ;;
        partial) COMPREPLY+=("$value"); compopt -o nospace 2>/dev/null ;;
        dir) compopt -o dirnames 2>/dev/null || COMPREPLY+=($(compgen -d -- "$cur")) ;;
        program|command)
            until [[ $type == program || ${COMP_WORDS[at++]} == -- ]]; do :; done
            if [[ $type == command && -n $COMP_LINE ]] && declare -F _command_offset >/dev/null; then
                _command_offset $at
                return
            fi
            [[ $type == command && $COMP_CWORD -ne $at || $cur == */* ]] ||
                COMPREPLY+=($(compgen -c -- "$cur" | sort -u))
            [[ -n ${COMPREPLY[*]} ]] || compopt -o default 2>/dev/null || COMPREPLY+=($(compgen -f -- "$cur")) ;;
        file) compopt -o default 2>/dev/null || COMPREPLY+=($(compgen -f -- "$cur")) ;;
        esac
    done < <(env COMP_WORDS="$line" COMP_WORDBREAKS="$COMP_WORDBREAKS" COMP_CWORD= \
%(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local item at
    local -a plain partial
    for item in "${(@f)$(env COMP_WORDS="${(j: :)words[1,CURRENT]}" COMP_CWORD= \
%(complete_var)s=zsh_complete ${(Q)words[1]} 2>/dev/null)}"; do
        case ${item%%%%,*} in
        plain) plain+=("${item#*,}") ;;
        partial) partial+=("${item#*,}") ;;
        file) compset -P '--*='; _files ;;
        dir) compset -P '--*='; _files -/ ;;
        program) _command_names -e; _files ;;
        command)
            at=${words[(i)--]}
            shift $at words
            (( CURRENT -= at ))
            _normal
            return ;;
        esac
    done
    (( $#plain )) && compadd -V values -a plain
    (( $#partial )) && compadd -V values -S '' -a partial
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH = """\
function %(complete_func)s
    set -l token (commandline -ct)
    set -l words (commandline -opc)
    for item in (env COMP_WORDS=(commandline -cp | string collect) COMP_CWORD= \
%(complete_var)s=fish_complete $words[1] 2>/dev/null)
        set -l part (string split -m 1 , -- $item)
        set -l prefix (string match -r '^--[^=]*=' -- $token)
        set -l begun (string replace -r '^--[^=]*=' '' -- $token)
        switch $part[1]
            case plain partial
                echo $part[2]
            case file
                for path in (__fish_complete_path "$begun")
                    echo "$prefix$path"
                end
            case dir
                for path in (__fish_complete_directories "$begun" '')
                    echo "$prefix$path"
                end
            case program
                complete -C "$token"
            case command
                set -l at (contains -i -- -- $words)
                set -e words[1..$at]
                complete -C (string join ' ' -- (string escape -- $words) "$token")
        end
    end
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""

Complete = Callable[[click.Context, str], Iterable[str]]


class _Shell(ShellComplete):
    """What the three have in common."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one at the cursor, and that one."""
        line = os.environ.get("COMP_WORDS", "")
        words = split_arg_string(line)
        place = os.environ.get("COMP_CWORD", "")
        if place.isdecimal() and int(place) != len(words) - 1:
            return words[1 : int(place)], words[int(place)] if int(place) < len(words) else ""
        # A blank ends the last word, unless it is in quotes: then one more character would still belong to it.
        if not words or len(split_arg_string(f"{line}x")) > len(words):
            return words[1:], ""
        return words[1:-1], words[-1]

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        try:
            return self._complete(args, incomplete)
        except Exception:  # nobody wants to read of it in the middle of a line
            return []

    def _complete(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        from click.shell_completion import _resolve_context, _resolve_incomplete

        before = args[: args.index("--")] if "--" in args else args
        ctx = _resolve_context(self.cli, self.ctx_args, self.prog_name, before)
        path = ctx.command_path.split()[1:]
        if path in (["enqueue"], ["run"]) and ("--" in args or not _is_option_place(ctx, args, incomplete)):
            words = ctx.params.get("words") or ()
            is_program = "--" not in args and not words and not ctx.params.get("paths")
            return [CompletionItem("", type="command" if "--" in args else "program" if is_program else "file")]
        found: Any = next(
            (param for param in ctx.command.params if _has_value(param) and args[-1:] and args[-1] in param.opts), None
        )
        rest = incomplete
        if found is None:
            found, rest = _resolve_incomplete(ctx, list(args), incomplete)
        prefix = incomplete.removesuffix(rest) if incomplete.endswith(rest) else ""
        complete = _completer_of(ctx, found)
        items = [_item(text) for text in complete(ctx, rest)] if complete else found.shell_complete(ctx, rest)
        return [
            CompletionItem(f"{prefix}{item.value}", type=item.type) if item.type in ("plain", "partial") else item
            for item in items
        ]

    def format_completion(self, item: CompletionItem[str]) -> str:
        return f"{item.type},{item.value}"


class _Bash(_Shell):
    name = "bash"
    source_template = _BASH

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """Readline splits words at some characters and wants only what follows the last of them."""
        breaks = [mark for mark in "=:" if mark in os.environ.get("COMP_WORDBREAKS", "") and mark in incomplete]
        cut = max((incomplete.rindex(mark) + 1 for mark in breaks), default=0)
        found = super().get_completions(args, incomplete)
        return [CompletionItem(item.value[cut:], type=item.type) for item in found]


class _Zsh(_Shell):
    name = "zsh"
    source_template = _ZSH


class _Fish(_Shell):
    name = "fish"
    source_template = _FISH


SHELLS: Mapping[str, type[_Shell]] = {shell.name: shell for shell in (_Bash, _Zsh, _Fish)}


def register() -> None:
    """Make these the answers to `_QUEUECTL_COMPLETE`."""
    for shell in SHELLS.values():
        add_completion_class(shell)


def script(shell: str) -> str:
    """What a shell of that name loads to complete `queuectl`."""
    return SHELLS[shell](click.Group("queuectl"), {}, "queuectl", "_QUEUECTL_COMPLETE").source()


def _is_option_place(ctx: click.Context, args: list[str], incomplete: str) -> bool:
    """Whether the next word is an option, or the value of one."""
    if incomplete.startswith("-") and incomplete != "-":
        return True
    valued = {name for param in ctx.command.params if _has_value(param) for name in param.opts}
    return bool(args) and args[-1] in valued


def _has_value(param: click.Parameter) -> bool:
    return isinstance(param, click.Option) and not param.is_flag and not param.count


def _item(text: str) -> CompletionItem[str]:
    if text in (_FILE, _DIRECTORY):
        return CompletionItem("", type=text)
    return CompletionItem(text, type="partial" if text.endswith(("=", "/")) else "plain")


# --- values

_FILE, _DIRECTORY = "file", "dir"


def _files(ctx: click.Context, begun: str) -> Iterable[str]:
    return [_FILE]


def _directories(ctx: click.Context, begun: str) -> Iterable[str]:
    return [_DIRECTORY]


def _some(words: Callable[[], Iterable[str]]) -> Complete:
    """Those that begin with what was typed."""
    return lambda ctx, begun: [word for word in words() if word.startswith(begun)]


def _listed(words: Callable[[], Iterable[str]]) -> Complete:
    """The same for the last of several, separated by commas."""

    def complete(ctx: click.Context, begun: str) -> Iterable[str]:
        head, comma, last = begun.rpartition(",")
        given = head.split(",")
        return [f"{head}{comma}{word}" for word in words() if word.startswith(last) and word not in given]

    return complete


def _states() -> Iterable[str]:
    from queuectl.cli.filters import WORDS

    return WORDS


def _results() -> Iterable[str]:
    from queuectl.spool.reading.filters import RESULT_KINDS

    return sorted({"failed", "succeeded", *RESULT_KINDS, "exit0", "exit1", "signal9", "signal15"})


def _sort_keys() -> Iterable[str]:
    return [*_columns(), *(f"-{name}" for name in _columns())]


def _columns() -> Iterable[str]:
    from queuectl.core.values import names

    return names()


def _signals(ctx: click.Context, begun: str) -> Iterable[str]:
    import signal

    names = [number.name.removeprefix("SIG") for number in signal.Signals]
    word = begun.upper()
    return [
        f"SIG{name}" if word.startswith("SIG") else name for name in names if name.startswith(word.removeprefix("SIG"))
    ]


def _awaited(ctx: click.Context, begun: str) -> Iterable[str]:
    """Ids and groups, of which the last of several is completed; a group has a dot at its end."""
    head, comma, last = begun.rpartition(",")
    groups = (f"{name}." for name in complete_groups(ctx, _ANY, last))
    return [f"{head}{comma}{word}" for word in sorted({*complete_jobs()(ctx, _ANY, last), *groups})]


def _pages(ctx: click.Context, begun: str) -> Iterable[str]:
    """The commands that the words so far lead to; `spool`, of which there is a page too."""
    root = ctx.find_root()
    command: click.Command | None = root.command
    given = ctx.params.get("words") or ()
    for word in given:
        command = command.get_command(root, word) if isinstance(command, click.Group) else None
    words = command.list_commands(root) if isinstance(command, click.Group) else []
    return [word for word in (*words, *(() if given else ("spool",))) if word.startswith(begun)]


def _variables() -> Iterable[str]:
    return sorted(os.environ)


def _groups() -> Iterable[str]:
    import grp

    return sorted(group.gr_name for group in grp.getgrall())


def _assignments(ctx: click.Context, begun: str) -> Iterable[str]:
    """Ids of waiting jobs; keys, once there is one or it is selected; and the values that a key may have."""
    from queuectl.core.fields import CAN_BE_SET, FIELDS

    key, equals, value = begun.partition("=")
    if equals:
        field = FIELDS.get(key.replace("-", "_"))
        if key == "cwd":
            return [f"cwd={path}" for path in _directories_below(value)]
        words = [word.value for word in field.kind] if field and issubclass(field.kind, StrEnum) else []
        return [f"{key}={word}" for word in [*words, "none"] if word.startswith(value) and key != "command"]
    keys = [f"{name}=" for name in CAN_BE_SET] + ["env."]
    found = [word for word in keys if word.startswith(begun)]
    has_jobs = bool(ctx.params.get("ids")) or any(ctx.params.get(name) for name in ("every", "state", "match", "since"))
    return found if has_jobs else [*complete_jobs("pending")(ctx, _ANY, begun), *(found if begun else [])]


def _directories_below(begun: str) -> Iterable[str]:
    head, slash, last = begun.rpartition("/")
    try:
        with os.scandir(f"{head}{slash}" or ".") as entries:
            return sorted(f"{head}{slash}{e.name}/" for e in entries if e.is_dir() and e.name.startswith(last))
    except OSError:
        return []


def _setting_values(ctx: click.Context, begun: str) -> Iterable[str]:
    """What is in force, the default, and the words that the setting knows."""
    from queuectl.core.fields import OnMaxLog
    from queuectl.core.retry import OnLost
    from queuectl.core.settings import HOOK_EVENTS, Settings, as_text

    words: Mapping[str, Iterable[str]] = {
        "on-lost": [*OnLost],
        "on-max-log": [*OnMaxLog],
        "notify-on": HOOK_EVENTS,
        "permanent-codes": ["qmail"],
        "temporary-codes": ["qmail"],
        "allow-users": ["*"],
    }
    key = str(ctx.params.get("key") or "")
    name = key.replace("-", "_")
    if name not in Settings._fields:
        return []
    default = Settings._field_defaults[name]
    spool = spool_to_complete(ctx)
    values = [getattr(spool.settings, name)] if spool else []
    texts = [as_text(value).removesuffix(".0") for value in [*values, default]]
    if key == "notify-on":
        return [*_listed(lambda: HOOK_EVENTS)(ctx, begun)]
    found = dict.fromkeys([*(str(word) for word in words.get(key, ())), *texts])
    return [text for text in found if text.startswith(begun)]


_ANY = click.Argument(["ids"])
_OPTIONS: dict[str, Complete] = {
    "--file": _files,
    "--each": _files,
    "--cwd": _directories,
    "--spool": _directories,
    "--state": _listed(_states),
    "--result": _some(_results),
    "--sort": _some(_sort_keys),
    "--columns": _listed(_columns),
    "--signal": _signals,
    "--env": _some(_variables),
    "--drop-box": _some(_groups),
    "--after": _awaited,
    "--after-end": _awaited,
    "--after-failed": _awaited,
}
"""Values of options, whichever command they belong to."""
_ARGUMENTS: dict[tuple[str, str], Complete] = {
    ("set", "ids"): _assignments,
    ("config set", "value"): _setting_values,
    ("init", "path"): _directories,
    ("man", "words"): _pages,
}


def _completer_of(ctx: click.Context, found: Any) -> Complete | None:
    if isinstance(found, click.Option):
        return next((_OPTIONS[name] for name in found.opts if name in _OPTIONS), None)
    if isinstance(found, click.Argument):
        return _ARGUMENTS.get((" ".join(ctx.command_path.split()[1:]), found.name or ""))
    return None
