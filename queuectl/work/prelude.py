"""The shell in which a command runs: it records the command's start and end in the log, even if the worker has died.

Nearly every command runs below that shell, which waits for it:

    qk=status qs=;echo "#queuectl start … pid=$$">&9||exit 125;
    trap 'printf "\\n#queuectl end … %s=%s\\n" $qk "$qs">&9' 0;
    cd '…'||exit ${qs:=126};trap : 1 2 3 …;COMMAND;qs=$?;[ $qs -gt 128 ]||qk=exit;exit $qs

(one line, so that line numbers in messages are true; its variables have longer names). COMMAND is a command string that
starts one program, after builtins perhaps, as in `cd src && ./build`; or `"$@"`, which stands for an array, or for
/bin/sh -c and any other string.

**No command runs whose start line is not in the log**, say because the disk is full: what has no start line has not
begun, for whoever finds it.

**A job may signal its process group** (`kill 0`), and its shell is in it. So the shell does nothing on any signal that
it can handle: by a trap, for what it ignored would be ignored by the command too. A command that names its group by its
own pid (`kill -- -$$`) has to lead one, which setsid(1) sees to; that is another program to load, and used only where a
`$$` is seen, in the command or in the script that it starts.

The shell sees death by signal N only as 128 + N, which is what `status=` stands for.

Builtins alone, as in `echo a >>b; exit 3`, cannot send signals and are not worth another process. Their shell records
its own end:

    echo "#queuectl start … pid=$$">&9||exit 125;trap 'printf "\\n#queuectl end … exit=%d\\n" $?>&9' 0;
    cd '…'||exit 126;COMMAND

unless /bin/sh runs EXIT traps when a signal kills it, as bash does, with status 0.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import stat
from collections.abc import Sequence
from functools import lru_cache

from queuectl.core.names import RunningName
from queuectl.spool.system import logs

LOG = 9
"""The descriptor of the log in that shell: one digit, for dash."""
NOT_STARTED = 125
"""The status of a shell that could not write the start line, or only a part of it."""
CANNOT_RUN = 126
_STATUS, _KIND = "queuectl_status", "queuectl_kind"  # variables of the shell that waits
_WAIT = f"{_STATUS}=$?;[ ${_STATUS} -gt 128 ]||{_KIND}=exit;exit ${_STATUS}"  # known to processes.py, too
_SETSID = shutil.which("setsid")
_SHELLS = frozenset(("sh", "dash", "bash", "ksh", "zsh"))
_MOST_OF_A_SCRIPT = 1 << 16  # bytes
_quote = lru_cache(maxsize=64)(shlex.quote)  # most jobs of a queue share a directory

_LONG = 4000  # characters; what is longer is not looked at so closely
_PART = r"""(?:[^\s;&|<>()$`\\'"#]|'[^']*'|"(?:[^"$`\\]|\$\w+)*"|\$\w+)"""
_ARGUMENTS = rf"(?:(?:[ \t]++|[ \t]*+(?<!9)(?:>>?|<)[ \t]*+){_PART}++|(?<!9)>&[12])*+[ \t]*+"
_NAMES = r"true|false|:|echo|printf|test|\[|cd|pwd|umask"
_THEN = r"(?:;|&&|\|\||\n)[ \t]*+"
# They take a millisecond to compile, so each part stands in them as seldom as possible.
_BUILTINS = re.compile(rf"(?:(?:{_NAMES}|exit){_ARGUMENTS}(?:{_THEN}(?!\Z)|[;\n]?\Z))++")
_ASSIGNMENTS = rf"(?:[A-Za-z_]\w*+={_PART}*+[ \t]++)*+"
_WORD = r"[\w./+:,@%][\w./+:,@%-]*+"
_PROGRAM = re.compile(
    rf"((?:(?:{_NAMES}){_ARGUMENTS}{_THEN})*+)({_ASSIGNMENTS})(?:exec[ \t]++)?+(({_WORD}){_ARGUMENTS})\n?"
)
_EXEC = rf"\bexec[ \t]+({_WORD})"
_CD = rf"\bcd[ \t]+({_WORD})"
_SHELL_WORDS = """
    . : [ [[ alias bg bind break builtin caller case cd chdir command compgen complete compopt continue coproc declare
    dirs disown do done echo elif else enable esac eval exec exit export false fc fg fi for function getopts hash help
    history if in jobs kill let local logout mapfile popd printf pushd pwd read readarray readonly return select set
    shift shopt source suspend test then time times trap true type typeset ulimit umask unalias unset until wait while
"""
_NOT_PROGRAMS = frozenset(_SHELL_WORDS.split())
"""What dash and bash do not look for on the PATH."""
_HANDLE = "trap : " + " ".join(
    f"{number:d}"
    for number in sorted(signal.valid_signals())
    if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH)
)
"""From then on the shell does nothing on any signal that could end it or stop it, and can be handled."""


def is_builtins(command: str | tuple[str, ...]) -> bool:
    """Whether all that a command does is done by its shell, and sends no signals."""
    return isinstance(command, str) and len(command) < _LONG and _BUILTINS.fullmatch(command) is not None


def alone(name: RunningName, command: str, cwd: str | None) -> str:
    """The script of a shell that runs builtins and records its own end."""
    enter = f"cd {_quote(cwd)}||exit {CANNOT_RUN};" if cwd else ""
    return f"{_record(name, 'exit=%d', '$?')}{enter}{command}"


def waiting(
    name: RunningName, command: str | tuple[str, ...], cwd: str | None, shell: str
) -> tuple[str, Sequence[str]]:
    """The script of a shell that waits for a command and records its end, and the script's arguments."""
    record = _record(name, "%s=%s", f'${_KIND} "${_STATUS}"')
    enter = f"cd {_quote(cwd)}||exit ${{{_STATUS}:={CANNOT_RUN}}};" if cwd else ""
    call, words = _call_of(command, cwd, shell)
    return f"{_KIND}=status {_STATUS}=;{record}{enter}{call};{_WAIT}", words


def _record(name: RunningName, outcome: str, values: str) -> str:
    end, start = logs.format_end(name, outcome), logs.format_start(name, "$$")
    return f'echo "{start}">&{LOG}||exit {NOT_STARTED};trap \'printf "\\n{end}\\n" {values}>&{LOG}\' 0;'


def _call_of(command: str | tuple[str, ...], cwd: str | None, shell: str) -> tuple[str, Sequence[str]]:
    """The line of shell that starts a command as one process, and what `$@` is in it."""
    if isinstance(command, str):
        program = _PROGRAM.fullmatch(command) if len(command) < _LONG else None
        if program is not None and program[4] not in _NOT_PROGRAMS:
            builtins, assignments, call = program[1], program[2], program[3]
            there = os.path.join(cwd or "", *re.findall(_CD, builtins))
            leader = f"{_SETSID} " if _names_its_group(call.split(), there) else ""
            return f"{builtins}{{ {_HANDLE};{assignments}{leader}{call};}}", ()
        words: tuple[str, ...] = (shell, "-c", "--", command, "sh")
        close = ""
    else:
        words, close = command, f" {LOG}>&-"
    if _names_its_group(words, cwd or ""):
        words = (_SETSID or "setsid", *words)
    # `"$@"` alone would look for a builtin first, and run it in the shell that waits.
    start = f'(exec "$@"{close})' if words[0] in _NOT_PROGRAMS else f'"$@"{close}'
    return f"{_HANDLE};{start}", words


def _names_its_group(words: Sequence[str], cwd: str) -> bool:
    """Whether a command seems to use its own pid, perhaps as that of its process group, and can be made to lead one."""
    if _SETSID is None:
        return False
    if any("$$" in word.replace("\\", "") for word in words):
        return True
    scripts = [script for word in words for script in re.findall(_EXEC, word)]
    if os.path.basename(words[0]) in _SHELLS:
        scripts += [] if "-c" in words else [word for word in words[1:] if not word.startswith("-")][:1]
    elif "/" in words[0]:
        scripts.append(words[0])
    # In double quotes that are read twice it is \\$\\$.
    return any(b"$$" in _read_script(os.path.join(cwd, script)).replace(b"\\", b"") for script in scripts)


def _read_script(path: str) -> bytes:
    """The beginning of that file; nothing if it is no regular file, or a program that is not a script."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b""
        with open(path, "rb", buffering=0) as file:
            begun = file.read(4)
            return b"" if begun == b"\x7fELF" else begun + file.read(_MOST_OF_A_SCRIPT)
    except (OSError, ValueError):
        return b""
