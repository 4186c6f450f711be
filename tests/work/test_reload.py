"""The settings of a worker follow config.toml."""

from __future__ import annotations

import os
from typing import Any

import pytest

from queuectl import Spool
from queuectl.spool.system import settings
from queuectl.work.reload import Reload
from tests.work.given import Reported


@pytest.fixture
def reported(spool: Spool) -> Reported:
    return Reported(spool)


def test_reload_reads_a_changed_file(spool: Spool, reported: Reported) -> None:
    """What is set holds from the next look on, but for what a flag of the command overrides."""
    reload = Reload(reported.context, {"rescan": 7.0})
    settings.store(spool.layout, "grace", "3")
    settings.store(spool.layout, "rescan", "9")
    reload.reload()
    found = reported.context.settings
    assert (found.grace, found.rescan) == (3.0, 7.0)


def test_reload_leaves_alone_what_has_not_changed(
    spool: Spool, reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is read once for each time that it is written."""
    loads: list[bool] = []
    real = settings.load

    def counted(*arguments: Any) -> Any:
        loads.append(True)
        return real(*arguments)

    monkeypatch.setattr(settings, "load", counted)
    reload = Reload(reported.context, {})
    settings.store(spool.layout, "grace", "3")
    for _ in range(3):
        reload.reload()
    assert len(loads) == 1
    os.utime(spool.layout.config, (1, 1))
    reload.reload()
    assert len(loads) == 2


def test_reload_keeps_the_settings_while_the_file_is_invalid(spool: Spool, reported: Reported) -> None:
    """That is reported once, and once more when it is valid again."""
    reload = Reload(reported.context, {})
    settings.store(spool.layout, "grace", "3")
    reload.reload()
    for text in ("grace = ", "grace = [", "grace = 4\n"):
        with open(spool.layout.config, "w", encoding="utf-8") as file:
            file.write(text)
        os.utime(spool.layout.config, (len(text), len(text)))
        before = reported.context.settings.grace
        reload.reload()
        assert before == 3.0
    assert reported.context.settings.grace == 4.0
    warning, valid = (line["message"] for line in reported.events())
    assert warning.startswith("keeping the previous settings: ")
    assert valid == "config.toml is valid again"
