"""Named tuples that are cheap to define: a command of milliseconds imports twenty, a worker fifty.

`typing.NamedTuple` compiles a constructor for each class from its source, which is most of the 0.2 ms that one takes
(CPython 3.11 to 3.13). Here a constructor that is already compiled gets the names of the fields. Otherwise both are
the same, to type checkers too.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

__all__ = ["NamedTuple"]

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from _collections import _tuplegetter
    from types import FunctionType

    _UNEXPECTED = TypeError if sys.version_info >= (3, 13) else ValueError  # as namedtuple's
    _new = tuple.__new__
    _CONSTRUCTORS = (
        lambda _cls: _new(_cls, ()),
        lambda _cls, a: _new(_cls, (a,)),
        lambda _cls, a, b: _new(_cls, (a, b)),
        lambda _cls, a, b, c: _new(_cls, (a, b, c)),
        lambda _cls, a, b, c, d: _new(_cls, (a, b, c, d)),
        lambda _cls, a, b, c, d, e: _new(_cls, (a, b, c, d, e)),
        lambda _cls, a, b, c, d, e, f: _new(_cls, (a, b, c, d, e, f)),
        lambda _cls, a, b, c, d, e, f, g: _new(_cls, (a, b, c, d, e, f, g)),
        lambda _cls, a, b, c, d, e, f, g, h: _new(_cls, (a, b, c, d, e, f, g, h)),
        lambda _cls, a, b, c, d, e, f, g, h, i: _new(_cls, (a, b, c, d, e, f, g, h, i)),
        lambda _cls, a, b, c, d, e, f, g, h, i, j: _new(_cls, (a, b, c, d, e, f, g, h, i, j)),
    )

    class _Tuple(tuple):
        __slots__ = ()
        _fields = ()

        @classmethod
        def _make(cls, values):
            made = _new(cls, values)
            if len(made) != len(cls._fields):
                raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
            return made

        def _replace(self, /, **changes):
            made = self._make(map(changes.pop, self._fields, self))
            if changes:
                raise _UNEXPECTED(f"Got unexpected field names: {list(changes)!r}")
            return made

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self):
            pairs = zip(self._fields, self, strict=True)
            return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in pairs)})"

        def __getnewargs__(self):
            return tuple(self)

    def _constructor_of_many(name, fields, defaults):
        blank = dict.fromkeys(fields) | defaults
        number, required = len(fields), frozenset(fields[: len(fields) - len(defaults)])

        def new(_cls, *values, **named):
            given = dict(zip(fields, values, strict=False)) | named if values else named
            made = blank | given
            if len(given) < len(values) + len(named) or len(made) > number or not required <= given.keys():
                raise TypeError(f"{name}() needs {sorted(required)}, and at most one value of each of {fields}")
            return _new(_cls, made.values())

        return new

    def _constructor(name, fields, defaults):
        if len(fields) >= len(_CONSTRUCTORS):
            return _constructor_of_many(name, fields, defaults)
        template = _CONSTRUCTORS[len(fields)].__code__
        code = template.replace(co_varnames=("_cls", *fields), co_name="__new__", co_qualname=f"{name}.__new__")
        return FunctionType(code, {"_new": _new, "__builtins__": {}}, "__new__", (*defaults.values(),))

    class _Definition(type):
        def __new__(cls, name, bases, namespace):
            if not bases:
                return super().__new__(cls, name, bases, namespace)
            if len(bases) > 1:
                raise TypeError("a named tuple has no other base")
            fields = (*namespace.get("__annotations__", ()),)
            given = {field: namespace.pop(field) for field in fields if field in namespace}
            if (*given,) != fields[len(fields) - len(given) :]:
                raise TypeError(f"{name}: a field without a default follows one that has one")
            getters = {field: _tuplegetter(at, None) for at, field in enumerate(fields)}
            made = {"__slots__": (), "_fields": fields, "_field_defaults": given, "__match_args__": fields}
            new = _constructor(name, fields, given)
            return type(name, (_Tuple,), {**made, **getters, **namespace, "__new__": new})

    class NamedTuple(metaclass=_Definition):
        """The base of a class whose annotations are the fields of a tuple."""
