"""What `--after`, `--after-end` and `--after-failed` name, as it was typed and in full."""

from __future__ import annotations

import os
from typing import Any

from queuectl.cli.context import is_handed_in
from queuectl.core.after import RULES, Rule, parse
from queuectl.errors import NotFoundError, UsageError
from queuectl.spool.reading import query
from queuectl.spool.system.layout import Layout


def condition(typed: dict[Rule, tuple[str, ...]]) -> dict[str, list[str]]:
    """--after and its kind as a field of the body."""
    found: dict[Rule, list[str]] = {}
    for rule, texts in typed.items():
        for text in texts:
            try:
                meant, names = parse(rule, text)
            except ValueError as error:
                hint = "give ids with commas, or GROUP. for a group"
                raise UsageError(f"--{rule.replace('_', '-')}: {error}", hint=hint) from None
            found.setdefault(meant, []).extend(names)
    if len(found) > 1:
        options = " and ".join(f"--{rule.replace('_', '-')}" for rule in found)
        raise UsageError(f"both {options}", hint="a job waits in one of these ways")
    return {str(rule): list(dict.fromkeys(names)) for rule, names in found.items()}


def name_in_full(spool: Layout | None, given: dict[str, Any]) -> None:
    """Put whole ids in the place of shortened ones that the options name; raises NotFoundError or AmbiguousIdError."""
    for rule in RULES:
        if isinstance(given.get(rule), list):
            given[rule] = [_whole_id(spool, text) for text in given[rule]]


def _whole_id(spool: Layout | None, text: str) -> str:
    if text.endswith(".") or "{" in text or (spool is not None and os.path.lexists(spool.log(text))):
        return text
    if spool is None:
        raise NotFoundError(f"no job {text!r} to wait for", "there is no spool yet")
    if is_handed_in(spool):
        return text
    try:
        return query.parse_id(*query.resolve(spool, text))
    except NotFoundError as error:
        if os.path.isfile(text):
            error.hint = f"for a job for each line of that file: --each {text}"
        raise
