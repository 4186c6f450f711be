"""Words of pueue, task-spooler, Slurm and others, and the queuectl equivalent of each."""

from __future__ import annotations

_ENQUEUE, _LOGS, _LIST = "enqueue -- CMD", "logs ID", "list"
_CANCEL, _RETRY, _PRUNE = "cancel ID", "retry ID", "prune"

_COMMANDS = {
    **dict.fromkeys(("add", "submit", "push", "sbatch", "batch", "queue", "tsp", "ts"), _ENQUEUE),
    **dict.fromkeys(("srun", "salloc", "exec"), "run -- CMD"),
    **dict.fromkeys(("log", "cat", "output"), _LOGS),
    **dict.fromkeys(("follow", "tail"), "logs -f ID"),
    **dict.fromkeys(("ls", "ps", "jobs", "squeue", "sacct", "history"), _LIST),
    **dict.fromkeys(("info", "inspect"), "show ID"),
    **dict.fromkeys(("remove", "delete", "del", "scancel", "qdel", "abort"), _CANCEL),
    **dict.fromkeys(("restart", "requeue", "rerun", "redo"), _RETRY),
    **dict.fromkeys(("clean", "clear", "purge"), _PRUNE),
    **dict.fromkeys(("stash", "freeze"), "hold ID"),
    **dict.fromkeys(("unhold", "unstash"), "release ID"),
    **dict.fromkeys(("unpause", "continue", "unfreeze"), "resume"),
    **dict.fromkeys(("switch", "bump", "urgent", "top-priority"), "first ID"),
    **dict.fromkeys(("update", "modify", "scontrol", "reprioritise", "reprioritize"), "set ID priority=1"),
    **dict.fromkeys(("delay", "reschedule", "schedule"), "set ID run_at=+5m"),
    **dict.fromkeys(("suspend", "sigstop"), "kill -s STOP ID"),
    "interrupt": "kill -s INT ID",
    "signal": "kill -s SIG ID",
    **dict.fromkeys(("start", "work", "daemon", "pueued"), "worker start"),
    "parallel": "worker start --count 4",
    "stop": "worker stop",
    "shutdown": "worker stop",
    "workers": "worker list",
    "group": "--spool DIR, a queue of its own",
    "dead": "dlq list",
    "failed": "list --result failed",
    "stats": "metrics",
    "watch": "top",
    "why": "explain ID",
    "help": "--help",
    "version": "--version",
}
_OPTIONS = {
    "enqueue": {
        "--delay": "--in",
        "--name": "--id",
        "--nice": "-p",
        "--retries": "--max-retries",
        "--env-file": "--env",
    },
    "list": {"-n": "--limit", "--status": "--state", "-s": "--state", "--all": "--limit 0", "-a": "--limit 0"},
    "logs": {"-n": "--tail", "--lines": "--tail", "--last": "--tail"},
    "start": dict.fromkeys(("-n", "-j", "-c", "-w", "--slots", "--jobs", "--concurrency", "--parallel"), "--count"),
    "status": dict.fromkeys(("-w", "-f", "--follow"), "--watch"),
    "top": {"--json": "status --watch --json"},
}
_OPTIONS["run"] = _OPTIONS["enqueue"]


def command_here(word: str) -> str | None:
    """The equivalent of a foreign command, to be typed after `queuectl`."""
    return _COMMANDS.get(word.lower())


def option_here(command: str, word: str) -> str | None:
    """The equivalent of a foreign option of that command."""
    return _OPTIONS.get(command, {}).get(word)
