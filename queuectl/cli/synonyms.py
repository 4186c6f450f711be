"""What people of pueue, Slurm, task-spooler, HyperQueue, GNU parallel, rq and cron type, and what it is here.

Data only, read once something has been typed that queuectl does not know; queuectl/cli/suggest.py fills it in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from queuectl.core.seats import MAX_TAKEN

Values = tuple[str, ...]
Read = Callable[[str], Values | None]


def _any(text: str) -> Values:
    return (text,)


def _matching(pattern: str) -> Read:
    """The groups of a value that matches as a whole."""

    def read(text: str) -> Values | None:
        match = re.fullmatch(pattern, text)
        return None if match is None else tuple(group or "" for group in match.groups())

    return read


def _ids_after(types: str) -> Read:
    """The ids of a dependency such as `afterok:12:13` or `afterok:12,afterok:13`, with commas between them."""

    def read(text: str) -> Values | None:
        if not re.fullmatch(rf"(?:{types}):[^,?]+(?:,(?:(?:{types}):)?[^,:?]+(?::[^,:?]+)*)*", text):
            return None
        return (re.sub(r"[:,]+", ",", re.sub(rf"(?:^|(?<=,))(?:{types}):", "", text)),)

    return read


def _mixed(first: str) -> Read:
    """Of several types of dependencies the ids of one, as `_ids_after`, and an option and the ids for another."""

    def read(text: str) -> Values | None:
        ours = {"afterok": "--after", "aftercorr": "--after", "afternotok": "--after-failed"}
        found: dict[str, list[str]] = {}
        for kind, ids in re.findall(r"(after(?:ok|corr|any|notok)?):([^,]+)", text):
            found.setdefault(ours.get(kind, "--after-end"), []).append(ids.replace(":", ","))
        mine, (other, *_) = found.pop(first, None), (*found.items(), ("", []))
        return (",".join(mine), other[0], ",".join(other[1])) if mine and found else None

    return read


def _id_of_none(text: str) -> Values | None:
    """An id, or several, that do not look like a time, as `-d` means with others."""
    return None if re.fullmatch(r"…|[\d.:]+ ?[a-zA-Z]{0,7}", text) else (text.replace(":", ","),)


def _slurm_time(text: str) -> Values | None:
    """A duration of queuectl from `minutes`, `minutes:seconds`, `[days-]hours[:minutes[:seconds]]`."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if match is None:
        return (text,)
    days, *parts = match.groups()
    units = "hms" if days or parts[2] else "ms"
    found = zip(units, (part for part in parts if part), strict=False)
    return ("".join(f"{int(number)}{unit}" for unit, number in [("d", days or "0"), *found] if int(number)) or "0",)


def _gigabytes(text: str) -> Values | None:
    """How many, rounded up, of `16G`, `16000M` or, as in Slurm, a number of MB; of a small number, itself."""
    match = re.fullmatch(r"(\d{1,9})([KMGT]?)[Ii]?[Bb]?", text.upper())
    if match is None:
        return None
    number, unit = int(match[1]), match[2] or ("M" if int(match[1]) > MAX_TAKEN else "G")
    found = -(-number * {"K": 1, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30}[unit] // (1 << 20))
    return (f"{found}",) if 0 < found <= MAX_TAKEN else None


def _array(text: str) -> Values | None:
    """The values of a parameter that are `1-10`, `0-20:5` or `1,3,7-9`; and the limit behind a `%`, or none."""
    match = re.fullmatch(r"([\d,:-]+)(?:%(\d+))?", text)
    if match is None:
        return None
    ranges = [re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part) for part in match[1].split(",")]
    if not all(ranges):
        return None
    return ",".join("..".join(number for number in each.groups() if number) for each in ranges if each), match[2] or ""


def _many(text: str) -> Values | None:
    """Ids with commas between them, for any that were typed with colons or spaces."""
    return (re.sub(r"[:,\s]+", ",", text.strip()),)


class Row(NamedTuple):
    """Options that mean one thing, and the answer to them.

    `read` makes the values of the option's value, or None if the row is for other values; without `read` the option
    has no value. `ours` replaces the option (nothing, if empty); one that begins with `--spool` belongs before the
    command. `whole` is the line to type, `{line}` in it what is left of the line that was typed. `why` is what else one
    must know. `{0}`, `{1}` are the values, in all three.
    """

    names: str
    ours: str = ""
    whole: str = "{line}"
    why: str = ""
    read: Read | None = _any


_TIMES = r"[\d*,/A-Za-z#-]+( .*)?"


def times_of(words: list[str]) -> tuple[list[str], list[str]]:
    """The options of `schedule add` for what some words say of times, and the words that are left: those of a crontab,
    in one word or in five, also with the command behind them in that word, `15m`, `2h`; else every night."""
    times, command = (words[0].split(None, 5)[:5], words[0].split(None, 5)[5:]) if words else ([], [])
    if command and re.fullmatch(_TIMES, " ".join(times)):
        return ["--cron", " ".join(times)], [*command, *words[1:]]
    for number in range(len(words)):
        text = " ".join(words[: number + 1])
        if re.fullmatch(r"@[a-z]+", text) or (len(text.split()) == 5 and re.fullmatch(_TIMES, text)):
            return ["--cron", text], words[number + 1 :]
        match = re.fullmatch(r"(\d+) ?([smhd])[a-z]*", text)
        if match is not None:
            return ["--every", f"{match[1]}{match[2]}"], words[number + 1 :]
    return ["--cron", "30 2 * * *"], words


_ONE_SLOT = "a job takes --slots of its worker's slots, or one, whatever it uses; a worker has --count of them"
_SEATS = "how many there are is said once: queuectl group set {0} seats=4"
_GPUS = "how many there are is said once: queuectl group set gpu seats=4"
_MEMORY = "a seat is 1 GB then; how many there are is said once: queuectl group set mem seats=64"
_MANY_GB = "--seats mem=N, of what size you like; how many there are is said once: queuectl group set mem seats=64"
_KEY = "of its key one job at a time waits or runs; for one at a time, none dropped: --group {0} --limit 1"
_CRON = "a job that recurs is a schedule, which has a name"
_CRON_LINE = "{entry}"
_ITS_NUMBER = "a job has its number in QUEUECTL_PARAM_N, and its command where {{n}} is"
_BRAKE = "when so many have failed, the group pauses itself; what runs continues"
_ONE_WAY = "a job waits in one way; for {2}, let a job of its own wait with {1} {2}, and this one for that"
_ITS_RULE = "which jobs a job waits for, and how, is one option: --after, --after-end, --after-failed"
_ITS_LOG = "the output of a job goes to its log"

_ENQUEUE = (
    Row("--delay", "--in {0}"),
    Row("--begin", "--in {0}{1}", read=_matching(r"now\+(\d+)((?:second|minute|hour|day|week)s?)?")),
    Row("--begin --start-after --not-before --run-at --eta", "--at {0}"),
    Row("--dependency -d", "--limit 1", why="for one that waits or runs, others dropped: --unique KEY",
        read=_matching("singleton")),
    Row("--dependency -d", "--after …", why="a job waits for all of them: there is no or", read=_matching(r".*\?.*")),
    Row("--dependency -d", "--after {0}", why=_ONE_WAY, read=_mixed("--after")),
    Row("--dependency -d", "--after-end {0}", why=_ONE_WAY, read=_mixed("--after-end")),
    Row("--dependency -d", "--after-failed {0}", read=_ids_after("afternotok")),
    Row("--dependency -d", "--after-end {0}", read=_ids_after("after(?:any)?")),
    Row("--dependency -d", "--after {0}", read=_ids_after("after(?:ok|corr)")),
    Row("--dependency", "--after {0}", read=_many),
    Row("-d", "--after {0}", read=_id_of_none),
    Row("-d", "--in {0}"),
    Row("--depends-on --depends --deps --needs --requires --upstream --prerequisites -W", "--after {0}", read=_many),
    Row("--on-success --if-ok", "--after {0}", read=_many),
    Row("--on-failure --on-fail --if-failed", "--after-failed {0}", read=_many),
    Row("--finally --always", "--after-end {0}", read=_many),
    Row("--trigger-rule", "--after-end …", why=_ITS_RULE, read=_matching("all_done")),
    Row("--trigger-rule", "--after-failed …", why=_ITS_RULE, read=_matching("(?:one|all)_failed")),
    Row("--trigger-rule", "--after …", why=_ITS_RULE),
    Row("--kill-on-invalid-dep", why="what can no longer start is skipped"),
    Row("--array -A", "--param n={0} --limit {1}", why=_ITS_NUMBER,
        read=lambda text: values if (values := _array(text)) and values[1] else None),
    Row("--array -A", "--param n={0}", why=_ITS_NUMBER, read=_array),
    Row("--each-line --arg-file", "--each {0}"),
    Row("--bar --progress", "--wait", read=None),
    Row("--from-json", whole="queuectl enqueue - < {0}", why="one JSON object a line is a job"),
    Row("--partition --queue --qos --pool", "--group {0}"),
    Row("-p --priority", "-p 0", read=_matching("(?:high|highest|urgent|top)")),
    Row("-p --priority", "-p 10", read=_matching("(?:normal|medium|default)")),
    Row("-p --priority", "-p 100", read=_matching("(?:low|lowest|idle)")),
    Row("-p --priority", "--group {0}", why="-p is the priority, a number", read=_matching(r"([A-Za-z][\w.-]*)")),
    Row("-J --job-name --label -l --name", "--id {0}", why="for many jobs of a name: --group {0}"),
    Row("--job-id", "--id {0}"),
    Row("--queueing-lock --singleton", "--unique {0}", why=_KEY),
    Row("-H --stashed -s --held", "--hold", read=None),
    Row("-t --time --time-limit", "--timeout {0}", read=_slurm_time),
    Row("--job-timeout --max-time", "--timeout {0}"),
    Row("-c -N -n --cpus-per-task --cpus --ntasks --nodes", "--slots {0}", read=_matching(r"([1-9]\d{0,3})")),
    Row("-c -N -n --cpus-per-task --cpus --ntasks --nodes", why=_ONE_SLOT),
    Row("--gres", "--seats {0}={1}", why=_SEATS, read=_matching(r"([A-Za-z]\w*)(?::[A-Za-z]\w*)?:(\d+)")),
    Row("--gres", "--seats {0}=1", why=_SEATS, read=_matching(r"([A-Za-z]\w*)")),
    Row("--gpus -G --gpu", "--seats gpu={0}", why=_GPUS, read=_matching(r"(?:[A-Za-z]\w*:)?(\d+)")),
    Row("--mem --mem-per-cpu --memory", "--seats mem={0}", why=_MEMORY, read=_gigabytes),
    Row("--mem --mem-per-cpu --memory", why=_MANY_GB),
    Row("--resource --resources", "--seats {0}={1}", why=_SEATS, read=_matching(r"([A-Za-z]\w*)[=:](\d+)")),
    Row("--gres --gpus -G --gpu --resource --resources", why=_GPUS),
    Row("-j --jobs --parallel --concurrency", whole="{line} && queuectl worker start --count {0}",
        why="how many jobs run at a time is for the worker"),
    Row("-D", "--cwd {0}", read=_matching("([~.]?/.*|[.~]|…)")),
    Row("-D", "--after {0}", why="-D is the jobs to wait for; for a directory: --cwd {0}", read=_many),
    Row("--chdir -w --working-directory --workdir --dir", "--cwd {0}"),
    Row("-o --output -e --error --stdout --stderr", whole="queuectl logs -f $({line})", why=_ITS_LOG),
    Row("--mail-type --mail-user --mail", why="no mail is sent; a hook can: hooks/on-done, hooks/on-dead"),
    Row("-m", why="no mail is sent; a hook can: hooks/on-done, hooks/on-dead", read=None),
    Row("--no-requeue", "--on-lost dead", read=None),
    Row("--requeue", "--on-lost retry", read=None),
    Row("--max-fails", "--max-failed {0}", why=_BRAKE),
    Row("--halt", "--max-failed {0}", why=_BRAKE, read=_matching(r".*fail=(\d+%?)")),
    Row("--halt", "--max-failed 1", why=_BRAKE),
    Row("--retries --retry --tries", "--max-retries {0}"),
    Row("--nice", "-p {0}"),
    Row("--at-front --immediate -i --urgent", "-p 0", read=None),
    Row("--wrap", "-- {0}"),
    Row("--export --env-var", "--env {0}"),
    Row("--env-file", "--env NAME=VALUE", why="there is no file of variables; give --env for each"),
    Row("--parsable --print-task-id", "-q", read=None),
    Row("--follow -f --attach", whole="queuectl logs -f $({line})", read=None),
    Row("--cron --schedule --every --interval --repeat", whole=_CRON_LINE, why=_CRON),
)  # fmt: skip
_OF_MANY = (
    "--param n={0} --limit {1}", "--param n={0}", "--each {0}", "--hold", "-q", "--wait", "--limit 1",
    "--max-failed {0}", "--max-failed 1",
)  # fmt: skip
"""What `run`, which is for one job, does not have."""
_HOW_MANY = Row("-n --lines --max --count --first", "--limit {0}")
_DRY = Row("-n", "--dry-run", read=None)
_AS_JSON = Row("-j --format=json", "--json", read=None)
_STATE = Row("--status -s", "--state {0}")
_FORCE = Row("-f --force --no-confirm", "--yes", read=None)
_ACT = (_DRY, _FORCE, _AS_JSON, _STATE, Row("-a", "--all", read=None))

OPTIONS: dict[str, tuple[Row, ...]] = {
    "enqueue": _ENQUEUE,
    "run": tuple(row for row in _ENQUEUE if row.ours not in _OF_MANY),
    "list": (_HOW_MANY, _STATE, _AS_JSON, Row("--all -a", "--limit 0", read=None), Row("-o", "--columns {0}"),
             Row("--filter -q --name", "--match {0}"), Row("-r --running", "--state running", read=None),
             Row("--failed --failing", "--state failed", read=None), Row("--pending", "--state pending", read=None),
             Row("-p --partition", "--group {0}")),
    "dlq list": (_HOW_MANY, _AS_JSON),
    "show": (_AS_JSON,),
    "explain": (_HOW_MANY, _STATE, _AS_JSON),
    "logs": (_STATE, Row("--failed", "--state failed", read=None),
             Row("-n --lines --last", "--tail {0}"), _AS_JSON),
    "worker start": (
        Row("-n -j -c -w -s --slots --jobs --concurrency --parallel --workers", "--count {0}"),
        Row("-d --daemon --daemonize --detach --bg", "--background", read=None),
        Row("--burst -b", "--drain", read=None),
    ),
    "worker list": (_AS_JSON,),
    "worker stop": (Row("-f --force --kill", "--now", read=None), Row("-w", "--wait", read=None), _AS_JSON),
    "status": (Row("-w -f --follow", "--watch", read=None),
               Row("-n", "--watch --interval {0}"), _AS_JSON),
    "top": (Row("--json -j", whole="queuectl status --watch --json", read=None), Row("-n -d", "--interval {0}")),
    "metrics": (_AS_JSON,),
    "wait": (Row("-n", "--any", read=None), Row("-t", "--timeout {0}"), _STATE, _AS_JSON),
    "prune": (_DRY, _AS_JSON),
    "cancel": _ACT,
    "retry": _ACT,
    "hold": _ACT,
    "release": _ACT,
    "first": _ACT,
    "set": (
        Row("-p --priority --nice", "priority={0}"),
        Row("-t --timeout --time", "timeout={0}"),
        Row("--at --in --run-at --delay --begin", "run_at={0}"),
        Row("--max-retries --retries", "max_retries={0}"),
        Row("--command -c", "command={0}"),
        Row("--cwd --chdir -D -w", "cwd={0}"),
        Row("--env", "env.{0}"),
        *_ACT,
    ),
    "kill": (_DRY, _FORCE, _AS_JSON, Row("-a", "--all", read=None)),
    "dlq retry": _ACT,
    "dlq drop": _ACT,
    "resume": (_AS_JSON,),
    "schedule add": (
        Row("--schedule --expression --crontab -c", "--cron {0}"),
        Row("--interval --repeat -e", "--every {0}"),
        Row("--tz --time-zone --cron-tz --zone", "--timezone {0}"),
        Row("--backfill --catchup", "--catch-up all", read=None),
        Row("--splay --random-delay --randomized-delay", "--jitter {0}"),
        Row("--allow-overlap --concurrent", "--overlap queue", read=None),
        Row("-f --force --overwrite --update", "--replace", read=None),
        Row("-t --time --time-limit", "--timeout {0}"),
        Row("--chdir -D -w --dir", "--cwd {0}"),
    ),
    "schedule list": (_AS_JSON,),
    "drain": (Row("-t", "--timeout {0}"),),
}  # fmt: skip
"""The rows of each command, tried in order."""

PHRASES = (
    (r"help (.+)", "queuectl {0} --help"),
    (r"completions (bash|zsh|fish)\b.*", "queuectl completion {0}"),
    (r"s?crontab -l", "queuectl schedule list"),
    (r"s?crontab -[er]", "queuectl schedule list"),
    (r"s?crontab (?:\S+/)?[\w.-]*(?:cron|\.txt)[\w.-]*", "queuectl schedule add NAME --cron '30 2 * * *' -- CMD"),
    (r"schedule import .*", "queuectl schedule add NAME --cron '30 2 * * *' -- CMD"),
    (r"schedule (?:create|new|set|update|put) (.+)", "queuectl schedule add {0}"),
    (r"(?:delay|reschedule) (\S+) (\S+)", "queuectl set {0} run_at={1}"),
    (r"(?:repriori[ts]i[sz]e|nice|renice|prio|priority) (\S+) (\d+)", "queuectl set {0} priority={1}"),
    (r"scontrol (hold|release|show) (?:job )?(\S+)", "queuectl {0} {1}"),
    (r"scontrol (?:requeue|requeuehold) (\S+)", "queuectl retry {0}"),
    (r"scontrol suspend (\S+)", "queuectl kill -s STOP {0}"),
    (r"scontrol resume (\S+)", "queuectl kill -s CONT {0}"),
    (r"scontrol top (\S+)", "queuectl first {0}"),
    (r"(?i:scontrol update) (?i:ArrayTaskThrottle)=(\d+) (?i:jobid)=(\S+)", "queuectl group set {1} limit={0}"),
    (r"(?i:scontrol update) (?i:jobid)=(\S+) (?i:ArrayTaskThrottle)=(\d+)", "queuectl group set {0} limit={1}"),
    (r"(?i:scontrol update) .*(?i:ArrayTaskThrottle)=(\d+).*", "queuectl group set NAME limit={0}"),
    (r"(?i:scontrol update) .*(?i:jobid)=(\S+) .*(?i:priority)=(\d+).*", "queuectl set {0} priority={1}"),
    (r"group (?:(?:add|create|new) )?(\w[\w.-]*) (?:--parallel|-p|limit)[= ](\d+)", "queuectl group set {0} limit={1}"),
    (r"group (?:add|create|new) (?:--parallel|-p)[= ](\d+) (\w[\w.-]*)", "queuectl group set {1} limit={0}"),
    (r"group (?:add|create|new) (\w[\w.-]*).*", "queuectl enqueue --group {0} -- CMD"),
    (r"group (?:remove|rm|delete|del) (\w[\w.-]*).*", "queuectl group unset {0} limit max-failed"),
    (r"group (pause|resume|cancel|retry|hold|release|prune|wait|drain|logs|top|metrics|explain) (\w[\w.-]*)",
     "queuectl {0} --group {1}"),
    (r"group (?:info|status|get|describe) (\w[\w.-]*)", "queuectl group show {0}"),
    (r"parallel (\d+) (?:-g|--group)[ =](\w[\w.-]*)", "queuectl group set {1} limit={0}"),
    (r"parallel (?:-g|--group)[ =](\w[\w.-]*) (\d+)", "queuectl group set {0} limit={1}"),
    (r"(?:job|task) (list|cancel|wait|explain) ?(.*)", "queuectl {0} {1}"),
    (r"(?:job|task) (?:info|show) (\S+)", "queuectl show {0}"),
    (r"(?:job|task) progress (\S+)", "queuectl wait {0}"),
    (r"(?:job|task) (?:cat|log|output) (\S+).*", "queuectl logs {0}"),
    (r"(?:job|task) (?:summary|status)", "queuectl status"),
    (r"parallel (\d+)", "queuectl worker start --count {0}"),
)  # fmt: skip
"""Lines that mean one thing as a whole: what follows `queuectl`, and the line to type."""

COMMANDS: dict[str, str] = {
    **dict.fromkeys(("add", "submit", "push", "sbatch", "batch", "queue", "qsub", "tsp", "ts", "nq"), "enqueue -- CMD"),
    **dict.fromkeys(("srun", "salloc", "exec"), "run -- CMD"),
    **dict.fromkeys(("log", "cat", "output"), "logs ID"),
    **dict.fromkeys(("follow", "tail"), "logs -f ID"),
    **dict.fromkeys(("ls", "ps", "jobs", "squeue", "qstat", "sacct", "history"), "list"),
    **dict.fromkeys(("info", "inspect", "get"), "show ID"),
    **dict.fromkeys(("scancel", "qdel", "abort"), "cancel ID"),
    **dict.fromkeys(("remove", "delete", "del"), "rm ID"),
    **dict.fromkeys(("restart", "requeue", "rerun", "redo"), "retry ID"),
    **dict.fromkeys(("clean", "clear", "purge"), "prune"),
    **dict.fromkeys(("stash", "freeze"), "hold ID"),
    **dict.fromkeys(("unhold", "unstash"), "release ID"),
    **dict.fromkeys(("unpause", "continue", "unfreeze"), "resume"),
    **dict.fromkeys(("switch", "bump", "urgent", "top-priority"), "first ID"),
    **dict.fromkeys(
        ("update", "modify", "scontrol", "reprioritise", "reprioritize", "renice", "nice"), "set ID priority=1"
    ),
    **dict.fromkeys(("delay", "reschedule"), "set ID run_at=5m"),
    **dict.fromkeys(("suspend", "sigstop"), "kill -s STOP ID"),
    "interrupt": "kill -s INT ID",
    "signal": "kill -s SIG ID",
    **dict.fromkeys(("start", "work", "daemon", "pueued"), "worker start"),
    **dict.fromkeys(("alloc", "fleet", "pilot"), "worker start --idle-exit 5m"),
    **dict.fromkeys(("parallel", "workers-start"), "worker start --count 4"),
    **dict.fromkeys(("stop", "shutdown"), "worker stop"),
    **dict.fromkeys(("workers", "sinfo", "nodes"), "worker list"),
    **dict.fromkeys(("groups", "partition"), "group list"),
    **dict.fromkeys(("group ls", "group status"), "group list"),
    "dead": "dlq list",
    "failed": "list --state failed",
    "stats": "metrics",
    **dict.fromkeys(("dag", "deps", "dependencies", "tree", "pstree", "after"), "graph"),
    "watch": "top",
    "why": "explain ID",
    **dict.fromkeys(("help",), "--help"),
    "schedules": "schedule list",
    **dict.fromkeys(("schedule ls", "schedule status", "schedule next"), "schedule list"),
    **dict.fromkeys(("schedule rm", "schedule delete", "schedule del", "schedule unset"), "schedule remove NAME"),
    **dict.fromkeys(("schedule trigger", "schedule now", "schedule start", "schedule exec"), "schedule run NAME"),
    **dict.fromkeys(("schedule disable", "schedule stop", "schedule suspend"), "schedule pause NAME"),
    **dict.fromkeys(("schedule enable", "schedule unpause", "schedule continue"), "schedule resume NAME"),
    **dict.fromkeys(
        ("schedule explain", "schedule test", "schedule validate", "schedule describe"), "schedule check EXPR"
    ),
    "version": "--version",
    **dict.fromkeys(("worker add", "worker run", "worker up", "worker work"), "worker start"),
    **dict.fromkeys(("worker ls", "worker ps", "worker status", "worker show"), "worker list"),
    **dict.fromkeys(("worker down", "worker shutdown", "worker rm", "worker remove"), "worker stop"),
    **dict.fromkeys(("worker kill", "worker abort"), "worker stop --now"),
    **dict.fromkeys(("worker restart", "worker reload"), "worker stop --detach --wait && queuectl worker start"),
    **dict.fromkeys(("completions",), "completion"),
    **dict.fromkeys(("manual", "docs"), "man"),
    **dict.fromkeys(("bugreport", "report-bug", "sosreport"), "bundle"),
    **dict.fromkeys(("dlq ls", "dlq show", "dlq status"), "dlq list"),
    **dict.fromkeys(("dlq requeue", "dlq replay", "dlq redrive", "dlq restart"), "dlq retry ID"),
    **dict.fromkeys(
        ("dlq rm", "dlq remove", "dlq delete", "dlq clear", "dlq purge", "dlq clean", "dlq prune"), "dlq drop ID"
    ),
    **dict.fromkeys(("config ls", "config show", "config dump"), "config list"),
    **dict.fromkeys(("config reset", "config delete", "config rm", "config del"), "config unset KEY"),
    **dict.fromkeys(("config add", "config put"), "config set KEY VALUE"),
}
"""What follows `queuectl`, and what to type instead. Words in capitals stand for what the user names."""

SETTINGS = {
    **dict.fromkeys(
        ("parallel", "slots", "concurrency", "max", "jobs", "max-parallel", "max-jobs", "running", "throttle",
         "arraytaskthrottle", "max-running", "number", "parallelism"),
        "limit",
    ),
    **dict.fromkeys(("gpus", "cards", "resources", "devices", "gpu", "seat", "places"), "seats"),
    **dict.fromkeys(("max-fails", "fails", "brake", "halt", "failures", "max-failures"), "max-failed"),
    **dict.fromkeys(("env", "variable", "seats-env"), "seat-env"),
    **dict.fromkeys(("retries", "retry", "tries"), "max-retries"),
    **dict.fromkeys(("time", "time-limit", "job-timeout"), "timeout"),
    **dict.fromkeys(("prio", "nice"), "priority"),
}  # fmt: skip
"""What others call a setting of a group."""

LINES: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("cron", "crontab", "every", "periodic", "scrontab", "beat", "timer", "recur", "repeat"), (_CRON, _CRON_LINE)
    ),
}
"""Commands whose answer does not begin with `queuectl`: what to know, and the line to type."""
