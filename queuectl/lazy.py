"""Modules that are imported when they are first used: a command of a few milliseconds needs few of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Lazy:
    """Stands in for a module: imports it at the first attribute access, and forwards every access to it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        from importlib import import_module

        return getattr(import_module(self._name), attribute)


def function(module: str, name: str) -> Callable[..., Any]:
    """A function of a module that is imported when it is first called."""

    def call(*arguments: Any, **options: Any) -> Any:
        from importlib import import_module

        return getattr(import_module(module), name)(*arguments, **options)

    return call
