"""Labels of samples, from their texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sslkit.plugin import DataError, read_text

NAMED = 8
"""Classes that a message names."""
ADVICE = "name the member that has it with `label`, such as cls or json:class, or leave labels out by `label: null`"


def class_file(path: Path) -> tuple[str, ...]:
    """The names of classes in a text file, one a line.

    Raises:
        DataError: it cannot be read, or names a class twice or none.
    """
    names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    if not names or len(set(names)) < len(names):
        raise DataError(
            f"{path}: names {len(names)} classes, {len(set(names))} of them different; write each once a line"
        )
    return names


def classes_of(texts: Sequence[str], most: int, where: str) -> tuple[str, ...]:
    """The classes that the labels of training samples have: numbers count from 0, others are sorted.

    Raises:
        DataError: a number is `most` or more.
    """
    distinct = set(texts)
    if not all(text.isascii() and text.isdecimal() for text in distinct):
        return tuple(sorted(distinct))
    largest = max(map(int, distinct))
    if largest >= most:
        raise DataError(
            f"{where}: has the label {largest}, and {len(distinct):,} different labels in all; labels count the "
            f"classes from 0, up to max_classes={most:,}. Raise the field `max_classes`, or set `label: null`"
        )
    return tuple(map(str, range(largest + 1)))


def numbers_of(
    texts: Sequence[str], classes: Sequence[str], name: Callable[[int], str], advice: str = ADVICE
) -> Tensor:
    """Places of labels among `classes`, `[N]` int64. A number that is no name of a class counts them.

    Args:
        texts: of the labels.
        classes: their names.
        name: of a sample, for errors.
        advice: what to do where samples have no label.

    Raises:
        DataError: a sample has no label, or one that is no class.
    """
    index = {text: place for place, text in enumerate(classes)}
    index = {str(place): place for place in range(len(classes))} | index
    numbers = [index.get(text, index.get(_plain(text), -1)) for text in texts]
    if -1 in numbers:
        place = numbers.index(-1)
        listed = ", ".join(classes[:NAMED]) + (", ..." if len(classes) > NAMED else "")
        if texts[place]:
            raise DataError(
                f"{name(place)}: the label {texts[place]!r} is none of the {len(classes)} classes of the training "
                f"images: {listed}"
            )
        missing = sum(not text for text in texts)
        raise DataError(
            f"{name(place)}: has no label ({missing:,} of {len(texts):,} samples have none); {advice}"
        )
    return torch.tensor(numbers, dtype=torch.int64)


def _plain(text: str) -> str:
    """A number without leading zeros."""
    return str(int(text)) if text.isascii() and text.isdecimal() else text
