"""Half-finished embeddings on disk: rows at their places, and which of them are there.

Beside `FILE` stands `FILE.partial` until the file is whole:

| File | Holds |
|---|---|
| `plan.json` | what is taken of what: only the same is continued |
| `values.npy` | `[N, ...]`, a row for each image at its place |
| `states` | a byte for each image: not read yet, read, or unreadable |
| `unreadable-RANK.jsonl` | index and reason of each image that cannot be read |

Rows come to the disk before their states do, so that what counts as read is there, whatever ended the process.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from sslkit.errors import CheckpointError, StorageError
from sslkit.files.regular import read_bytes, require_regular
from sslkit.files.typed_json import JsonFile, Whole
from sslkit.runtime.atomic_files import storing, write_bytes, write_json

ENDING = ".partial"
PLAN, VALUES, STATES, REASONS = "plan.json", "values.npy", "states", "unreadable-*.jsonl"
ABSENT, READ, UNREADABLE = 0, 1, 2
"""States of an image."""
SYNC_EVERY = 5.0
"""Seconds between syncs to the disk: as much work as a kill may cost."""
SPARE = 1 << 20
"""Bytes beside the rows."""
AGAIN = "remove the folder to begin anew"
_PLAN = JsonFile(TypeAdapter(dict[str, object]), CheckpointError, AGAIN)
_REASON = JsonFile(TypeAdapter(tuple[Whole, str]), CheckpointError, AGAIN)

Floats = NDArray[np.floating]
RawIO = io.FileIO
Clock = Callable[[], float]


class Rows(NamedTuple):
    """Form of the rows."""

    images: int
    shape: tuple[int, ...]
    """Of one."""
    dtype: str

    @property
    def all_bytes(self) -> int:
        """Of all rows."""
        return self.images * self.row_bytes

    @property
    def row_bytes(self) -> int:
        """Of one row."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def header(self, count: int | None = None) -> bytes:
        """What an `.npy` file of `count` rows (default: all) begins with."""
        file = io.BytesIO()
        fields = {"descr": np.lib.format.dtype_to_descr(np.dtype(self.dtype)), "fortran_order": False}
        shape = (self.images if count is None else count, *self.shape)
        np.lib.format.write_array_header_1_0(file, {**fields, "shape": shape})
        return file.getvalue()


@final
class PartialRows:
    """The folder beside the file `out`."""

    def __init__(self, out: Path, rows: Rows) -> None:
        self.folder, self.rows = out.with_name(out.name + ENDING), rows

    def begin(self, plan: Mapping[str, object], copies: int) -> None:
        """Make the folder, or go on with one that holds the same plan. Only the first rank may call it.

        Args:
            plan: what is taken of what.
            copies: how often all rows are on the disk in the end.

        Raises:
            CheckpointError: the folder holds part of other embeddings; the message says in what they differ.
            StorageError: it cannot be written, or its disk has too little space.
        """
        path, plan = self.folder / PLAN, json.loads(json.dumps(plan))
        if path.exists():
            before = _PLAN.read(path)
            differing = [name for name in {**plan, **before} if plan.get(name) != before.get(name)]
            if differing:
                raise CheckpointError(
                    f"{self.folder}: holds part of other embeddings ({in_words(differing, before, plan)}); "
                    f"finish those, {AGAIN}, or give another name"
                )
            return
        self._require_space(copies)
        header = self.rows.header()
        values = self.folder / VALUES
        with storing(values):
            self.folder.mkdir(parents=True, exist_ok=True)
            with values.open("wb") as file:
                file.write(header)
                file.truncate(len(header) + self.rows.all_bytes)
        write_bytes(self.folder / STATES, bytes(self.rows.images))
        write_json(path, plan)

    def _require_space(self, copies: int) -> None:
        existing = next(path for path in self.folder.absolute().parents if path.exists())
        needed, free = copies * self.rows.all_bytes + SPARE, shutil.disk_usage(existing).free
        if needed > free:
            raise StorageError(
                f"{self.folder}: {self.rows.images:,} rows of {self.rows.row_bytes:,} bytes need {needed / 2**20:,.0f} "
                f"MiB, but its disk has {free / 2**20:,.0f} MiB free. Free some space, or choose another disk"
            )

    def states(self) -> NDArray[np.uint8]:
        """`[N]`, the state of each image.

        Raises:
            CheckpointError: the file is of another length.
        """
        content = read_bytes(self.folder / STATES, CheckpointError)
        if len(content) != self.rows.images:
            raise CheckpointError(f"{self.folder / STATES}: is damaged; {AGAIN}")
        return np.frombuffer(content, np.uint8)

    def values(self) -> Floats:
        """`[N, ...]`, mapped from the disk."""
        path = self.folder / VALUES
        require_regular(path, CheckpointError)
        shape = (self.rows.images, *self.rows.shape)
        try:
            return np.memmap(path, self.rows.dtype, "r", len(self.rows.header()), shape)
        except (ValueError, OSError) as error:
            raise CheckpointError(f"{path}: is damaged ({error}); {AGAIN}") from None

    def reasons(self) -> dict[int, str]:
        """Index -> why that image cannot be read. A line that a kill cut short is of a batch that was made again."""
        reasons: dict[int, str] = {}
        for path in sorted(self.folder.glob(REASONS)):
            for line in read_bytes(path, CheckpointError).split(b"\n")[:-1]:
                with contextlib.suppress(CheckpointError):
                    index, reason = _REASON.parse(line, str(path))
                    reasons.setdefault(index, reason)
        return reasons

    @contextlib.contextmanager
    def writer(self, rank: int, clock: Clock = time.monotonic) -> Iterator[RowWriter]:
        """Writes rows of one rank; all that it was given is on the disk afterwards."""
        with contextlib.ExitStack() as files:
            with storing(self.folder):
                values = files.enter_context((self.folder / VALUES).open("rb+", buffering=0))
                states = files.enter_context((self.folder / STATES).open("rb+", buffering=0))
                place = self.folder / REASONS.replace("*", str(rank))
                reasons = files.enter_context(place.open("ab", buffering=0))
                reasons.write(b"\n")  # a kill may have cut the last line short
            writer = RowWriter(self, values, states, reasons, clock)
            try:
                yield writer
            finally:
                writer.sync()

    def remove(self) -> None:
        """Take the folder away."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self.folder)


@final
class RowWriter:
    """Puts the rows of batches at their places."""

    def __init__(
        self, where: PartialRows, values: RawIO, states: RawIO, reasons: RawIO, clock: Clock
    ) -> None:
        self._folder, self._rows = where.folder, where.rows
        self._values, self._states, self._reasons = values, states, reasons
        self._first, self._clock, self._synced = len(where.rows.header()), clock, clock()
        self._pending: list[tuple[int, bytes]] = []
        self._unreadable: list[tuple[int, str]] = []

    def unreadable(self, index: int, reason: str) -> None:
        """The image `index` cannot be read."""
        self._unreadable.append((index, reason))

    def add(self, start: int, count: int, places: NDArray[np.int64], values: Floats | None) -> None:
        """The batch of `count` images from `start` on.

        Args:
            start: its first image.
            count: its images.
            places: `[B]`, those that can be read.
            values: `[B, ...]`, their rows.
        """
        states = np.full(count, UNREADABLE, np.uint8)
        if values is not None:
            states[places - start] = READ
            block = np.ascontiguousarray(values)
            if len(places) < count:
                block = np.zeros((count, *self._rows.shape), self._rows.dtype)
                block[places - start] = values
            with storing(self._folder / VALUES):
                place = self._first + start * self._rows.row_bytes
                _write_at(self._values, place, block.data.cast("B"))
        self._pending.append((start, states.tobytes()))
        if self._clock() - self._synced >= SYNC_EVERY:
            self.sync()

    def sync(self) -> None:
        """Bring to the disk what was added: rows and reasons first, then that they are there."""
        lines = "".join(f"{json.dumps(one)}\n" for one in self._unreadable)
        with storing(self._folder):
            _write_at(self._reasons, None, memoryview(lines.encode()))
            for file in (self._values, self._reasons):
                os.fsync(file.fileno())
            for start, states in self._pending:
                _write_at(self._states, start, memoryview(states))
            os.fsync(self._states.fileno())
        self._pending, self._unreadable, self._synced = [], [], self._clock()


def _write_at(file: RawIO, place: int | None, data: memoryview) -> None:
    """All of `data`; an unbuffered file may take less at a time."""
    if place is not None:
        file.seek(place)
    while data:
        data = data[file.write(data) :]


def in_words(names: Sequence[str], before: Mapping[str, object], now: Mapping[str, object]) -> str:
    """The fields `names` in which what was done `before` differs from what is asked for `now`."""
    shown = [f"{name} {_short(before.get(name))} there, {_short(now.get(name))} here" for name in names[:3]]
    return "; ".join(shown) + "; ..." * (len(names) > 3)


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
