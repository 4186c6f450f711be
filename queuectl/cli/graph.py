"""`queuectl graph`"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import click

from queuectl.cli.context import complete_jobs, json_option, note, open_spool, print_json, shown
from queuectl.core import groups
from queuectl.core.groups import require_name
from queuectl.errors import NotFoundError, UsageError
from queuectl.spool.reading import graph as graphs
from queuectl.spool.reading.graph import Graph, Link
from queuectl.spool.store import Spool

_RULES = {"after": "", "after_end": " (however it ends)", "after_failed": " (if it fails)"}


@click.command()
@click.argument("what", nargs=-1, metavar="[GROUP.... | ID...]", shell_complete=complete_jobs())
@click.option("--dot", "as_dot", is_flag=True, help="Print it for Graphviz: queuectl graph --dot | dot -Tsvg.")
@json_option
def graph(what: tuple[str, ...], as_dot: bool, as_json: bool) -> None:
    """Show which jobs wait for which.

    What comes first is above, and what waits for it below and further in. Without an argument it shows all that
    waits, or was skipped; of a job or a group, all that is above and below it. A job that two others lead to is
    shown once, and named in brackets where it comes again. Jobs of a group for which others wait, or of which more
    than five wait for the same, are one line.

    \b
    Example:
      queuectl graph
      queuectl graph report
      queuectl graph --dot lr. | dot -Tsvg >lr.svg
    """
    if as_dot and as_json:
        raise UsageError("both --dot and --json", hint="use one of them")
    spool = open_spool()
    found = graphs.look(spool.layout, _ids(spool, what) if what else None)
    if as_json:
        print_json(found.to_json())
    elif as_dot:
        for line in _dot(found):
            click.echo(line)
    elif not found.links:
        note("no job waits for another" if not what else "it waits for no other job, and none waits for it")
    else:
        for line in _tree(found):
            click.echo(shown(line))


def _ids(spool: Spool, what: tuple[str, ...]) -> list[str]:
    ids: list[str] = []
    for text in what:
        if text.endswith("."):
            members = graphs.ids_in(spool.layout, require_name(text[:-1]))
            if not members:
                raise NotFoundError(f"no job is in the group {text[:-1]}", hint="see: queuectl group list --all")
            ids += members
        else:
            ids.append(spool.get(text).id)
    return ids


_MANY = 5  # jobs of a group below one, from which on they are shown as one line


def _tree(found: Graph) -> Iterator[str]:
    """Each job below what it waits for; jobs of a group that nothing waits for alone are one line."""
    links = _together(found)
    below: dict[str, list[Link]] = {}
    for link in links:
        below.setdefault(link.dep, []).append(link)
    children = {link.child for link in links}
    roots = [dep for dep in below if dep not in children]
    printed: set[str] = set()
    todo = [(root, "", "", "") for root in sorted(roots or below, reverse=True)]
    while todo:
        id, how, lead, inner = todo.pop()
        if id in printed:
            yield f"{lead}({id}){how}"
            continue
        printed.add(id)
        yield f"{lead}{_describe(found, id)}{how}"
        last = True
        for each in sorted(below.get(id, ()), reverse=True):
            corner, bar = ("└── ", "    ") if last else ("├── ", "│   ")
            todo.append((each.child, _RULES[each.rule], inner + corner, inner + bar))
            last = False


def _together(found: Graph) -> list[Link]:
    """The links, those to jobs of one group as one to the group: if others wait for the group, or they are many."""
    deps = {link.dep for link in found.links}

    def group_of(link: Link) -> str:
        if link.child in deps or link.child.endswith("."):
            return ""
        awaited = [f"{group}." for group in groups.of(link.child) if f"{group}." in deps and f"{group}." != link.dep]
        return awaited[0] if awaited else "".join(f"{group}." for group in groups.of(link.child)[-1:])

    numbers = Counter((link.dep, link.rule, group) for link in found.links if (group := group_of(link)))
    kept: dict[Link, None] = {}
    for link in found.links:
        group = group_of(link)
        is_one = group and (numbers[link.dep, link.rule, group] > _MANY or (group in deps and group != link.dep))
        kept[Link(link.dep, group, link.rule) if is_one else link] = None
    return list(kept)


def _describe(found: Graph, id: str) -> str:
    if not id.endswith("."):
        return f"{id}  {found.state_of(id)}"
    states = Counter(found.state_of(each) for each in found.places if groups.is_in(each, id[:-1]))
    largest = max((link for link in found.links if link.dep == id), key=lambda link: link.total, default=None)
    if largest is None or not largest.total:
        return f"{id}  {', '.join(f'{number} {state}' for state, number in states.most_common()) or 'ended'}"
    dead = sum(number for state, number in states.items() if state.startswith("dead"))
    return f"{id}  {graphs.of_group(largest)}{f', {dead} dead' if dead else ''}"


def _dot(found: Graph) -> Iterator[str]:
    """In the language of Graphviz."""
    yield "digraph queuectl {"
    yield "  rankdir=LR; node [shape=box];"
    links = _together(found)
    linked = dict.fromkeys(id for link in links for id in (link.dep, link.child))
    for id in linked:
        name, _, state = _describe(found, id).partition("  ")
        label = json.dumps("\n".join((name, state)))
        yield f"  {json.dumps(id)} [label={label}];"
    for link in links:
        style = {"after": "solid", "after_end": "dashed", "after_failed": "dotted"}[link.rule]
        yield f"  {json.dumps(link.dep)} -> {json.dumps(link.child)} [style={style}];"
    yield "}"
