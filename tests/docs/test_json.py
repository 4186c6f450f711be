"""docs/JSON.md shows what `--json` prints, key for key."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from docs import generate
from queuectl import schemas
from tests.docs import session
from tests.docs.markdown import ROOT, Section, blocks, sections
from tests.support import CommandLine, reason_words, wait_for, workers

DOCUMENT = ROOT / "docs/JSON.md"
SHOWN = {
    section.title.removeprefix("queuectl "): section
    for section in sections(DOCUMENT.read_text())
    if section.title.endswith("--json")
    and not re.match("queuectl (worker start|worker gone|logs|conform producer|conform worker) ", section.title)
}
VOLATILE = {"free_bytes", "free_inodes", "max_rss", "pid"}
EVENTS_IN_SOURCE = {"event": 0, "once": 1, "_say": 0}
"""Where calls of these names have the event."""


def own_text(section: Section) -> str:
    """A section's text without the sections below it."""
    return re.split(r"^#+ ", section.text, flags=re.MULTILINE)[1]


def examples(section: Section) -> list[Any]:
    """The JSON values in a section, not counting sections below it."""
    return [json.loads(block.text) for block in blocks(own_text(section)) if block.language == "json"]


def shape(value: Any, key: str = "") -> Any:
    """A value without what differs from run to run: measured numbers become their types."""
    if isinstance(value, dict):
        return [(name, shape(item, name)) for name, item in value.items()]
    if isinstance(value, list):
        return [shape(item) for item in value]
    if isinstance(value, str):
        return session.normalise(value)
    return type(value).__name__ if isinstance(value, float) or key in VOLATILE else value


ELIDED = "…"
"""Stands in an example for those keys of a job that are not in it."""


def without_elided(value: Any, printed: Any) -> Any:
    """What was printed, without those keys of jobs for which an example has `"…"`, which stands where the last was."""
    if isinstance(value, list) and isinstance(printed, list) and len(value) == len(printed):
        return [without_elided(*both) for both in zip(value, printed, strict=True)]
    if not isinstance(value, dict) or not isinstance(printed, dict):
        return printed
    found: dict[str, Any] = {}
    for name, item in printed.items():
        if name in value:
            found[name] = without_elided(value[name], item)
        elif ELIDED in value and name in job_keys():
            found.pop(ELIDED, None)
            found[ELIDED] = value[ELIDED]
        else:
            found[name] = item
    return found


def job_keys() -> list[str]:
    """The keys of a job, by their table."""
    (table,) = [section.text for section in sections(DOCUMENT.read_text()) if section.title == "A job"]
    return re.findall(r"^\| `(\w+)` \|", re.split("^### ", table, flags=re.MULTILINE)[0], re.MULTILINE)


def keys(value: Any) -> Any:
    """The keys alone, for what differs from machine to machine; a list has those of its first item."""
    if isinstance(value, dict):
        return [(name, keys(item)) for name, item in value.items()]
    return [keys(value[0])] if isinstance(value, list) else None


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The spool that the examples are of."""
    home = tmp_path_factory.mktemp("json") / "home"
    home.mkdir()
    assert not session.problems_of(blocks(DOCUMENT.read_text()), home)
    return home


@pytest.mark.parametrize("words", [words for words, section in SHOWN.items() if examples(section)])
def test_example_has_every_key(words: str, home: Path, tmp_path: Path) -> None:
    """A command prints what its example shows: the same keys in the same order, with values of the same kind."""
    copy = tmp_path / "home"
    shutil.copytree(home, copy)  # a spool is files, and some of these commands change it
    (copy / "spool/place").unlink(missing_ok=True)  # by which it would be known as a copy
    printed = CommandLine(copy / "spool", copy).run(*shlex.split(words)).stdout
    printed = printed.replace(str(copy), session.HOME).replace(str(home), session.HOME)
    compared = keys if words == "doctor --json" else shape
    example = examples(SHOWN[words])[0]
    assert compared(example) == compared(without_elided(example, json.loads(printed)))


def test_table_of_a_job_has_its_keys() -> None:
    """All of them, in the order in which they are printed."""
    assert job_keys() == [*examples(SHOWN["list --json"])[0][0]]


def test_reasons_are_all_documented() -> None:
    """Each word that `explain` can give is in its table, and no other."""
    rows = re.findall(r"^\| [\w ]*\| (`.+?`) \|", own_text(SHOWN["explain later --json"]), re.MULTILINE)
    assert set(re.findall(r"`([\w-]+)`", "".join(rows))) - {"reason"} == reason_words()


def strict(schema: Any) -> Any:
    """A schema that allows no key that it does not name."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    return closed | {"additionalProperties": False} if isinstance(schema.get("properties"), dict) else closed


def validate(words: str, value: Any) -> None:
    """Check what that command has printed against the schema that is shipped."""
    schema = strict(schemas.load("output"))
    names = [name for name in schema["$defs"] if words == name or words.startswith(f"{name} ")]
    assert names, f"no definition of {words}"
    jsonschema.validate(value, {**schema, "$ref": f"#/$defs/{max(names, key=len)}"})


@pytest.mark.parametrize("words", [words for words, section in SHOWN.items() if examples(section)])
def test_output_is_as_its_schema_says(words: str, home: Path, tmp_path: Path) -> None:
    """So is what is documented, and what a command prints: each key is in the schema that is shipped, with its type."""
    for example in examples(SHOWN[words]):
        if ELIDED not in json.dumps(example, ensure_ascii=False):
            validate(f"queuectl {words}", example)
    copy = tmp_path / "home"
    shutil.copytree(home, copy)
    (copy / "spool/place").unlink(missing_ok=True)
    validate(f"queuectl {words}", json.loads(CommandLine(copy / "spool", copy).run(*shlex.split(words)).stdout))


def test_each_command_with_json_has_a_schema() -> None:
    """The definitions of commands are those of the commands that have --json."""
    with_json = {
        page.title
        for page in generate.root().all_below()
        if any("--json" in parameter.opts for parameter in page.command.params)
    }
    defined = {name for name in schemas.load("output")["$defs"] if name.startswith("queuectl ")}
    assert defined == with_json


def test_output_without_examples_is_as_its_schema_says(cli: CommandLine) -> None:
    """Jobs of all states, groups with seats, lines of logs, events of workers and outcomes of commands too."""
    cli.ok("group", "set", "gpu", "seats=2", "max-failed=5%")
    words = ("--id", "x{n}", "--param", "lr=1,2", "-g", "lr")
    validate(
        "queuectl enqueue",
        json.loads(cli.ok("enqueue", "--json", "--max-retries", "0", *words, "--", "echo {lr}; exit 3")),
    )
    validate("queuectl enqueue", json.loads(cli.ok("enqueue", "--json", "--id", "ok", "-g", "gpu", "--", "true")))
    bad = cli.run("enqueue", "--json", "-", stdin='{"command": 5}\n')
    validate("queuectl enqueue", json.loads(bad.stdout))
    report = cli.run("worker", "start", "--drain", "--json")
    events = [json.loads(line) for line in report.stderr.splitlines()]
    assert {"start", "done", "dead"} <= {event["event"] for event in events}
    for event in events:
        validate("queuectl worker start", event)
    cli.ok("enqueue", "--id", "held", "--hold", "--", "true")
    for command in ("list", "dlq list", "group list", "metrics", "fsck", "doctor", "explain held", "status lr."):
        validate(f"queuectl {command}", cli.json(*command.split()))
    for line in cli.ok("logs", "gpu.ok", "--json").splitlines():
        validate("queuectl logs", json.loads(line))
    validate("queuectl show", cli.json("show", "held", "gpu.ok"))
    for command in ("release held", "hold held", "set held priority=1", "first held", "retry gpu.ok", "cancel held"):
        validate(f"queuectl {command}", cli.json(*command.split()))
    for command in ("dlq drop held", "group show gpu", "group unset gpu seats", "config set timeout 5m"):
        validate(f"queuectl {command}", cli.json(*command.split()))
    validate("queuectl prune", cli.json("prune", "--yes", "--keep", "0", "--state", "all"))


def test_output_while_a_job_runs_is_as_its_schema_says(cli: CommandLine) -> None:
    """A worker that lives, a running job with its seat, and workers that have been stopped."""
    cli.ok("group", "set", "gpu", "seats=2")
    cli.ok("enqueue", "-g", "gpu", "--id", "x", "--", "sleep 60")
    with workers(cli.spool, 1):
        wait_for(lambda: cli.json("worker", "list")[0]["runs"], "the job's start")
        (group,) = cli.json("group", "list")
        assert group["seats"]["held"][0]["job"] == "gpu.x"
        validate("queuectl group list", [group])
        for command in ("worker list", "status", "list", "show gpu.x", "explain gpu.x", "pause", "worker stop --now"):
            validate(f"queuectl {command}", cli.json(*command.split()))


def test_example_of_a_line_of_a_log(home: Path) -> None:
    """`logs` prints one object a line, each with the keys of the example."""
    title = "queuectl logs report --json"
    (section,) = [section for section in sections(DOCUMENT.read_text()) if section.title == title]
    lines = CommandLine(home / "spool", home).ok("logs", "report", "--json").splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["start", "output", "end"]
    assert shape(json.loads(lines[0])) == shape(examples(section)[0])


def test_example_of_a_worker_has_every_key(cli: CommandLine) -> None:
    """So does that of a worker that runs."""
    cli.ok("enqueue", "--id", "report", "--", "sleep 60")
    with workers(cli.spool, 1, "--count", "2", "--seats", "gpu=0,1"):
        wait_for(lambda: cli.json("worker", "list")[0]["runs"], "the job's start")
        (printed,) = cli.json("worker", "list")
    (example,) = examples(SHOWN["worker list --json"])[1]
    assert shape(printed | {"host": "web1"}) == shape(example)


def test_events_are_all_documented() -> None:
    """Each event that a worker can report is in the table."""
    found: set[Any] = {"done", "retry", "lost", "dead"}  # one of which `settle.finish` chooses
    for path in (ROOT / "queuectl/work").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                at = EVENTS_IN_SOURCE.get(node.func.attr)
                if at is not None and len(node.args) > at:
                    words = ast.walk(node.args[at])
                    found |= {word.value for word in words if isinstance(word, ast.Constant)}
    section = next(
        section.text for section in sections(DOCUMENT.read_text()) if section.title.startswith("queuectl worker start")
    )
    documented = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.+?) \|", section, re.MULTILINE))))
    names = {word for word in found if isinstance(word, str) and re.fullmatch("[a-z]+", word)}
    assert len(names) > 10
    assert names <= documented
