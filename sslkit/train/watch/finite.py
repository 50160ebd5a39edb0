"""Guards against losses that are not finite and images that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from sslkit.errors import DataError, TrainingError
from sslkit.runtime.dtensor import local
from sslkit.runtime.line_file import LineFile, Warn

CAUSES = (
    "Usual causes: a learning rate that is too high, too short a warm-up, or bfloat16 overflow "
    "(try optimizer.clip=1, a lower optimizer.lr, or precision=float32)"
)


@final
class FiniteGuard:
    """Remembers on the device the first step at which each objective's loss was not finite."""

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        self.names = list(names)
        self._first = torch.full((len(names),), -1, dtype=torch.int64, device=device)

    def watch(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Look at the losses of `step` (from 1) without waiting for them."""
        values = torch.stack([losses[f"loss/{name}"] for name in self.names])
        new = ~torch.isfinite(values) & (self._first < 0)
        self._first.masked_fill_(new, step)

    def check(self, last_good: Callable[[], str]) -> None:
        """Wait for the device and raise if a loss was not finite.

        Raises:
            TrainingError: names the step, the objective and what `last_good` says.
        """
        first = [
            (step, name) for step, name in zip(self._first.tolist(), self.names, strict=True) if step >= 0
        ]
        if first:
            step, name = min(first)
            raise TrainingError(
                f"step {step}: the loss of objective {name!r} is not finite. {last_good()} {CAUSES}"
            )


def broken(parameters: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first whose values on this rank are not all finite; waits for the device."""
    named = {name: torch.isfinite(local(values)).all() for name, values in parameters}
    finite = torch.stack(list(named.values())).tolist()
    return next((name for name, good in zip(named, finite, strict=True) if not good), None)


@final
class UnreadableImages:
    """Counts and lists images that were skipped, and stops the run past a share."""

    def __init__(
        self,
        path: Path,
        total: int,
        share: float,
        name: Callable[[int], str],
        warn: Warn = lambda text: None,
    ) -> None:
        """`warn` is told where the disk is full: the list is then written later."""
        self._path, self._total, self._share, self._name = path, total, share, name
        self._file = LineFile(path, warn)
        self.reasons: dict[int, str] = dict(_listed(path))

    def add(self, index: int, reason: str) -> None:
        """Image `index` was skipped.

        Raises:
            DataError: more than the allowed share of all images cannot be read.
        """
        if index in self.reasons:
            return
        self.reasons[index] = reason
        name, cause = (" ".join(text.split()) for text in (self._name(index), reason))
        self._file.add([f"{index}\t{name}\t{cause}"])
        if len(self.reasons) > self._share * self._total:
            raise DataError(
                f"{len(self.reasons)} of {self._total} images cannot be read, more than max_corrupt={self._share}; "
                f"they are listed in {self._path}. The last: {reason}"
            )


def _listed(path: Path) -> Iterator[tuple[int, str]]:
    """(index, reason) of the images that an earlier part of the run skipped.

    A line that is cut short or damaged is left out: its image is skipped again when it comes.
    """
    text = path.read_bytes().decode(errors="replace") if path.is_file() else ""
    for line in text.split("\n")[:-1]:
        match line.split("\t", 2):
            case [index, _, reason] if index.isascii() and index.isdecimal() and len(index) < 19:
                yield int(index), reason
