"""posix_spawn(3) that lets the other threads continue.

`os.posix_spawn` and `subprocess` (CPython 3.11 to 3.13) keep the interpreter's lock until the kernel has loaded
the program: 0.15 to 0.2 ms in which no other slot can do anything. A call through ctypes gives the
lock up, and with it this thread's turn. Needs Linux: glibc 2.29 or musl, whose flags are the same.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

from queuectl.work import turn

_SETSIGDEF, _SETSIGMASK, _SETSID = 0x04, 0x08, 0x80
_ROOM = 1024  # bytes; more than an attribute object, file actions or a signal set takes in any C library

_libc = ctypes.CDLL(None)

Strings = ctypes.Array[ctypes.c_char_p]
_Descriptors = tuple[tuple[int, int], ...]


def _check(code: int) -> None:
    if code:
        raise OSError(code, os.strerror(code))


def strings(items: Sequence[bytes]) -> Strings:
    """An array of C strings with NULL at its end, as arguments and environments are."""
    return (ctypes.c_char_p * (len(items) + 1))(*items)


class Spawner:
    """Starts programs with one set of inherited descriptors and signals, each in a session of its own. Thread-safe."""

    def __init__(self) -> None:
        """No signal is blocked or ignored in the program."""
        self._attributes = ctypes.create_string_buffer(_ROOM)
        none, defaults = ctypes.create_string_buffer(_ROOM), ctypes.create_string_buffer(_ROOM)
        _libc.sigemptyset(none)
        _libc.sigfillset(defaults)
        _check(_libc.posix_spawnattr_init(self._attributes))
        _check(_libc.posix_spawnattr_setsigmask(self._attributes, none))
        _check(_libc.posix_spawnattr_setsigdefault(self._attributes, defaults))
        flags = ctypes.c_short(_SETSIGDEF | _SETSIGMASK | _SETSID)
        _check(_libc.posix_spawnattr_setflags(self._attributes, flags))
        self._actions: dict[_Descriptors, ctypes.Array[ctypes.c_char]] = {}

    def spawn(
        self,
        program: bytes,
        arguments: Strings,
        environment: Strings,
        descriptors: _Descriptors,
        kept: tuple[int, ...] = (),
    ) -> int:
        """The pid of the started program; raises OSError if it cannot be started.

        `arguments` and `environment`, which holds NAME=VALUE, are made by `strings`. `descriptors` says under which
        number the program has which of the caller's descriptors, `kept` are those that it has under the same number;
        it inherits no others that are closed on exec.
        """
        actions = (
            self._actions.get(descriptors) if not kept else _duplicate((*descriptors, *zip(kept, kept, strict=True)))
        )
        if actions is None:  # made once for each set: the same few numbers come again and again
            actions = self._actions[descriptors] = _duplicate(descriptors)
        pid = ctypes.c_int()
        turn.give()
        code = _libc.posix_spawn(ctypes.byref(pid), program, actions, self._attributes, arguments, environment)
        if code:
            raise OSError(code, os.strerror(code))
        return pid.value


def _duplicate(descriptors: _Descriptors) -> ctypes.Array[ctypes.c_char]:
    """File actions for posix_spawn."""
    actions = ctypes.create_string_buffer(_ROOM)
    _check(_libc.posix_spawn_file_actions_init(actions))
    for number, source in descriptors:
        _check(_libc.posix_spawn_file_actions_adddup2(actions, source, number))
    return actions
