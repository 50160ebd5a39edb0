"""Readers of file formats: which images a file holds, and the pixels of one of them or of a part of it."""

from __future__ import annotations

import os
import weakref
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from sslkit.plugin import DataError, SslkitError, reason_of
from sslkit_science.layout import Window

Pixels = NDArray[np.generic]
"""`[C, H, W]` of the file's own type."""
OPEN = 8
"""Files that a process keeps open, so that neighboring images do not open them again."""


class Plane(NamedTuple):
    """One image of a file."""

    place: tuple[int, ...]
    """Where it is, in the reader's own terms."""
    name: str
    """The same for people; empty where the file is one image."""
    channels: int
    height: int
    width: int
    limits: tuple[float, float] | None = None
    """The values that can occur, where the file says more of them than the type of its numbers."""
    shown: tuple[float, float] | None = None
    """The values that become 0 and 1 in this image, in place of the source's."""
    inverted: bool = False
    """Whether high values mean black."""
    label: int | str | None = None
    """Where the file has labels."""
    order: tuple[str | float, ...] = ()
    """By what images are sorted before their files' names, as slices of a series are."""
    channel_names: tuple[str, ...] = ()
    """One for each channel, where the file has them."""


class Reader(ABC):
    """Reads one format. It pickles, and keeps open files to the process that opened them."""

    settings: tuple[object, ...] = ()
    """What decides which images are read, for the fingerprint."""
    together: str = ""
    """What files of one group are, which resemble one another; empty where files of this format tell no group."""

    @abstractmethod
    def planes(self, path: Path) -> list[Plane]:
        """The images of a file, in order; pixels are not read.

        Raises:
            DataError: the file is not of this format, or holds no images of numbers.
        """

    @abstractmethod
    def read(self, path: Path, plane: Plane, window: Window) -> Pixels:
        """The part of `plane` inside `window`, `[C, height, width]`.

        Raises:
            DataError: it cannot be decoded.
        """

    def overview(self, path: Path, plane: Plane) -> Pixels | None:
        """`plane` at a smaller scale where the file has that, to see where nothing is; None where it has not."""
        return None

    def group(self, path: Path) -> str:
        """What a file stays together with, as slices of a patient do.

        Raises:
            DataError: files of this format do not say.
        """
        raise DataError(
            f"{path}: has no group, as files of this format name none; write `by: folder` or `by: image` in `split`"
        )

    def parts(self, path: Path) -> list[Path]:
        """The files that hold what `path` is, for its fingerprint."""
        return [path]


class Closable(Protocol):
    """An open file."""

    def close(self) -> None:
        """Let go of it."""
        ...


T = TypeVar("T", bound=Closable)


@final
class Handles(Generic[T]):
    """The last files that were read, open. A copy in another process opens its own: they share no position."""

    def __init__(self, open_file: Callable[[Path], T], most: int = OPEN) -> None:
        self._open, self._most = open_file, most
        self._begin()

    def _begin(self) -> None:
        self._files = OrderedDict[Path, T]()
        self._process = os.getpid()
        weakref.finalize(self, _close, self._files, self._process)

    def __getitem__(self, path: Path) -> T:
        if self._process != os.getpid():  # forked: what is open belongs to the parent
            self._begin()
        if path in self._files:
            self._files.move_to_end(path)
            return self._files[path]
        while len(self._files) >= self._most:
            self._files.popitem(last=False)[1].close()
        self._files[path] = self._open(path)
        return self._files[path]

    def __getstate__(self) -> tuple[Callable[[Path], T], int]:
        return self._open, self._most

    def __setstate__(self, state: tuple[Callable[[Path], T], int]) -> None:
        self._open, self._most = state
        self._begin()


def _close(files: Mapping[Path, Closable], process: int) -> None:
    """Close what this process opened."""
    for file in files.values() if process == os.getpid() else ():
        file.close()


@contextmanager
def decoding(path: Path, what: str = "") -> Iterator[None]:
    """Errors of libraries as one line that names the file.

    Raises:
        DataError: whatever went wrong inside.
    """
    try:
        yield
    except SslkitError:
        raise
    except Exception as error:  # parsers of formats raise whatever they meet
        reason = " ".join(reason_of(error).split())
        raise DataError(
            f"{path}{f' {what}' * bool(what)}: cannot be read: {reason[:300]}{_advice(reason)}"
        ) from None


def _advice(reason: str) -> str:
    if "imagecodecs" in reason:
        return "; pip install imagecodecs"
    if "missing dependencies" in reason:  # of pydicom's decoders
        return "; pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
    return ""


def native(pixels: Pixels) -> Pixels:
    """Numbers in this machine's byte order, truth values as 0 and 255."""
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def require_numbers(dtype: np.dtype[np.generic], where: str) -> None:
    """Pass where `dtype` is one of real numbers.

    Raises:
        DataError: it holds objects, text, records or complex numbers.
    """
    if dtype.kind in "OV":
        raise DataError(f"{where}: holds {dtype}, not plain numbers; objects in files are never loaded")
    if dtype.kind not in "biuf":
        raise DataError(
            f"{where}: holds {dtype}; expected whole or real numbers. Write it anew, as its magnitude, say"
        )
