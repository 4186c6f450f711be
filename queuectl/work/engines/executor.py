"""Running one command on this machine: the only code that starts a process. What its shell is given to do is in
`prelude`."""

from __future__ import annotations

import os
import re
import resource  # noqa: F401 - or wait4 imports it, in the middle of a job, when the disk may not be readable
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from queuectl.core import params
from queuectl.core.result import SUCCESS, TIMEOUT, Result
from queuectl.core.seats import PREFIX
from queuectl.spool.moves.claims import Claim
from queuectl.spool.moves.ending import end_attempt
from queuectl.spool.system import files, lease, logs, processes, progress
from queuectl.work import prelude, turn
from queuectl.work.engines.engine import Engine, Run
from queuectl.work.places import Given
from queuectl.work.spawn import Spawner, Strings, strings

SHELL = "/bin/sh"
_SHELL = SHELL.encode()
_ENDED = os.WEXITED | os.WNOWAIT  # of waitid: has ended, and its pid is kept
_ID, _ATTEMPT, _TOKEN = b"QUEUECTL_JOB_ID", b"QUEUECTL_ATTEMPT", processes.TOKEN.encode()
_SPOOL, _SUBMITTER, _PROGRESS = b"QUEUECTL_SPOOL", b"QUEUECTL_SUBMITTED_BY", progress.VARIABLE.encode()
_AFTER = b"QUEUECTL_AFTER"
_OF_JOBS = re.compile(rb"QUEUECTL_(?:SEAT_.*|PARAM_.*|AFTER|TICK)", re.DOTALL)
"""Variables that say something of one job: those of the worker's own environment are about another."""


class _Arrays(threading.local):
    """Arrays of strings for each thread, of which only those of the attempt change: its variables, four of which stand
    before the others, and the arguments of a shell whose script has none."""

    def __init__(self, others: list[bytes]) -> None:
        self.variables = strings([b"", b"", b"", b"", *others])
        self.arguments = strings([b"sh", b"-c", b"", b"sh"])


class Execution(Run):
    """A command that was started here: its shell is a child of this process, for which `wait` waits."""

    __slots__ = ("_ender", "is_wrapped")

    def __init__(self, claim: Claim, pid: int, is_wrapped: bool) -> None:
        super().__init__(claim, pid)
        self.is_wrapped = is_wrapped
        self._ender: threading.Thread | None = None

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self.pid, _ENDED | os.WNOHANG) is not None

    def _in_thread(self, work: Callable[[], None]) -> None:
        ender = threading.Thread(target=work, name="end", daemon=True)
        ender.start()
        self._ender = ender

    def _end(self, reason: str, grace: float) -> bool:
        claim = self.claim
        return end_attempt(claim.log, claim.name, claim.token, self.pid, reason, grace)

    def wait(self, grace: float = 0.0) -> Result:
        """Block until the shell has ended (and, if it was stopped or killed, all it left); how it ended."""
        os.waitid(os.P_PID, self.pid, _ENDED)
        if self._ender is None:
            turn.take()
        self.mark_over()
        if self._ender is not None:
            self._ender.join()  # before the pid is freed: it names the process group to end
            if not self.was_ended:
                self.reason = None  # it had ended by itself
        _, status, used = os.wait4(self.pid, 0)
        self.usage = logs.Usage(used.ru_maxrss * 1024, used.ru_utime, used.ru_stime)
        if status == 0 and self._ender is None:
            return SUCCESS
        result = self._result_of(os.waitstatus_to_exitcode(status))
        if self.reason is None and os.WIFSIGNALED(status):
            result = self._result_on_record() or result
        if self._ender is None and result.kind == "signal":
            # A shell that was killed may have left its command running, which must not meet the next attempt.
            # SIGTERM was most likely meant for all of them, by a cancel or a kill: it is not sent twice.
            turn.give()
            processes.terminate(self.claim.token, None, grace, is_signalled=result.code == signal.SIGTERM)
        if self.reason == "max-log" and result.is_success:
            return Result.signal(signal.SIGTERM)  # which it handled well
        return TIMEOUT if self.reason == "timeout" else result

    def _result_on_record(self) -> Result | None:
        """What the shell has written of its end, if it was killed after that."""
        try:
            attempt = logs.find_attempt(self.claim.log, self.claim.name)
        except OSError:
            return None
        return attempt.result if attempt is not None and attempt.has_ended_itself else None

    def _result_of(self, code: int) -> Result:
        if code < 0:
            return Result.signal(-code)
        return logs.from_shell_status(code) if self.is_wrapped else Result.exit(code)


class Executor(Engine):
    """Starts commands on this machine, for one worker of one spool. Thread-safe."""

    def __init__(self, spool: str, worker: str, marks: Mapping[bytes, bytes] | None = None) -> None:
        """`spool` is empty where there is none, and then nothing of it is said to the jobs, each of which must be
        `given` something. Each has the variables `marks`, too."""
        self._own = {_SPOOL: os.fsencode(spool), b"QUEUECTL_WORKER": os.fsencode(worker), **(marks or {})}
        self._progress = os.fsencode(f"{spool}/progress/") if spool else b""
        own = (*self._own, _ID, _ATTEMPT, _TOKEN, _SUBMITTER, _PROGRESS)
        if not spool:
            del self._own[_SPOOL]
        self._inherited = {
            key: value for key, value in os.environb.items() if key not in own and not _OF_JOBS.fullmatch(key)
        }
        self._arrays = _Arrays(_assign({**self._inherited, **self._own}))  # of jobs that set no variable
        self._null = _open_null()
        self._spawner = Spawner()
        self._shell = _SHELL
        self._is_shared = files.shared_root(f"{spool}/") is not None
        self._must_wrap = _runs_exit_trap_on_signal(self._spawner, self._shell, self._null)

    def start(self, claim: Claim, given: Given | None = None) -> Execution:
        """Start the claim's command in a session of its own; raises OSError if that is impossible."""
        body, name = claim.body, claim.name
        command = body.command
        is_wrapped = self._must_wrap or not prelude.is_builtins(command)
        if is_wrapped or not isinstance(command, str):
            script, words = prelude.waiting(name, command, body.cwd, SHELL)
        else:
            script, words = prelude.alone(name, command, body.cwd), ()
        record = _open_durable(claim.log) if self._is_shared else claim.log
        try:
            pid = self._spawner.spawn(
                self._shell,
                self._arguments_of(script, words),
                self._environment_of(claim, given),
                ((0, self._null), (1, claim.log), (2, claim.log), (prelude.LOG, record)),
                (*(given.descriptors if given is not None else ()), *lease.inherited(claim.log)),
            )
        finally:
            if record != claim.log:
                with suppress(OSError):  # the file server went away: nothing of this process was written there
                    os.close(record)
        return Execution(claim, pid, is_wrapped)

    def _arguments_of(self, script: str, words: Sequence[str]) -> Strings:
        """An array that is this thread's until it asks again."""
        if words:
            return strings([b"sh", b"-c", _bytes(script), b"sh", *map(_bytes, words)])
        array = self._arrays.arguments
        array[2] = _bytes(script)
        return array

    def _environment_of(self, claim: Claim, given: Given | None) -> Strings:
        """An array that is this thread's until it asks again."""
        name, env, submitter, parameters = claim.name, claim.body.env, claim.body.submitted_by, claim.body.params
        id, attempt, token = name.id.encode(), b"%d" % name.attempt, processes.token_of(name, name.worker).encode()
        references = claim.body.references
        if env or submitter or parameters or references or given is not None:
            wanted = {_bytes(key): _bytes(value) for key, value in env.items() if not key.startswith(PREFIX)}
            own = {**self._own, _ID: id, _ATTEMPT: attempt, _TOKEN: token}
            if self._progress:
                own[_PROGRESS] = self._progress + id
            if given is not None:  # over what the job asks for: two would use one card
                wanted.update((_bytes(key), _bytes(value)) for key, value in given.variables.items())
            if submitter:
                own[_SUBMITTER] = submitter.encode()
            if references:
                own[_AFTER] = b" ".join(map(_bytes, references))
            for parameter, value in parameters.items():
                own[params.variable_of(parameter).encode()] = _bytes(params.as_text(value))
            return strings(_assign({**self._inherited, **wanted, **own}))
        array = self._arrays.variables
        array[0], array[1], array[2] = _ID + b"=" + id, _ATTEMPT + b"=" + attempt, _TOKEN + b"=" + token
        array[3] = _PROGRESS + b"=" + self._progress + id
        return array


def _bytes(text: str) -> bytes:
    """What a text of a job stands for, whatever the worker's own locale is."""
    return text.encode("utf-8", "surrogateescape")


def _assign(variables: Mapping[bytes, bytes]) -> list[bytes]:
    return [b"%b=%b" % variable for variable in variables.items()]


def _open_durable(log: int) -> int:
    """A log for lines that are on the file server once they are written: it may be away, which a write does not say."""
    return os.open(f"/proc/self/fd/{log}", os.O_WRONLY | os.O_APPEND | os.O_DSYNC | os.O_CLOEXEC)


def _open_null() -> int:
    """/dev/null, on a descriptor above those that a job's numbers could collide with."""
    import fcntl

    low = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    high = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(low)
    return high


def _runs_exit_trap_on_signal(spawner: Spawner, shell: bytes, null: int) -> bool:
    """Whether this machine's /bin/sh runs an EXIT trap when SIGTERM kills it (bash does, with status 0)."""
    output, its_output = os.pipe2(os.O_CLOEXEC)
    with open(output, "rb") as reader:
        try:
            words = [b"sh", b"-c", b"trap 'echo ran' 0;kill -15 $$;sleep 1"]
            descriptors = ((0, null), (1, its_output), (2, null))
            pid = spawner.spawn(shell, strings(words), strings(_assign(os.environb)), descriptors)
        finally:
            os.close(its_output)
        os.waitpid(pid, 0)
        return reader.read() != b""
