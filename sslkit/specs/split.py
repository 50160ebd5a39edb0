"""A test split that is drawn from the images of one place. Torch-free."""

from __future__ import annotations

import hashlib
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, final

from pydantic import Field

from sslkit.errors import DataError, SslkitWarning
from sslkit.specs.base import Spec

MOST_OFF = 0.5
"""Share of `test` by which the images of groups may miss it before that is told."""
NAMED = 4
"""Classes that a message names."""


@final
class SplitSpec(Spec):
    """A test split drawn from the images themselves, as `split: {test: 0.1, by: folder}`.

    Whether an image is in it follows from `seed` and the name of the image, or of its group, alone: more images, their
    order, workers and machines move none, and a larger `test` keeps those of a smaller one.
    """

    test: float = Field(gt=0, lt=1)
    """Share of the images, or of the groups, that makes the test split; the rest is trained on."""
    by: Literal["image", "folder", "group"] = "image"
    """What stays together: nothing (`image`), the images of one folder, or those of one group of a listing, such as a
    patient, a slide or a series. Images that resemble one another belong together."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Of the draw. It is not the run's, so that runs of all seeds are scored on the same images."""

    def are_test(self, names: Sequence[str]) -> list[bool]:
        """Whether each of `names`, of images or their groups, is in the test split; equal names are together."""
        limit = int(self.test * 2**64)
        drawn = {name: _draw(self.seed, name) < limit for name in dict.fromkeys(names)}
        return [drawn[name] for name in names]

    def divided(self, names: Sequence[str], where: str) -> list[bool]:
        """`are_test`, where that leaves images for both splits.

        Args:
            names: of what stays together, for each image.
            where: what holds the images, for messages.

        Raises:
            DataError: it does not.
        """
        groups = len(set(names))
        counted = f"{where}: `split` has {groups:,} {self.by}{'s' * (groups != 1)} to divide"
        if groups < 2:
            other = "add more" if self.by == "image" else "write `by: image`, or add more"
            raise DataError(f"{counted}, so one split would be empty; {other}")
        are_test = self.are_test(names)
        if len(set(are_test)) < 2:
            empty, advice = ("training", "lower") if are_test[0] else ("test", "raise")
            raise DataError(
                f"{counted}, and with `test: {self.test:g}` and `seed: {self.seed}` none is for {empty}; {advice} "
                "`test`, or take another `seed`"
            )
        return are_test

    def places(
        self,
        names: Sequence[str],
        split: str,
        where: str,
        *,
        labels: Sequence[int] | None = None,
        classes: Sequence[str] = (),
        notes: Iterable[str] = (),
    ) -> list[int]:
        """Which images are of `split`; what is odd about it is told with the training images.

        Args:
            names: of each image, or of what it stays together with.
            split: "train" or "test".
            where: what holds the images, for messages.
            labels: of the images of both splits.
            classes: what the labels count through.
            notes: what else is odd.

        Raises:
            DataError: a split would be empty.
        """
        are_test = self.divided(names, where)
        if split == "train":
            for note in (*self.notes(are_test, labels, classes), *notes):
                warnings.warn(note, SslkitWarning, stacklevel=2)
        return [place for place, test in enumerate(are_test) if test == (split == "test")]

    def notes(
        self, are_test: Sequence[bool], labels: Sequence[int] | None, classes: Sequence[str]
    ) -> Iterator[str]:
        """What is odd about a split: another share than was asked for, and classes that one side lacks."""
        share = sum(are_test) / len(are_test)
        if self.by != "image" and abs(share - self.test) > MOST_OFF * self.test:
            yield (
                f"data.split: {share:.1%} of the images are in the test split, where `test: {self.test:g}` of the "
                f"{self.by}s were to be: there are few, or they differ in size; another `seed` may do better"
            )
        for side, wanted in (("test", True), ("training", False)):
            if labels is None:
                continue
            present = {label for label, drawn in zip(labels, are_test, strict=True) if drawn is wanted}
            lacking = [name for label, name in enumerate(classes) if label not in present]
            if lacking:
                more = ", ..." if len(lacking) > NAMED else ""
                change = "raise" if wanted else "lower"
                yield (
                    f"data.split: {len(lacking)} of {len(classes)} classes have no {side} image "
                    f"({', '.join(lacking[:NAMED])}{more}), as each {self.by} is drawn by itself; {change} `test`, or "
                    "take another `seed`"
                )


def _draw(seed: int, name: str) -> int:
    """Uniform in 0 .. 2**64 - 1. Systems that compose letters differently draw the same."""
    text = f"{seed}\0{unicodedata.normalize('NFC', name)}"
    return int.from_bytes(
        hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).digest(), "big"
    )
