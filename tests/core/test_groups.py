"""A job's groups stand in its id."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from queuectl.core import admission, groups
from queuectl.core.admission import Group, Pause
from queuectl.errors import UsageError

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("id", "found"),
    [
        ("report", ()),
        ("gpu.1", ("gpu",)),
        ("gpu.train.0007", ("gpu", "gpu.train")),
        ("lr.", ("lr",)),
        ("a..b", ("a",)),
        ("a.b-c.d", ("a", "a.b-c")),
    ],
)
def test_of_gives_every_prefix_before_a_dot(id: str, found: tuple[str, ...]) -> None:
    """The outermost first; what ends in a dot is no name of a group."""
    assert groups.of(id) == found
    assert all(groups.is_in(id, group) for group in found)
    assert all(groups.is_name(group) for group in found)


@pytest.mark.parametrize(
    ("group", "there", "slip"),
    [
        ("gup", ("gpu",), ("gup", "gpu")),
        ("gpus", ("gpu",), ("gpus", "gpu")),
        ("GPU", ("cpu", "gpu"), ("GPU", "gpu")),
        ("fine_tune", ("fine-tune",), ("fine_tune", "fine-tune")),
        ("trein", ("train",), ("trein", "train")),
        ("gup.train", ("gpu",), ("gup", "gpu")),
        ("gpu.trian", ("gpu", "gpu.train"), ("gpu.trian", "gpu.train")),
        ("gup", ("gpu", "gup"), None),
        ("gup.train", ("gpu", "gup.train"), None),
        ("cpu", ("gpu",), None),
        ("gpu1", ("gpu", "gpu2"), None),
        ("lr", ("l", "rl"), None),
        ("net", ("gpu",), None),
        ("gpu.train", ("gpu",), None),
        ("gpu", (), None),
    ],
)
def test_find_slip(group: str, there: tuple[str, ...], slip: tuple[str, str] | None) -> None:
    """A group without settings is a slip only if it is one letter or so away from a group that has some."""
    assert groups.find_slip(group, there) == slip


def test_is_in_takes_a_dot_for_the_border() -> None:
    """A job whose id merely begins like the group's name is not in it, nor is one that has just that id."""
    assert not groups.is_in("gpus.1", "gpu")
    assert not groups.is_in("gpu", "gpu")
    assert not groups.is_in("gpu-1", "gpu")


def test_join_puts_the_group_in_front_once() -> None:
    """The id may be given with or without its group."""
    assert groups.join("gpu", "train") == groups.join("gpu", "gpu.train") == "gpu.train"
    assert groups.join("gpu", "gpus.train") == "gpu.gpus.train"


@pytest.mark.parametrize("name", ["", ".", "gpu.", "a..b", "-x", "a b", "a/b", "x" * 88, "ü"])
def test_require_name_refuses_what_cannot_be_in_an_id(name: str) -> None:
    """A group's name is a legal id that leaves room for a dot and a random part."""
    assert not groups.is_name(name)
    with pytest.raises(UsageError):
        groups.require_name(name)


def test_reasons_say_what_keeps_a_group_from_starting() -> None:
    """A wrong value, a pause, and as many running as the limit allows; nothing else."""
    assert [*admission.of_group(Group("gpu", 2), running=1)] == []
    assert [*admission.of_group(Group("gpu", 2))] == []
    (full,) = admission.of_group(Group("gpu", 2), running=2)
    assert (full.reason, full.text) == ("limit", "the group gpu runs 2 jobs, its limit is 2")
    (none,) = admission.of_group(Group("gpu", 0))
    assert none.text == "the limit of the group gpu is 0"
    (paused,) = admission.of_group(Group("gpu", None, Pause(NOON)))
    assert paused.text.endswith("to continue: queuectl resume --group gpu")
    (wrong,) = admission.of_group(Group("gpu", problem="groups/gpu/limit is empty"))
    assert wrong.text == "groups/gpu/limit is empty; no job of the group gpu is started"


@pytest.mark.parametrize("text", ["", " \n", "two", "-1", "1.5", "٣", "9999999"])
def test_parse_limit_refuses_what_is_not_a_whole_number(text: str) -> None:
    """An empty file is not "no limit": it may be about to be written."""
    with pytest.raises(ValueError, match="is "):
        groups.parse_limit(text)


def test_parse_limit_reads_what_echo_writes() -> None:
    """With the newline behind it."""
    assert groups.parse_limit("12\n") == 12


@pytest.mark.parametrize(
    ("only", "others", "taken"),
    [
        ((), (), ["a", "gpu", "gpu.1", "gpu.t.1", "net.1"]),
        (("gpu",), (), ["gpu.1", "gpu.t.1"]),
        (("gpu.",), ("gpu.t",), ["gpu.1"]),
        (("gpu", "net"), (), ["gpu.1", "gpu.t.1", "net.1"]),
        ((), ("gpu",), ["a", "gpu", "net.1"]),
    ],
)
def test_choice_takes_jobs_of_its_groups(only: tuple[str, ...], others: tuple[str, ...], taken: list[str]) -> None:
    """`--not-group` wins over `--group`; a job that has the name of a group is not in it."""
    choice = groups.choose(only, others)
    assert [id for id in ("a", "gpu", "gpu.1", "gpu.t.1", "net.1") if choice.takes(id)] == taken


@pytest.mark.parametrize(("only", "others"), [(("gpu",), ("gpu",)), (("gpu.t",), ("gpu",)), (("a b",), ())])
def test_choice_that_takes_nothing_is_refused(only: tuple[str, ...], others: tuple[str, ...]) -> None:
    """Such a worker would wait for ever; a name that no group can have is an error too."""
    with pytest.raises(UsageError):
        groups.choose(only, others)


@pytest.mark.parametrize("said", [None, "gpu", 5, [1, "gpu"]])
def test_choice_of_a_worker_is_read_from_any_file(said: object) -> None:
    """What is no name is passed over."""
    assert groups.Choice.of_worker({"groups": said}).only == (("gpu",) if isinstance(said, list) else ())
