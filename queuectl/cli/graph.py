"""`queuectl graph`"""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from queuectl.cli.context import complete_jobs, json_option, note, open_spool, print_json, shown
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
    shown once, and named in brackets where it comes again.

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


def _tree(found: Graph) -> Iterator[str]:
    """Each job below what it waits for."""
    below: dict[str, list[Link]] = {}
    for link in found.links:
        below.setdefault(link.dep, []).append(link)
    children = {link.child for link in found.links}
    roots = [dep for dep in below if dep not in children]
    printed: set[str] = set()
    todo: list[tuple[str, Link | None, int]] = [(root, None, 0) for root in sorted(roots or below, reverse=True)]
    while todo:
        id, how_linked, depth = todo.pop()
        lead = "    " * (depth - 1) + "└── " if depth else ""
        how = _RULES[how_linked.rule] if how_linked is not None else ""
        if id in printed:
            yield f"{lead}({id}){how}"
            continue
        printed.add(id)
        yield f"{lead}{_describe(found, id, below)}{how}"
        todo += [(each.child, each, depth + 1) for each in sorted(below.get(id, ()), reverse=True)]


def _describe(found: Graph, id: str, below: dict[str, list[Link]]) -> str:
    if id.endswith(".") and id in below:
        link = max(below[id], key=lambda each: each.total)
        return f"{id}  {graphs.of_group(link)}"
    return f"{id}  {found.state_of(id)}"


def _dot(found: Graph) -> Iterator[str]:
    """In the language of Graphviz."""
    yield "digraph queuectl {"
    yield "  rankdir=LR; node [shape=box];"
    below: dict[str, list[Link]] = {}
    for link in found.links:
        below.setdefault(link.dep, []).append(link)
    linked = dict.fromkeys(id for link in found.links for id in (link.dep, link.child))
    for id in linked:
        name, _, state = _describe(found, id, below).partition("  ")
        label = json.dumps("\n".join((name, state)))
        yield f"  {json.dumps(id)} [label={label}];"
    for link in found.links:
        style = {"after": "solid", "after_end": "dashed", "after_failed": "dotted"}[link.rule]
        yield f"  {json.dumps(link.dep)} -> {json.dumps(link.child)} [style={style}];"
    yield "}"
