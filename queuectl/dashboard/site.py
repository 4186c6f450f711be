"""What all pages share: the spool and its snapshot, the request, and answers that send only what is new."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl

import bottle

from queuectl.core.job import Job
from queuectl.core.result import State
from queuectl.core.text import format_size, printable
from queuectl.dashboard import alarms, markup, wording
from queuectl.dashboard.joblog import LogReader
from queuectl.dashboard.operations import VERBS, Operations, Verb
from queuectl.dashboard.runs import RunReader
from queuectl.dashboard.security import CSRF_FIELD, Policy, is_local_path
from queuectl.dashboard.snapshot import Snapshot, View
from queuectl.errors import UsageError
from queuectl.spool.reading import query
from queuectl.spool.reading.causes import MOST, CauseReader, Causes
from queuectl.spool.reading.metrics import Metrics, measure_names
from queuectl.spool.reading.waits import WaitReader
from queuectl.spool.store import Spool
from queuectl.spool.system.clock import now
from queuectl.spool.system.listing import as_text

_MEASURE_SHARE = 20
_CAUSE_TIME = 0.25
_CAUSES_SHOWN = 50
_READ_ON = 1.5  # seconds after an answer in which the logs of dead letters are read on
_MEASURED = 16
_PLACES = 1000
_MOST_FIELDS = 50


class Site:
    """One dashboard of one spool."""

    def __init__(self, spool: Spool, policy: Policy, snapshot: Snapshot) -> None:
        self.spool = spool
        self.policy = policy
        self.snapshot = snapshot
        self.operations = Operations(spool)
        self.logs = LogReader(spool.layout)
        self.causes = CauseReader(spool.layout)
        self.runs = RunReader(spool.layout)
        self.waits = WaitReader(spool.layout)
        self.boot = secrets.token_hex(4)
        self._places: dict[str, tuple[State, str]] = {}
        self._measure_lock = threading.Lock()
        self._measured: dict[str, tuple[int, float, float, Metrics]] = {}
        self._why_lock = threading.Lock()
        self._reads = False
        self._chart_lock = threading.Lock()
        self._charts: dict[tuple[str, str], tuple[object, float, float, dict[str, Any]]] = {}
        self._whys: dict[tuple[str, str, str], tuple[int, float, float, Causes]] = {}

    def find(self, id: str) -> Job | None:
        """The job of exactly that id, wherever it is now."""
        looks: tuple[Callable[[], tuple[State, str] | None], ...] = (
            lambda: self._places.pop(id, None),  # most jobs that are viewed stay where they were
            lambda: self.snapshot.view().find(id),
            lambda: self.snapshot.view(patience=1.0, is_fresh=True).find(id),
            lambda: self.snapshot.view(patience=1.0, is_fresh=True).find(id),
        )
        for look in looks:
            place = look()
            job = query.load(self.spool.layout, *place) if place else None
            if place and job is not None:
                if len(self._places) >= _PLACES:
                    self._places.clear()
                self._places[id] = place
                return job
        return None

    def why(self, view: View, group: str, result: str, since: str) -> Causes:
        """Why dead letters failed, as far as is known: those of a group (empty: all), with a result (empty: any), since
        then. Logs are read for a part of each second, whatever the number of viewers."""
        key = group, result, since[:16]
        with self._why_lock:
            if key in self._whys:
                generation, at, cost, found = self._whys[key]
                age = time.monotonic() - at
                if age < max(0.0 if found.is_complete else 1.0, cost * _MEASURE_SHARE if found.is_complete else 0.0):
                    return found
                if found.is_complete and generation == view.generation:
                    return found
            start = time.monotonic()
            names = view.shelves[State.DEAD].select(since, tag=result or None, group=group)
            found = self.causes.causes(islice(names, MOST), _CAUSES_SHOWN, _CAUSE_TIME)
            end = time.monotonic()
            if not found.is_complete and not self._reads:
                self._reads = True
                threading.Thread(target=self._read_on, args=(names,), name="causes", daemon=True).start()
            if len(self._whys) >= _MEASURED:
                self._whys.clear()
            self._whys[key] = view.generation, end, end - start, found
            return found

    def charts(
        self,
        key: tuple[str, str],
        stamp: object,
        draw: Callable[[], dict[str, Any]],
        is_whole: Callable[[dict[str, Any]], bool],
    ) -> dict[str, Any]:
        """The values of the charts of a range and a group, drawn again only when the stamp has changed or they were not
        whole, and seldom if that is costly."""
        with self._chart_lock:
            if key in self._charts:
                old, at, cost, found = self._charts[key]
                if (old == stamp and is_whole(found)) or time.monotonic() - at < cost * _MEASURE_SHARE:
                    return found
            start = time.monotonic()
            found = draw()
            end = time.monotonic()
            if len(self._charts) >= _MEASURED:
                self._charts.clear()
            self._charts[key] = stamp, end, end - start, found
            return found

    def _read_on(self, names: Iterable[str]) -> None:
        """Read logs for a while longer: until the page asks again, if somebody still looks at it."""
        try:
            self.causes.matching(islice(names, MOST), "", _READ_ON)
        finally:
            self._reads = False

    def metrics(self, view: View, group: str = "") -> Metrics:
        """`queuectl metrics`, of all jobs or of a group, measured again only when names have changed, and seldom if it
        is costly."""
        with self._measure_lock:
            if group in self._measured:
                generation, at, cost, found = self._measured[group]
                if generation == view.generation or time.monotonic() - at < cost * _MEASURE_SHARE:
                    return found
            start = time.monotonic()
            finished = {
                state: map(os.fsencode, view.shelves[state].select(group=group)) for state in (State.DONE, State.DEAD)
            }
            found = measure_names({state: [as_text(names)] for state, names in finished.items()}, now())
            end = time.monotonic()
            if len(self._measured) >= _MEASURED:
                self._measured.clear()
            self._measured[group] = view.generation, end, end - start, found
            return found


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the site, and when it was made."""

    site: Site
    environ: dict[str, Any]
    view: View
    now: datetime

    @classmethod
    def of(cls, site: Site) -> Request:
        return cls(site, bottle.request.environ, site.snapshot.view(), now())

    def asked(self, *names: str) -> dict[str, str]:
        """What the address asks for, of these fields.

        Raises UsageError for any other field, for one that is given twice, and for what is not text.
        """
        query = self.environ.get("QUERY_STRING", "")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
        except UnicodeDecodeError:
            raise UsageError("that address is not valid UTF-8") from None
        except ValueError:
            raise UsageError("that address has too many fields", f"it can have {_MOST_FIELDS}") from None
        return _single(pairs, names)

    @property
    def form(self) -> dict[str, list[str]]:
        form: dict[str, list[str]] = self.environ["queuectl.form"]
        return form

    def given(self, *names: str, lists: Collection[str] = ()) -> dict[str, str]:
        """What the form gives of these fields. Raises as `asked`; `lists` may be given any number of times."""
        pairs = ((name, value) for name, values in self.form.items() for value in values)
        return _single([pair for pair in pairs if pair[0] not in (*lists, CSRF_FIELD, "back")], names)

    def field(self, name: str) -> str:
        """The first value of a form's field; empty if it has none."""
        return self.form.get(name, [""])[0]

    @property
    def back(self) -> str:
        """The page that a form leads back to."""
        path = self.field("back")
        return path if is_local_path(path) else "/"

    @property
    def user(self) -> str:
        """The name of the token that was given; empty without one."""
        return str(self.environ.get("queuectl.user") or "")

    @property
    def session(self) -> str:
        return str(self.environ["queuectl.session"])

    @property
    def here(self) -> str:
        """The address of this page below the prefix."""
        text = self.environ.get("QUERY_STRING", "")
        return str(self.environ["PATH_INFO"]) + (f"?{text}" if text else "")


def _single(pairs: Iterable[tuple[str, str]], names: Collection[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in names:
            known = f"there are {', '.join(names)}" if names else "there are none here"
            raise UsageError(f"no such field: {printable(name[:60])!r}", known)
        if name in found:
            raise UsageError(f"{name} is given twice", "it can have one value")
        if "\0" in value:
            raise UsageError(f"{name} holds a NUL character")
        found[name] = value
    return found


def page(request: Request, template: str, title: str, *key: Any, values: Callable[[], dict[str, Any]]) -> Any:
    """A whole page, or 304 if the browser has it: `key` is what it depends on in addition to the snapshot."""
    site, view = request.site, request.view
    counts = view.counts(request.now)
    receipts = site.operations.of(request.session)
    tag = _tag(
        site.boot, request.here, request.environ["queuectl.csrf"], view.generation, counts, key,
        int(request.now.timestamp()) // 60, [(each.id, each.done, each.is_over, each.is_undone) for each in receipts],
    )  # fmt: skip
    if request.environ.get("HTTP_IF_NONE_MATCH") == tag:
        return bottle.HTTPResponse(status=304, headers={"ETag": tag})
    text = markup.render(
        template,
        **common(request),
        **values(),
        title=title,
        counts=counts,
        receipts=receipts,
    )
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-cache", "ETag": tag}
    return bottle.HTTPResponse(text.encode(), headers=headers)


def _tag(*parts: Any) -> str:
    return f'W/"{hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()}"'


def common(request: Request) -> dict[str, Any]:
    """The values that the frame and the parts of every page may use."""
    site, view = request.site, request.view
    return {
        "root": site.policy.prefix,
        "here": request.here,
        "path": request.environ["PATH_INFO"],
        "csrf": request.environ["queuectl.csrf"],
        "may_act": site.policy.may_act,
        "has_token": bool(site.policy.tokens),
        "alarms": alarms.find(view, request.now, site.policy.max_wait),
        "dead_workers": alarms.dead_workers(view),
        "lost_hosts": alarms.lost_hosts(view),
        "overdue": alarms.overdue(view, request.now, site.policy.max_wait),
        "cli": wording.cli(site.spool.path),
        "spool": str(site.spool.path),
        "view": view,
        "now": request.now,
        "icon": markup.icon,
        "badge": markup.badge,
        "when": lambda at: markup.when(at, request.now),
        "clock": lambda at: markup.clock(at, request.now),
        "elapsed": lambda at: markup.elapsed(at, request.now),
        "format_size": format_size,
        "brief": markup.brief,
        "duration": markup.duration,
        "short": markup.short,
        "number": markup.number,
        "zone": request.now.astimezone().tzname(),
        "version": site.boot,
        "low_room": _low_room(view),
        "verbs_for": verbs_for,
    }


def _low_room(view: View) -> bool:
    return view.problem is None and view.is_full


def verbs_for(state: State, *, is_held: bool = False, is_due: bool = False) -> list[Verb]:
    """What can be done to a job in that state."""
    return [verb for verb in VERBS.values() if verb.suits(state, is_held=is_held, is_due=is_due)]


def problem(status: int, title: str, text: str, request: Request) -> Any:
    """A page that says what went wrong, with a way back to the form, or to the page without what it was asked."""
    environ = request.environ
    back = request.back if environ["REQUEST_METHOD"] == "POST" else environ["PATH_INFO"] if status == 400 else ""
    body = markup.render("problem", **common(request), title=title, text=text, back=back)
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
    return bottle.HTTPResponse(body.encode(), status=status, headers=headers)


def bad_request(error: UsageError, request: Request) -> Any:
    """`problem` for what makes no sense in an address or a form."""
    title, text = (f"{part[:1].upper()}{part[1:]}" for part in (error.what, error.why))
    return problem(400, title, f"{text}." if text else "", request)
