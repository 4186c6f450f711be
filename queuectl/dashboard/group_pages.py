"""The page of the groups, and the form for the settings of one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import bottle

from queuectl.core import groups
from queuectl.core.admission import Group
from queuectl.core.names import is_valid_id
from queuectl.core.seats import name_of
from queuectl.dashboard import charts, markup
from queuectl.dashboard.forms import go_back
from queuectl.dashboard.site import Request, Site, common, page, problem
from queuectl.errors import ConfigError, SpoolError
from queuectl.spool.reading.groups import Tally
from queuectl.spool.system import defaults, files
from queuectl.spool.system import groups as group_files
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.seats import Holder, find_held

MOST = 200
"""Groups on the page: those with settings, then the largest."""
HINTS = {
    "limit": "how many of its jobs may run at once",
    "max-failed": "10, or 5% of those that end",
    "seats": "4, or names: a,b,c",
    "seat-env": "CUDA_VISIBLE_DEVICES",
    "priority": "0 to 999, lower runs first; of jobs to come",
    "timeout": "10m",
    "max-retries": "3",
    "backoff-base": "2",
    "backoff-max": "1h",
    "backoff-jitter": "0.1",
    "retry-on": "75,100",
    "no-retry-on": "2,64",
    "on-lost": "retry or dead",
    "max-log": "10M",
    "on-max-log": "drop or kill",
}


class Entry(NamedTuple):
    """A group, how many jobs of it there are, and who holds its seats, by their locks."""

    group: Group
    tally: Tally
    held: Mapping[str, Holder] = {}

    @property
    def is_full(self) -> bool:
        """Whether none of its jobs can start, for its limit or for its seats."""
        is_at_limit = self.group.limit is not None and self.tally.running >= self.group.limit
        return is_at_limit or (self.group.seats is not None and not self.free)

    @property
    def free(self) -> int:
        """Seats that can be had."""
        return 0 if self.group.seats is None else self.group.seats.count_free(self.held)

    @property
    def seats(self) -> list[tuple[str, Holder]]:
        """The seats that are held, each with its job, and the spool of that."""
        return [(name_of(lock), holder) for lock, holder in self.held.items()]

    @property
    def settings(self) -> list[tuple[str, str]]:
        """The settings that it has, and their values."""
        values = ((key, getattr(self.group, key.replace("-", "_"), None)) for key in group_files.PARSERS)
        own = [(key, str(value)) for key, value in values if value is not None]
        return [*own, *defaults.describe(self.group.defaults)]


def groups_page(site: Site) -> Any:
    """The groups that have settings or several jobs, each with its counts, what keeps it from starting, and actions."""
    request = Request.of(site)
    layout = site.spool.layout
    held = {name: _held(layout, name) for name, group in request.view.groups.items() if group.seats is not None}

    def values() -> dict[str, Any]:
        tallies, found = request.view.tallies(request.now), request.view.groups
        others = [name for name, tally in tallies.items() if tally.total > 1 and name not in found]
        largest = sorted(others, key=lambda name: (-tallies[name].total, name))[: max(0, MOST - len(found))]
        names = sorted((*found, *largest))
        return {
            "entries": [
                Entry(found.get(name, Group(name)), tallies.get(name, Tally()), held.get(name, {})) for name in names
            ],
            "is_valid_id": is_valid_id,
            "hidden": len(others) - len(largest),
            "bar": charts.bar,
        }

    return page(request, "groups", "Groups", held, values=values)


def _held(layout: Layout, name: str) -> Mapping[str, Holder]:
    """Who holds which seats; nobody if that cannot be found out, as of a folder of another user."""
    with suppress(OSError):
        return find_held(layout, name)
    return {}


def settings_page(site: Site, id: str) -> Any:
    """The form for the group of that name, with what is set now; also if it has no jobs yet."""
    request = Request.of(site)
    if not groups.is_name(id):
        return problem(404, "No such group", f"{id} is not a name of a group.", request)
    if not site.policy.may_act:
        return problem(403, "Read-only", "This dashboard is read-only: it does not allow changes.", request)
    set_now = group_files.texts(site.spool.layout, id)
    return _show(request, id, set_now, set_now, {})


def save(site: Site) -> Any:
    """Set what was changed in the form, and remove what was emptied; nothing if any value is wrong."""
    request = Request.of(site)
    name = groups.require_name(request.field("group"))
    layout = site.spool.layout
    was = {key: request.field(f"was_{key}").strip() for key in group_files.KEYS}
    typed = {key: request.field(key).strip() for key in group_files.KEYS}
    changed = {key: value for key, value in typed.items() if value != was[key]}
    set_now = group_files.texts(layout, name)
    wrong: dict[str, str] = {}
    for key, value in changed.items():
        if set_now.get(key, "") != was[key]:
            wrong[key] = f"it was changed in the meantime, to {set_now.get(key) or 'nothing'}; save again to replace it"
        try:
            if value:
                group_files.check(key, value)
        except ConfigError as error:
            wrong[key] = error.what
    if wrong:
        return _show(request, name, set_now, typed, wrong)
    try:
        for key, value in changed.items():
            if value:
                group_files.write(layout, name, key, value)
            else:
                group_files.unset(layout, name, key)
    except SpoolError as error:
        return problem(503, error.what, error.why, request)
    files.ring(layout.bell)
    return go_back(request)


def _show(request: Request, name: str, was: dict[str, str], typed: dict[str, str], wrong: dict[str, str]) -> Any:
    shown = [
        (key, was.get(key, ""), typed.get(key, ""), HINTS.get(key, ""), wrong.get(key)) for key in group_files.KEYS
    ]
    own = len(group_files.PARSERS)
    text = markup.render(
        "group",
        **common(request),
        title=f"Settings of {name}",
        group=name,
        fields=shown[:own],
        defaults=shown[own:],
        counts=request.view.counts(request.now),
        receipts=[],
    )
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
    return bottle.HTTPResponse(text.encode(), status=400 if wrong else 200, headers=headers)
