"""What people of other tools type first, and slips: the answer is the line to type, with their own values in it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.cli.main import app
from queuectl.cli.suggest import find_command, own_options
from queuectl.cli.synonyms import COMMANDS, OPTIONS, PHRASES, Row
from tests.cli.given import run
from tests.support import CommandLine, names

SINGLETON = "queuectl enqueue --unique k -- ./x"

LINES = [
    ("enqueue --array 1-10 -- ./x", "queuectl enqueue --param n=1..10 -- ./x"),
    ("enqueue --array=1-10%2 -- ./x {n}", "queuectl enqueue --param n=1..10 --limit 2 -- ./x '{n}'"),
    ("enqueue --array 0-20:5 ./x -v", "queuectl enqueue --param n=0..20..5 -- ./x -v"),
    ("enqueue -A 1,3,7-9 -- ./x", "queuectl enqueue --param n=1,3,7..9 -- ./x"),
    ("enqueue --dependency afterok:A:B -- ./x", "queuectl enqueue --after A,B -- ./x"),
    ("enqueue -d afterok:A -- ./x", "queuectl enqueue --after A -- ./x"),
    ("enqueue --depends-on A -- ./x", "queuectl enqueue --after A -- ./x"),
    ("enqueue --depends-on A,B -- ./x", "queuectl enqueue --after A,B -- ./x"),
    ("enqueue --dependency=afterany:A -- ./x", "queuectl enqueue --after-end A -- ./x"),
    ("enqueue --dependency afternotok:A -- ./x", "queuectl enqueue --after-failed A -- ./x"),
    ("enqueue --dependency=afterok:A,afterok:B:C -- ./x", "queuectl enqueue --after A,B,C -- ./x"),
    ("enqueue --dependency=afterok:A:B,afterany:C -- ./x", "queuectl enqueue --after A,B -- ./x"),
    ("enqueue -d A -- ./x", "queuectl enqueue --after A -- ./x"),
    ("enqueue -D A,B -- ./x", "queuectl enqueue --after A,B -- ./x"),
    ("enqueue -W A -- ./x", "queuectl enqueue --after A -- ./x"),
    ("enqueue --needs A -- ./x", "queuectl enqueue --after A -- ./x"),
    ("enqueue --on-failure A -- ./x", "queuectl enqueue --after-failed A -- ./x"),
    ("enqueue --kill-on-invalid-dep=yes -d afterok:A -- ./x", "queuectl enqueue --after A -- ./x"),
    ("deps A", "queuectl graph A"),
    ("enqueue --partition=gpu -- ./x", "queuectl enqueue --group gpu -- ./x"),
    ("enqueue -p gpu -- ./x", "queuectl enqueue --group gpu -- ./x"),
    ("enqueue -p high -- ./x", "queuectl enqueue -p 0 -- ./x"),
    ("enqueue -J train -- ./x", "queuectl enqueue --id train -- ./x"),
    ("enqueue --job-name=train -- ./x", "queuectl enqueue --id train -- ./x"),
    ("enqueue --label train -- ./x", "queuectl enqueue --id train -- ./x"),
    ("enqueue -l train -- ./x", "queuectl enqueue --id train -- ./x"),
    ("enqueue --name train -- ./x", "queuectl enqueue --id train -- ./x"),
    ("enqueue -H -- ./x", "queuectl enqueue --hold -- ./x"),
    ("enqueue --stashed -- ./x", "queuectl enqueue --hold -- ./x"),
    ("enqueue -s -- ./x", "queuectl enqueue --hold -- ./x"),
    ("enqueue --begin 16:00 -- ./x", "queuectl enqueue --at 16:00 -- ./x"),
    ("enqueue --begin now+2hours -- ./x", "queuectl enqueue --in 2hours -- ./x"),
    ("enqueue --delay 5m -- ./x", "queuectl enqueue --in 5m -- ./x"),
    ("enqueue -d 5m -- ./x", "queuectl enqueue --in 5m -- ./x"),
    ("enqueue -t 1:00:00 -- ./x", "queuectl enqueue --timeout 1h -- ./x"),
    ("enqueue --time 30 -- ./x", "queuectl enqueue --timeout 30m -- ./x"),
    ("enqueue --time-limit 2-12:30 -- ./x", "queuectl enqueue --timeout 2d12h30m -- ./x"),
    ("enqueue -t 10:30 -- ./x", "queuectl enqueue --timeout 10m30s -- ./x"),
    ("enqueue -c 4 -- ./x", "queuectl enqueue --slots 4 -- ./x"),
    ("enqueue --cpus-per-task=4 -- ./x", "queuectl enqueue --slots 4 -- ./x"),
    ("enqueue -N 4 -- ./x", "queuectl enqueue --slots 4 -- ./x"),
    ("enqueue -n 4 -- ./x", "queuectl enqueue --slots 4 -- ./x"),
    ("enqueue --gres=gpu:2 --mem 16G -- ./x", "queuectl enqueue --seats gpu=2 --seats mem=16 -- ./x"),
    ("enqueue --gpus 2 -- ./x", "queuectl enqueue --seats gpu=2 -- ./x"),
    ("enqueue -G 2 -- ./x", "queuectl enqueue --seats gpu=2 -- ./x"),
    ("enqueue --resource gpus=1 -- ./x", "queuectl enqueue --seats gpus=1 -- ./x"),
    ("enqueue -j 4 -- ./x", "queuectl enqueue -- ./x && queuectl worker start --count 4"),
    ("enqueue --chdir '/a b' -- ./x", "queuectl enqueue --cwd '/a b' -- ./x"),
    ("enqueue -D /tmp -- ./x", "queuectl enqueue --cwd /tmp -- ./x"),
    ("enqueue -w /tmp -- ./x", "queuectl enqueue --cwd /tmp -- ./x"),
    ("enqueue -o out.log -- ./x", "queuectl logs -f $(queuectl enqueue -- ./x)"),
    ("enqueue --output=out.log -- ./x", "queuectl logs -f $(queuectl enqueue -- ./x)"),
    ("enqueue --mail-type=END -- ./x", "queuectl enqueue -- ./x"),
    ("enqueue --no-requeue -- ./x", "queuectl enqueue --on-lost dead -- ./x"),
    ("enqueue echo ::: a 'b c'", "printf '%s\\n' a 'b c' | queuectl enqueue --each - -- echo '{}'"),
    ("enqueue -p 5 gzip {} ::: a", "printf '%s\\n' a | queuectl enqueue -p 5 --each - -- gzip '{}'"),
    ("enqueue --each-line jobs.txt -- ./x", "queuectl enqueue --each jobs.txt -- ./x '{}'"),
    ("enqueue --from-json jobs.json", "queuectl enqueue - < jobs.json"),
    ("enqueue --max-fails 3 -- ./x", "queuectl enqueue --max-failed 3 --group NAME -- ./x"),
    ("enqueue -J lr --max-fails 3 -- ./x", "queuectl enqueue --group lr --max-failed 3 -- ./x"),
    ("enqueue --param=n=1..3 --max-fails 3 -- ./x", "queuectl enqueue --param=n=1..3 --max-failed 3 -- ./x"),
    ("enqueue -glr --halt now,fail=3 -- ./x", "queuectl enqueue -glr --max-failed 3 -- ./x"),
    ("enqueue --each f --halt soon,fail=5% -- ./x", "queuectl enqueue --each f --max-failed 5% -- ./x '{}'"),
    ("enqueue ./x ::: a b ::: c d", "queuectl enqueue --param 1=a,b --param 2=c,d -- ./x '{1}' '{2}'"),
    ("enqueue --delay 5m ./x {2}-{1} ::: a ::: c", "queuectl enqueue --in 5m --param 1=a --param 2=c -- ./x '{2}-{1}'"),
    ("parallel -j 4 ./x ::: a 'b c'", "printf '%s\\n' a 'b c' | queuectl enqueue --each - -- ./x '{}' && "
     "queuectl worker start --count 4"),
    ("enqueue --array=1,3%2 -J lr -- ./x", "queuectl enqueue --param n=1,3 --limit 2 --group lr -- ./x"),
    ("enqueue -J lr --array 1-9 -- ./x", "queuectl enqueue --group lr --param n=1..9 -- ./x"),
    ("submit --name 'lr.{n}' --each-line f -- ./x", "queuectl enqueue --id 'lr.{n}' --each f -- ./x '{}'"),
    ("squeue -p gpu", "queuectl list --group gpu"),
    ("enqueue --arg-file f -- ./x", "queuectl enqueue --each f -- ./x '{}'"),
    ("enqueue --progress -- ./x", "queuectl enqueue --wait -- ./x"),
    ("enqueue --mem 16000M -- ./x", "queuectl enqueue --seats mem=16 -- ./x"),
    ("enqueue --mem=4000 -- ./x", "queuectl enqueue --seats mem=4 -- ./x"),
    ("enqueue --mem 128G -- ./x", "queuectl enqueue -- ./x"),
    ("enqueue --resource gpus:2 -- ./x", "queuectl enqueue --seats gpus=2 -- ./x"),
    ("enqueue --queueing-lock k -- ./x", SINGLETON),
    ("enqueue --singleton k -- ./x", SINGLETON),
    ("enqueue --singleton -- ./x", SINGLETON.replace(" k ", " '…' ")),
    ("list --failed", "queuectl list --state failed"),
    ("logs --failed --tail 3", "queuectl logs --state failed --tail 3"),
    ("enqueue --dependency=singleton -J k -- ./x", "queuectl enqueue --limit 1 --group k -- ./x"),
    ("enqueue --dependency=singleton -- ./x", "queuectl enqueue --limit 1 --group NAME -- ./x"),
    ("enqueue --wrap 'a | b' -J n", "queuectl enqueue --id n -- 'a | b'"),
    ("enqueue --name n --delay 5m --retries=2 'echo $HOME' ", "queuectl enqueue --id n --in 5m --max-retries 2 -- "
     "'echo $HOME'"),
    ("run --name n -- ./x", "queuectl run --id n -- ./x"),
    ("group add gpu --parallel 2", "queuectl group set gpu limit=2"),
    ("group gpu -p 2", "queuectl group set gpu limit=2"),
    ("group remove gpu", "queuectl group unset gpu limit max-failed"),
    ("groups", "queuectl group list"),
    ("group add -p 2 gpu", "queuectl group set gpu limit=2"),
    ("group pause gpu", "queuectl pause --group gpu"),
    ("group status gpu", "queuectl group show gpu"),
    ("group set gpu 2", "queuectl group set gpu limit=2"),
    ("group set gpu parallel=2", "queuectl group set gpu limit=2"),
    ("group set gpu max_fails=3", "queuectl group set gpu max-failed=3"),
    ("group set gpu limt=2", "queuectl group set gpu limit=2"),
    ("parallel -g gpu 2", "queuectl group set gpu limit=2"),
    ("job list", "queuectl list"),
    ("job cancel lr.", "queuectl cancel lr."),
    ("job progress 7", "queuectl wait 7"),
    ("parallel 2 -g gpu", "queuectl group set gpu limit=2"),
    ("parallel 3", "queuectl worker start --count 3"),
    ("delay 5 10m", "queuectl set 5 run_at=10m"),
    ("delay 5", "queuectl set 5 run_at=5m"),
    ("scontrol update ArrayTaskThrottle=5 JobId=lr", "queuectl group set lr limit=5"),
    ("scontrol update jobid=7 priority=3", "queuectl set 7 priority=3"),
    ("scontrol hold 7", "queuectl hold 7"),
    ("scontrol show job 7", "queuectl show 7"),
    ("sinfo", "queuectl worker list"),
    ("alloc", "queuectl worker start --idle-exit 5m"),
    ("fleet", "queuectl worker start --idle-exit 5m"),
    ("pilot", "queuectl worker start --idle-exit 5m"),
    ("add -- ./x 'a b'", "queuectl enqueue -- ./x 'a b'"),
    ("sbatch -t 10 ./x a -v", "queuectl enqueue --timeout 10m -- ./x a -v"),
    ("log -n 5 x", "queuectl logs --tail 5 x"),
    ("delete a b", "queuectl rm a b"),
    ("ls", "queuectl list"),
    ("ls -n 5 -s dead", "queuectl list --limit 5 --state dead"),
    ("list -n5 -j", "queuectl list --limit 5 --json"),
    ("list -s dead", "queuectl list --state dead"),
    ("worker start -j 4", "queuectl worker start --count 4"),
    ("worker start --daemon", "queuectl worker start --background"),
    ("worker ls", "queuectl worker list"),
    ("dlq replay x", "queuectl dlq retry x"),
    ("dlq clear -f", "queuectl dlq drop --yes"),
    ("update 5 -p 3", "queuectl set 5 priority=3"),
    ("config max-retries", "queuectl config get max-retries"),
    ("config max_retries 3", "queuectl config set max-retries 3"),
    ("top --json", "queuectl status --watch --json"),
    ("cancel -n --all", "queuectl cancel --dry-run --all"),
    ("manual", "queuectl man"),
    ("help worker start", "queuectl worker start --help"),
    ("completions", "queuectl completion"),
    ("completions zsh", "queuectl completion zsh"),
    ("completions fish", "queuectl completion fish"),
    ("strt", "queuectl worker start"),
    ("lst", "queuectl list"),
    ("statsu", "queuectl status"),
    ("enqeue -- ./x 'a b'", "queuectl enqueue -- ./x 'a b'"),
    ("worker strt --count 3", "queuectl worker start --count 3"),
    ("dlq lsit", "queuectl dlq list"),
    ("config lst", "queuectl config list"),
    ("enqueue --timout=5m -- ./x", "queuectl enqueue --timeout=5m -- ./x"),
    ("enqueue --prio 5 -- ./x", "queuectl enqueue --priority 5 -- ./x"),
    ("--spol s enqueue -- ./x", "queuectl --spool s enqueue -- ./x"),
    ("--spool s enqueue --delay 5m -- ./x", "queuectl --spool s enqueue --in 5m -- ./x"),
    ("--spool=s del a", "queuectl --spool=s rm a"),
]  # fmt: skip
"""Lines as they are typed, and as they should have been."""


def answer(line: str, cwd: Path) -> list[str]:
    """What is said about a line, which is refused."""
    words = shlex.split(line)
    done = run(*words, cwd=cwd)
    assert (done.returncode, done.stdout) == (2, "")
    assert names(cwd) == []
    return done.stderr.splitlines()


@pytest.mark.parametrize(("line", "ours"), LINES, ids=[line for line, _ in LINES])
def test_line_of_another_tool(tmp_path: Path, line: str, ours: str) -> None:
    """Nothing is queued, and the last line of the error is the line to type."""
    what, *_, hint = answer(line, tmp_path)
    assert what.startswith("queuectl: ")
    assert hint == f"  did you mean: {ours}"


@pytest.mark.parametrize(
    "line",
    ["cron '*/5 1 * * *' -- ./x.sh a", "crontab '*/5 1 * * *' -- ./x.sh a", "enqueue --cron '*/5 1 * * *' -- ./x.sh a",
     "periodic '*/5 1 * * *' -- ./x.sh a", "scrontab '*/5' 1 '*' '*' '*' ./x.sh a",
     "run --schedule '*/5 1 * * *' -- ./x.sh a",
     "schedule create x --cron '*/5 1 * * *' -- ./x.sh a"],
)  # fmt: skip
def test_schedule(tmp_path: Path, line: str) -> None:
    """Who types the word of another tool is told the line that adds the schedule, and that line does."""
    *_, hint = answer(line, tmp_path)
    ours = hint.removeprefix("  did you mean: ")
    assert ours == "queuectl schedule add x --cron '*/5 1 * * *' -- ./x.sh a"
    done = run("--spool", f"{tmp_path}/spool", *shlex.split(ours)[1:], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "x\n")


@pytest.mark.parametrize(
    ("line", "ours"),
    [
        ("every 15m -- date +%F", "schedule add date --every 15m -- date +%F"),
        ("every 1 hour -- date +%F", "schedule add date --every 1h -- date +%F"),
        ("enqueue --every 10s -g net --timeout 5m -- 'curl x | wc'",
         "schedule add net --every 10s --timeout 5m -- 'curl x | wc'"),
        ("beat", "schedule add NAME --cron '30 2 * * *' -- CMD"),
        ("crontab -l", "schedule list"),
        ("schedules", "schedule list"),
        ("schedule rm nightly", "schedule remove nightly"),
        ("schedule disable nightly", "schedule pause nightly"),
        ("schedule trigger nightly", "schedule run nightly"),
        ("schedule lst", "schedule list"),
        ("crontab /etc/crontab", "schedule add NAME --cron '30 2 * * *' -- CMD"),
        ("cron add '0 4 * * *' ./x", "schedule add x --cron '0 4 * * *' -- ./x"),
        ("schedule add a --timeout 5 '0 4 * * *' ./x b", "schedule add a --cron '0 4 * * *' --timeout 5 -- ./x b"),
        ("schedule add a 0 4 '*' '*' 1-5 -- ./x -v", "schedule add a --cron '0 4 * * 1-5' -- ./x -v"),
        ("schedule add '0 4 * * * ./x b >log'", "schedule add x --cron '0 4 * * *' -- './x b >log'"),
        ("schedule add a 15m ./x", "schedule add a --every 15m -- ./x"),
        ("schedule add a --tz Europe/Vienna --cron '@daily' -- x",
         "schedule add a --timezone Europe/Vienna --cron @daily -- x"),
        ("schedule add a --interval 5m -- x", "schedule add a --every 5m -- x"),
    ],
)  # fmt: skip
def test_words_of_schedules(tmp_path: Path, line: str, ours: str) -> None:
    """Intervals, what belongs to a group, and the words that others have for the same."""
    *_, hint = answer(line, tmp_path)
    assert hint == f"  did you mean: queuectl {ours}"


@pytest.mark.parametrize("line", ["enqueue --json-lines -- x", "list --zzz", "frobnicate", "dlq mail", "worker -Z"])
def test_word_like_none_of_ours(tmp_path: Path, line: str) -> None:
    """Nothing is suggested that has nothing to do with what was typed."""
    what, hint = answer(line, tmp_path)
    assert "--in" not in what
    assert re.fullmatch(r"  see: queuectl( \w+)? --help", hint)


@pytest.mark.parametrize(
    ("line", "ours"),
    [
        ("enqueue --unique -- ./x 'a b'", "enqueue --unique KEY -- ./x 'a b'"),
        ("enqueue --each a -g -- ./x", "enqueue --each a -g GROUP -- ./x"),
        ("enqueue --unique --id a -- ./x", "enqueue --unique KEY --id a -- ./x"),
        ("enqueue '{}' --cwd -- ", "enqueue '{}' --cwd DIR --"),
        ("schedule add n --cron --timeout 5 -- ./x", "schedule add n --cron EXPR --timeout 5 -- ./x"),
        ("worker start --group --drain", "worker start --group GROUP --drain"),
    ],
)  # fmt: skip
def test_option_without_its_value(tmp_path: Path, line: str, ours: str) -> None:
    """What follows is never taken for the value that was forgotten, and the last line of the error has its place."""
    what, why, hint = answer(line, tmp_path)
    assert what.endswith("needs a value")
    assert "if it is the value: -" in why
    assert hint == f"  try: queuectl {ours}"


def test_value_that_looks_like_an_option(cli: CommandLine, spool: Spool) -> None:
    """It is taken where it is attached, behind an option that need not have one, and in a job's own command."""
    job = spool.get(cli.ok("enqueue", "--unique=--", "--", "./x", "--id", "--", "y"))
    assert (job.command, '"unique": "--"' in Path(job.path).read_text()) == (("./x", "--id", "--", "y"), True)
    assert cli.run("list", "--match=--id", "--json").returncode == 0
    assert cli.run("enqueue", "--each", "--", "./x", "{}").stderr == "queued 0\n"


@pytest.mark.parametrize("line", ["resume gpu. --json", "metrics gpu.", "dlq list gpu.", "worker start gpu. --drain"])
def test_group_as_a_word(tmp_path: Path, line: str) -> None:
    """Where a command takes a group as an option only, the error has the line with it."""
    _, hint = answer(line, tmp_path)
    assert hint == f"  try: queuectl {line.replace('gpu.', '--group gpu')}"


def test_colons_of_the_command_itself(cli: CommandLine, spool: Spool) -> None:
    """Behind -- they belong to the job's command."""
    id = cli.ok("enqueue", "--", "parallel", "echo", ":::", "a")
    assert spool.get(id).command == ("parallel", "echo", ":::", "a")


def test_table_names_what_there_is() -> None:
    """Each answer begins with a command of ours and has only its options; no word of ours means something else."""
    for phrase, ours in COMMANDS.items():
        found = find_command(app, phrase.split())
        assert found is None or found[1] != phrase
        assert ours.startswith("--") or find_command(app, ours.split("&&")[0].split()) is not None, ours
    for pattern, line in PHRASES:
        re.compile(pattern)
        words = line.split()
        assert words[0] != "queuectl" or words[1][0] in "{-" or find_command(app, words[1:]) is not None, line
    for path, rows in OPTIONS.items():
        found = find_command(app, path.split())
        assert found is not None
        assert found[1] == path
        flags, valued = own_options(found[0])
        for row in rows:
            assert not {name for name in row.names.split() if row.read is None} & (flags | valued), row
            check_answer(row, flags | valued)


def check_answer(row: Row, ours: set[str]) -> None:
    """What a row puts in the place of an option is an option of ours."""
    word = row.ours.split(" ")[0].split("=")[0]
    assert word in ours | {"", "--", "--spool"} or not word.startswith("-"), row


def test_reasons_have_the_values_too(cli: CommandLine) -> None:
    """What is said beside the line to type has the user's own values as well."""
    for words, why in (
        (("--singleton", "k"), "for one at a time, none dropped: --group k --limit 1\n"),
        (("--gres", "card:2"), "how many there are is said once: queuectl group set card seats=4\n"),
        (("-J", "train"), "for many jobs of a name: --group train\n"),
    ):
        assert why in cli.run("enqueue", *words, "--", "./x").stderr


def test_one_word_selects_a_group_everywhere(cli: CommandLine, spool: Spool) -> None:
    """-g is --group in every command that takes one."""
    spool.enqueue("true", id="gpu.1")
    spool.enqueue("true", id="net.1")
    assert (
        cli.ok("list", "-g", "gpu", "--format", "{id}") == cli.ok("list", "-g", "gpu.", "--format", "{id}") == "gpu.1"
    )
    cli.ok("hold", "-g", "gpu", "--yes")
    assert [spool.get(id).is_held for id in ("gpu.1", "net.1")] == [True, False]
    cli.ok("pause", "-g", "gpu", "new", "driver")
    assert spool.paused() is None
    assert spool.paused(group="gpu") is not None
    cli.ok("resume", "-g", "gpu")
    assert spool.paused(group="gpu") is None
