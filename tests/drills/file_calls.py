"""Every call of a process that changes files, numbered; at any of them it may end, or the system may refuse."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable
from functools import wraps
from typing import Any, final

Act = Callable[[int, str], None]
"""Is called before the call of this number and name, and may end the process or raise OSError."""

KILLED = 137
"""Exit code of a process that ends itself as SIGKILL would: at once, with nothing cleaned up."""

_CHANGES = (
    "mkdir",
    "rename",
    "replace",
    "unlink",
    "remove",
    "rmdir",
    "fsync",
    "link",
    "symlink",
    "truncate",
    "ftruncate",
)
_real_open = io.open


def die_at(number: int) -> Act:
    """End the process at call `number`; a write is cut in half."""

    def act(n: int, name: str) -> None:
        if n == number:
            os._exit(KILLED)

    return act


def refuse(numbers: range, code: int, names: tuple[str, ...]) -> Act:
    """Let the calls `names` among `numbers` fail with `code`, as `errno` has it."""

    def act(n: int, name: str) -> None:
        if n in numbers and name in names:
            raise OSError(code, os.strerror(code))

    return act


WRITING = ("open", "write", "half", "mkdir")
"""What needs space."""


def full_disk(numbers: range) -> Act:
    """A disk without a free byte during the calls `numbers`."""
    return refuse(numbers, errno.ENOSPC, WRITING)


@final
class FileCalls:
    """Numbers the calls from 1; a write of several bytes is two, `write` before it and `half` in its midst."""

    def __init__(self, act: Act = lambda n, name: None) -> None:
        self.count = 0
        self.names: list[str] = []
        self._act = act

    def install(self) -> None:
        """In this process, for good: meant for a child."""
        for name in _CHANGES:
            setattr(os, name, self._counted(name, getattr(os, name)))
        os.open = self._only(os.open, "open", lambda path, flags, *rest, **more: flags & os.O_CREAT)
        os.write = self._only(
            os.write, "write", lambda descriptor, data: descriptor > 2
        )  # not what is printed
        io.open = builtins.open = self._open  # type: ignore[assignment]

    def note(self, name: str) -> None:
        """A call is about to be made."""
        self.count += 1
        self.names.append(name)
        self._act(self.count, name)

    def _counted(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def call(*args: object, **kwargs: object) -> Any:
            self.note(name)
            return original(*args, **kwargs)

        return call

    def _only(
        self, original: Callable[..., Any], name: str, counts: Callable[..., object]
    ) -> Callable[..., Any]:
        """`original`, of whose calls some are counted."""
        counted = self._counted(name, original)

        @wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            return (counted if counts(*args, **kwargs) else original)(*args, **kwargs)

        return call

    def _open(
        self, file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None,
        errors: str | None = None, newline: str | None = None, closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        """As `open`; what is opened for writing reaches the system through `_Counted`."""
        if not set(mode) & set("wax+") or isinstance(file, int):
            return _real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        self.note("open")
        raw = _Counted(self, file, mode.replace("b", "").replace("t", ""), opener=opener)
        if buffering == 0:
            return raw
        whole = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return whole if "b" in mode else io.TextIOWrapper(whole, encoding, errors, newline)


class _Counted(io.FileIO):
    def __init__(self, calls: FileCalls, *args: Any, **kwargs: Any) -> None:
        self._calls = calls
        super().__init__(*args, **kwargs)

    def write(self, data: Any) -> int:
        self._calls.note("write")
        view = memoryview(data).cast("B")
        if len(view) < 2:
            return super().write(view)
        written = super().write(view[: len(view) // 2])
        try:
            self._calls.note("half")
        except OSError:  # a system says how much it took, and refuses the rest
            return written
        return written + super().write(view[len(view) // 2 :])

    def truncate(self, size: int | None = None) -> int:
        self._calls.note("truncate")
        return super().truncate(size)
