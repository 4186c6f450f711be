"""`queuectl config`: settings of a spool, and where they come from."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.settings import KEYS
from tests.cli.given import run_on_terminal
from tests.support import CommandLine

DEFAULTS = {
    "max-retries": 3, "backoff-base": 2.0, "backoff-max": 3600.0, "backoff-jitter": 0.1, "retry-on": None,
    "no-retry-on": None, "permanent-codes": None, "temporary-codes": None, "on-lost": "retry",
    "timeout": None, "max-failed": None, "grace": 5.0, "max-log": None, "on-max-log": "drop",
    "min-free": 16 << 20, "settle": 60.0, "keep-done": None, "keep-done-count": None,
    "keep-done-size": None, "keep-dead": None, "allow-users": None, "rescan": 10.0,
    "notify-url": None, "notify-on": ["dead"], "hook-timeout": 30.0,
}  # fmt: skip


def test_list(cli: CommandLine) -> None:
    """Every setting is listed with its value and its source; in JSON times are seconds and no limit is null."""
    assert cli.json("config", "list") == {
        name: {"value": value, "source": "default"} for name, value in DEFAULTS.items()
    }
    header, *rows = cli.ok("config", "list").splitlines()
    assert header.split() == ["KEY", "VALUE", "FROM", "MEANING"]
    assert [row.split()[0] for row in rows] == list(DEFAULTS)


def test_brake_is_set_and_shown_as_it_was_typed(cli: CommandLine) -> None:
    """A number or a share of what ends; in JSON as text."""
    for text, shown in (("20", "20"), ("5 %", "5%"), ("none", "none")):
        cli.ok("config", "set", "max-failed", text)
        assert cli.ok("config", "get", "max-failed") == shown
        assert cli.json("config", "list")["max-failed"]["value"] == (None if shown == "none" else shown)
    assert cli.run("config", "set", "max-failed", "0").returncode == 2


def test_list_on_a_terminal(cli: CommandLine, tmp_path: Path) -> None:
    """On a terminal no meaning is cut: it continues in the next line."""
    code, screen = run_on_terminal(cli.argv("config", "list"), tmp_path)
    assert code == 0
    assert max(map(len, screen.splitlines())) <= 80
    words = screen.split()
    for key in KEYS.values():
        assert set(key.help.split()) <= set(words)


@pytest.mark.parametrize(
    ("key", "text", "value", "shown"),
    [
        ("max-retries", "2", 2, "2"), ("max_retries", "0", 0, "0"), ("backoff-base", "1", 1.0, "1"),
        ("backoff-base", "1.5", 1.5, "1.5"), ("backoff-max", "10m", 600.0, "600"), ("timeout", "1h", 3600.0, "3600"),
        ("timeout", "none", None, "none"), ("grace", "0", 0.0, "0"), ("min-free", "64M", 64 << 20, str(64 << 20)),
        ("settle", "500ms", 0.5, "0.5"),
        ("notify-url", "https://example.org/x?a=b", "https://example.org/x?a=b", "https://example.org/x?a=b"),
        ("notify-on", "done, dead", ["done", "dead"], "done,dead"), ("hook-timeout", "1m", 60.0, "60"),
        ("max-log", "10M", 10 << 20, str(10 << 20)), ("on-max-log", "KILL", "kill", "kill"),
        ("backoff-jitter", "0", 0.0, "0"), ("retry-on", "75, 64-66", [64, 65, 66, 75], "64,65,66,75"),
        ("no-retry-on", "none", None, "none"), ("permanent-codes", "qmail", [100], "100"),
        ("temporary-codes", "qmail", [75, 111], "75,111"), ("on-lost", "dead", "dead", "dead"),
        ("keep-done-count", "100", 100, "100"), ("keep-done-size", "2G", 2 << 30, "2147483648"),
    ],
)  # fmt: skip
def test_set(cli: CommandLine, spool: Spool, key: str, text: str, value: object, shown: str) -> None:
    """A value is stored in config.toml as what it means, and read back by `get`."""
    done = cli.run("config", "set", key, text)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"{key} = {shown}\n"
    assert cli.ok("config", "get", key) == shown
    assert cli.json("config", "get", key) == {"value": value, "source": "config.toml"}
    stored = tomllib.loads((spool.path / "config.toml").read_text())
    assert stored == {key.replace("_", "-"): "none" if value is None else value}


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("max-retries", "-1"), ("max-retries", "1.5"), ("max-retries", "many"), ("max-retries", "999999"),
        ("max-retries", ""), ("backoff-base", "x"), ("backoff-base", "-2"), ("backoff-base", "nan"),
        ("backoff-base", "inf"), ("backoff-max", "soon"), ("timeout", "0"), ("timeout", "maybe"), ("grace", "-1"),
        ("min-free", "lots"), ("min-free", "-5"), ("keep-done", "0"), ("keep-done-count", "-1"),
        ("notify-url", "ftp://example.org"), ("notify-url", "file:///etc/passwd"), ("notify-on", "never"),
        ("hook-timeout", "0"), ("max-log", "100"), ("on-max-log", "stop"),
        ("backoff-jitter", "2"), ("retry-on", "0"), ("retry-on", "5-3"), ("no-retry-on", "256"), ("on-lost", "maybe"),
        ("keep-done-size", "big"), ("settle", "0"), ("rescan", "none"),
    ],
)  # fmt: skip
def test_bad_values(cli: CommandLine, spool: Spool, key: str, text: str) -> None:
    """A value that a setting cannot take is a usage error, and config.toml stays as it is."""
    before = (spool.path / "config.toml").read_bytes()
    done = cli.run("config", "set", key, text)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("queuectl: ")
    assert repr(text) in done.stderr
    assert len(done.stderr.splitlines()) <= 3
    assert (spool.path / "config.toml").read_bytes() == before


@pytest.mark.parametrize("words", [["get"], ["unset"], ["set"]], ids=" ".join)
def test_unknown_settings(cli: CommandLine, words: list[str]) -> None:
    """A setting that does not exist is a usage error with the nearest one that does."""
    done = cli.run("config", *words, "max-retry", *(["1"] if words == ["set"] else []))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "queuectl: unknown setting 'max-retry'\n  did you mean max-retries?\n"


def test_unset(cli: CommandLine, spool: Spool) -> None:
    """`unset` gives a setting its default again and leaves all other lines alone."""
    path = spool.path / "config.toml"
    path.write_text("# mine\nmax-retries = 7\n\ntimeout = 5\n")
    done = cli.run("config", "unset", "max-retries")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "max-retries = 3 (default)\n")
    assert path.read_text() == "# mine\n\ntimeout = 5\n"


def test_environment_goes_first(cli: CommandLine, spool: Spool) -> None:
    """A variable goes before config.toml, and is named as the source."""
    cli.ok("config", "set", "max-retries", "7")
    done = cli.run("config", "get", "max-retries", env={"QUEUECTL_MAX_RETRIES": "1"})
    assert done.stdout == "1\n"
    text = cli.ok("config", "list", env={"QUEUECTL_MAX_RETRIES": "1"})
    row = next(line.split() for line in text.splitlines() if line.startswith("max-retries"))
    assert row[1:3] == ["1", "QUEUECTL_MAX_RETRIES"]
    done = cli.run("config", "get", "max-retries", env={"QUEUECTL_MAX_RETRIES": "x"})
    assert done.returncode == 2
    assert "in QUEUECTL_MAX_RETRIES" in done.stderr


def test_broken_file(cli: CommandLine, spool: Spool) -> None:
    """A config.toml that cannot be read is reported with its path, and never overwritten."""
    path = spool.path / "config.toml"
    path.write_text("max-retries = \n")
    for words in (["list"], ["get", "timeout"], ["set", "timeout", "5"]):
        done = cli.run("config", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert str(path) in done.stderr
    assert path.read_text() == "max-retries = \n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[[broken\n", "config.toml cannot be read ("),
        ("grace = 'soon'\n", "grace: not a duration: 'soon' ("),
        (b"\xff", "config.toml cannot be read ("),
    ],
)
def test_broken_file_is_diagnosed(cli: CommandLine, spool: Spool, text: str | bytes, expected: str) -> None:
    """`doctor` and `fsck` count it as a problem, `explain` as a reason, and `cancel` continues with the default."""
    spool.enqueue("true", id="x")
    path = spool.path / "config.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = cli.run("doctor", "--json")
    (bad,) = [check for check in json.loads(done.stdout)["checks"] if check["subject"] == "settings"]
    assert (done.returncode, bad["health"], done.stderr) == (1, "bad", "")
    done = cli.run("fsck", "--json")
    (finding,) = json.loads(done.stdout)["findings"]
    assert (done.returncode, finding["weight"], finding["path"]) == (1, "problem", str(path))
    done = cli.run("explain", "x", "--json")
    reason, absence = json.loads(done.stdout)[0]["reasons"]
    assert (done.returncode, reason["reason"], absence["reason"]) == (0, "settings", "no-worker")
    warning = done.stderr
    for each in (bad["found"], finding["what"], reason["text"].removeprefix("no worker can start: ")):
        assert each.startswith(expected)
        assert warning == f"warning: {each}; using the default\n"
    done = cli.run("cancel", "x")
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n", f"{warning}1 job cancelled\n")


def test_unknown_keys_are_reported(cli: CommandLine, spool: Spool) -> None:
    """A key that config.toml cannot have is warned about with the nearest one, and stops nothing."""
    path = spool.path / "config.toml"
    path.write_text("max_retries = 9\nmax-retrys = 8\ngrace = 1\n[Zebra]\nx = 1\n")
    expected = [
        ("config.toml: unknown setting 'max_retries' is ignored", "did you mean max-retries?"),
        ("config.toml: unknown setting 'max-retrys' is ignored", "did you mean max-retries?"),
        ("config.toml: unknown setting 'Zebra' is ignored", "remove it, unless a newer version knows it"),
    ]
    for words in (["config", "list"], ["config", "list", "--json"]):
        done = cli.run(*words)
        assert (done.returncode, done.stderr.splitlines()) == (
            0,
            [f"warning: {what}; {hint}" for what, hint in expected],
        )
    assert json.loads(done.stdout)["grace"] == {"value": 1.0, "source": "config.toml"}
    checks = [check for check in cli.json("doctor")["checks"] if check["subject"] == "settings"]
    assert [(check["health"], check["found"], check["advice"]) for check in checks] == [
        ("warn", *one) for one in expected
    ]
    found = cli.json("fsck")
    assert found["sound"]
    assert [(each["weight"], each["path"], each["what"], each["remedy"]) for each in found["findings"]] == [
        ("note", str(path), *one) for one in expected
    ]


def test_bad_variable_is_diagnosed(cli: CommandLine, spool: Spool) -> None:
    """`doctor` reports the environment too; the spool is sound, and the other settings are in force."""
    cli.ok("config", "set", "min-free", "1000T")
    done = cli.run("doctor", env={"QUEUECTL_GRACE": "soon"})
    assert done.returncode == 1
    assert "bad   settings           grace: not a duration: 'soon' (in QUEUECTL_GRACE)\n" in done.stdout
    assert "min-free is 1000.0 TiB" in done.stdout
    assert cli.run("fsck", env={"QUEUECTL_GRACE": "soon"}).stderr == "sound\n"
    assert f"ok    settings           1 of {len(KEYS)} set\n" in cli.run("doctor").stdout
