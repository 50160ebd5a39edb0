"""What a drill is: numbered tries, each of which can be repeated by its seed and number."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from tests.drills.bench import Bench

Verdict = Literal["held", "failed", "skipped"]


class Result(NamedTuple):
    """How a try ended."""

    verdict: Verdict
    reason: str = ""
    """Of a failure, or why the try cannot be made here."""


HELD = Result("held")


def judged(fault: str | None) -> Result:
    """`held`, unless something is wrong."""
    return HELD if fault is None else Result("failed", fault)


class Drill(ABC):
    """One kind of harm."""

    name: ClassVar[str]
    title: ClassVar[str]
    """What is done, and what must come of it; a line of the page."""
    tries: int
    """Of a full count."""
    sample: int
    """Of the sample that CI makes."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench, self.seed = bench, seed

    @abstractmethod
    def attempt(self, index: int, folder: Path) -> Result:
        """Make try `index` in the empty `folder`."""

    def shorten(self) -> None:
        """Be content with less, in a sample."""
        return

    def dice(self, index: int) -> random.Random:
        """The random numbers of try `index`, the same whenever it is made."""
        return random.Random(f"{self.seed}/{self.name}/{index}")
