"""Specs of the sources of published images. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import Problem, SourceSpec
from sslkit_sources.cifar10_files import cifar10_problem

if TYPE_CHECKING:
    from sslkit.interfaces import Source
    from sslkit.plugin import RunSpec


@final
class Digits(SourceSpec):
    """Scikit-learn's 1,797 handwritten digits, 8 x 8 gray, 10 classes; installed with it, so no download."""

    kind: Literal["digits"] = "digits"
    test_share: float = Field(0.2, ge=0.01, le=0.9)
    """Share of the images, the same in every class, that makes the test split."""
    split_seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the split. It is not the run's, so that runs of all seeds are scored on the same images."""

    def build(self, split: str) -> Source:
        from sslkit_sources.digits import digits

        return digits(split, self.test_share, self.split_seed)


@final
class CIFAR10(SourceSpec):
    """CIFAR-10: 50,000 training and 10,000 test images of 10 classes, 32 x 32. Never downloaded."""

    unchecked: ClassVar[str] = "it reads the files of CIFAR-10"
    kind: Literal["cifar10"] = "cifar10"
    root: Path
    """Folder with `cifar-10-batches-py/` (torchvision's layout), or with `*train*.parquet`, `*test*.parquet`.

    The parquet files have the columns `img` and `label` (the Hugging Face layout).
    """
    limit: int | None = Field(None, ge=1)
    """Use the first images of each split only, for quick looks. Default: all."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        message = cifar10_problem(self.root.expanduser(), "train")
        if message:
            yield Problem("root", message)

    def build(self, split: str) -> Source:
        from sslkit_sources.cifar10 import cifar10

        return cifar10(self.root.expanduser(), split, self.limit)
