"""Files of groups that are defaults for their jobs: which goes first, and when they count."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.settings import KEYS
from queuectl.errors import ConfigError
from queuectl.spool.moves import adopt
from queuectl.spool.system import clock, defaults, groups
from tests.support import CommandLine, WorkerProcess


def say(spool: Spool, group: str, **values: str) -> None:
    for key, text in values.items():
        groups.write(spool.layout, group, key.replace("_", "-"), text)


def test_default_of_the_inner_group_goes_first(spool: Spool) -> None:
    """Field by field; what it does not say is that of the groups around it."""
    say(spool, "net", timeout="10m", max_retries="8")
    say(spool, "net.slow", timeout="1h")
    found = defaults.of_job(spool.layout, "net.slow.x")
    assert found == {"timeout": (3600.0, "net.slow"), "max_retries": (8, "net")}
    assert defaults.applied(spool.layout, "net.x", spool.settings).timeout == 600
    settings = spool.settings
    assert defaults.applied(spool.layout, "x", settings) is settings
    assert defaults.applied(spool.layout, "other.x", settings) is settings


def test_default_may_be_none(spool: Spool) -> None:
    """So an inner group can undo what an outer one says."""
    say(spool, "net", timeout="10m", no_retry_on="7")
    Path(spool.layout.groups, "net.slow").mkdir()
    for key in ("timeout", "no-retry-on"):
        Path(spool.layout.groups, "net.slow", key).write_text("none\n")
    settings = defaults.applied(spool.layout, "net.slow.x", spool.settings)
    assert (settings.timeout, settings.policy.no_retry_on) == (None, ())
    assert defaults.applied(spool.layout, "net.slow.x", spool.settings.policy).no_retry_on == ()


@pytest.mark.parametrize("key", defaults.KEYS)
def test_default_that_is_wrong_is_refused(spool: Spool, key: str) -> None:
    """As a setting of the spool is; an empty file is wrong as well."""
    for text in ("", "gibberish!", "-1"):
        with pytest.raises(ConfigError):
            groups.check(key, text)
    assert key == "priority" or key in KEYS


def test_wrong_value_starts_no_job_of_the_group(spool: Spool) -> None:
    """`echo` empties a file before it writes, and who then read no timeout would never end a job."""
    spool.enqueue("true", group="net")
    Path(spool.layout.groups, "net").mkdir(parents=True)
    Path(spool.layout.groups, "net", "timeout").touch()
    found = groups.read(spool.layout, "net", clock.now)
    assert found is not None
    assert found.problem == "groups/net/timeout is empty"


def test_priority_counts_at_submit(spool: Spool) -> None:
    """Of enqueue, and of a dropped file; a job's own goes first, 10 too."""
    say(spool, "net", priority="3")
    assert spool.enqueue("true", group="net").priority == 3
    assert spool.enqueue("true", group="net.deep").priority == 3
    assert spool.enqueue("true", group="net", priority=10).priority == 10
    assert spool.enqueue("true").priority == 10
    for text, priority in (('{"command": "true"}', 3), ('{"command": "true", "priority": 10}', 10)):
        Path(spool.layout.pending, "net.x.json").write_text(text)
        name = adopt.adopt(spool.layout, "net.x.json", clock.now())
        assert name is not None
        assert name.priority == priority


def test_worker_obeys_the_defaults_of_groups(spool: Spool) -> None:
    """The timeout ends an attempt, and no more retries are made than the group says; a job's own fields go first."""
    say(spool, "net", timeout="0.2", max_retries="0")
    slow, failing = spool.enqueue("sleep 60", group="net"), spool.enqueue("false", group="net")
    own = spool.enqueue("sleep 0.4", group="net", timeout=30)
    plain = spool.enqueue("sleep 0.4")
    assert WorkerProcess(spool.path, "--drain").wait_exit() == 0
    assert [str(spool.get(job.id).result) for job in (slow, failing, own, plain)] == [
        "timeout",
        "exit1",
        "exit0",
        "exit0",
    ]
    assert spool.get(failing.id).attempts == 1


def test_default_is_shown_with_its_group(spool: Spool, cli: CommandLine) -> None:
    """By `group set`, `group show`, `show` and `explain`; not where the job has its own."""
    assert "timeout=600 max-retries=8" in cli.run("group", "set", "net", "timeout=10m", "max-retries=8").stderr
    assert "max-retries 8  for jobs that do not set it" in cli.ok("group", "show", "net")
    assert cli.json("group", "show", "net")["defaults"] == {"timeout": 600.0, "max_retries": 8}
    id = cli.ok("enqueue", "-q", "-g", "net", "--max-retries", "1", "--", "true")
    shown = cli.ok("show", id)
    assert "10 m 00 s  from groups/net/timeout" in shown or "from groups/net/timeout" in shown
    assert "groups/net/max-retries" not in shown
    assert cli.json("show", id)["defaults"] == {"timeout": {"value": 600.0, "group": "net"}}
    cli.ok("group", "unset", "net", "timeout", "max-retries")
    assert not os.path.exists(spool.layout.group("net"))
    assert cli.json("show", id)["defaults"] == {}


def test_retry_of_a_group_with_more_retries_is_explained(spool: Spool, cli: CommandLine) -> None:
    """By the number that counts for it."""
    say(spool, "net", max_retries="8")
    id = spool.enqueue("false", group="net").id
    cli.run("worker", "start", "--idle-exit", "0.1")
    said = cli.ok("explain", id)
    assert "of 8" in said
    assert "max_retries 8  from groups/net/max-retries" in said
