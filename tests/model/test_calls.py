"""The table of the model's system calls is whole, and a trace that deviates from a path is seen to."""

from __future__ import annotations

from tests.model import calls


def test_steps_of_the_model_name_their_calls() -> None:
    """The table of calls has all steps, and no other."""
    assert set(calls.CALLS) == calls.steps()


def test_deviation_finds_an_effect_too_much_a_look_too_late_and_an_end_too_early() -> None:
    """More looks are allowed; other effects, another order, or less is not."""
    model = ["ask attempt", "read log", "rename running done"]

    assert calls.deviation(["read log", *model], model) == ""
    assert calls.deviation(["read log", "ask attempt", "rename running done"], model) != ""
    assert calls.deviation(["ask attempt", "write end", *model[1:]], model) != ""
    assert calls.deviation(model[:2], model) != ""


def test_read_trace_knows_the_calls_of_one_process_among_those_of_its_children() -> None:
    """Threads belong to the process, what it has started does not; a call that failed did nothing."""
    lock = "{l_type=F_WRLCK, l_whence=SEEK_SET, l_start=1790000000001, l_len=1}"
    lines = [
        '10 rename("/s/pending/a", "/s/running/b") = 0',
        '10 rename("/s/pending/a", "/s/running/c") = -1 ENOENT (No such file or directory)',
        f"10 fcntl(5</s/logs/x.log>, F_OFD_SETLK, {lock}) = 0",
        "10 clone3({flags=CLONE_VM|CLONE_THREAD, stack_size=1} => {parent_tid=[11]}, 88) = 11",
        "11 kill(12, SIGSTOP) = 0",
        "10 vfork( <unfinished ...>",
        '12 write(9</s/logs/x.log>, "#queuectl start attempt=1", 25) = 25',
        '11 write(5</s/logs/x.log>, "#queuectl note ending attempt=1", 31 <unfinished ...>',
        "11 <... write resumed>) = 31",
        '10 renameat2(AT_FDCWD, "/s/tmp/n", AT_FDCWD, "/s/pending/a", RENAME_EXCHANGE) = 0',
    ]

    assert calls.read_trace(lines, "/s", 10) == [
        *("rename pending running", "lock attempt", "stop", "spawn", "write note", "exchange tmp pending"),
    ]
