"""queuectl/tuples.py against `typing.NamedTuple`, which it stands in for."""

from __future__ import annotations

import copy
import pickle
import types
import typing
from collections.abc import Callable
from typing import Any

import pytest

from queuectl import tuples


class Cheap(tuples.NamedTuple):
    """A class of ours."""

    name: str
    number: int = 3
    rest: tuple[int, ...] = ()

    @property
    def double(self) -> int:
        return self.number * 2

    def __str__(self) -> str:
        return f"{self.name}!"

    @classmethod
    def empty(cls) -> Cheap:
        return cls("")


class Stock(typing.NamedTuple):
    """The same by the standard library."""

    name: str
    number: int = 3
    rest: tuple[int, ...] = ()


CALLS: list[Callable[[Any], Any]] = [
    lambda of: of("a"),
    lambda of: of("a", 5),
    lambda of: of("a", rest=(1,)),
    lambda of: of(rest=(1,), number=2, name="b"),
    lambda of: of("a")._replace(number=9),
    lambda of: of._make(["x", 1, ()]),
    lambda of: [*of("a", 1)],
    lambda of: of("a")._asdict(),
    lambda of: of("a") == ("a", 3, ()),
    lambda of: hash(of("a")),
    lambda of: (of._fields, of._field_defaults, of.__match_args__),
    lambda of: repr(of("a")).partition("(")[2],
]
MISTAKES: list[Callable[[Any], Any]] = [
    lambda of: of(),
    lambda of: of("a", 1, (), 4),
    lambda of: of("a", name="b"),
    lambda of: of("a", unknown=1),
    lambda of: of("a")._replace(unknown=1),
    lambda of: of._make(["too few"]),
    lambda of: setattr(of("a"), "name", "b"),
    lambda of: setattr(of("a"), "other", "b"),
]


@pytest.mark.parametrize("call", CALLS)
def test_named_tuple_is_as_the_standard_librarys(call: Callable[[Any], Any]) -> None:
    """The same calls give the same values."""
    assert call(Cheap) == call(Stock)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_named_tuple_refuses_what_the_standard_librarys_does(mistake: Callable[[Any], Any]) -> None:
    """Wrong arguments raise the same kind of error."""
    with pytest.raises((TypeError, ValueError, AttributeError)) as stock:
        mistake(Stock)
    with pytest.raises(stock.type):
        mistake(Cheap)


def test_named_tuple_has_the_methods_of_its_class() -> None:
    """Properties, special methods and class methods are those of any class."""
    found = Cheap("a")
    assert (found.double, str(found), Cheap.empty(), Cheap.__doc__) == (6, "a!", Cheap(""), "A class of ours.")


def test_named_tuple_can_be_copied_and_pickled() -> None:
    """A copy is equal and of the same class."""
    found = Cheap("a", rest=(1,))
    for other in (copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert other == found
        assert type(other) is Cheap


def define(name: str, **namespace: Any) -> Any:
    """A class with this namespace."""
    return types.new_class(name, (tuples.NamedTuple,), exec_body=lambda own: own.update(namespace))


def test_named_tuple_may_have_many_fields() -> None:
    """More than constructors are ready for."""
    fields = {f"field{number}": "int" for number in range(20)}
    many = define("Many", __annotations__=fields, field19=7)
    assert many(*range(19)) == (*range(19), 7)
    assert many(**dict.fromkeys(fields, 1)).field18 == 1
    for wrong in ((), (*range(21),)):
        with pytest.raises(TypeError, match="needs"):
            many(*wrong)
    for named in ({"field0": 1}, {"unknown": 1}):
        with pytest.raises(TypeError, match="needs"):
            many(*range(19), **named)


def test_named_tuple_needs_defaults_at_the_end() -> None:
    """A field without a default behind one that has one is a mistake of the class."""
    with pytest.raises(TypeError, match="without a default"):
        define("Bad", __annotations__={"a": "int", "b": "int"}, a=1)
