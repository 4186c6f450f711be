"""Modules that are imported when something of theirs is first used: a command of milliseconds needs few of them."""

from __future__ import annotations

from typing import Any


class Lazy:
    """Stands for a module until its first attribute is asked for, and passes every question on to it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        from importlib import import_module

        return getattr(import_module(self._name), attribute)
