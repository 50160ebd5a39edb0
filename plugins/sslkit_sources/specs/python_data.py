"""Spec of the source of objects of Python. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import model_validator

from sslkit.plugin import (
    DataError,
    Held,
    Problem,
    Range,
    SourceSpec,
    SpecError,
    SplitSpec,
    holding,
    missing_objects,
)

if TYPE_CHECKING:
    from sslkit.interfaces import Source
    from sslkit.plugin import RunSpec

Key = str | int


def _described(data: object) -> dict[str, str | int]:
    from sslkit_sources.python_datasets import described

    return described(data)


Images = Annotated[Held, holding(_described)]
"""A field that takes a set of images by index."""


@final
class PythonData(SourceSpec):
    """Images that Python hands over: any map-style dataset of torch or Hugging Face, a tensor or array, or a list.

    An item is an image, a pair of image and label, or a mapping with both; an image is of PIL, a tensor `[C, H, W]` or
    an array `[H, W, C]`. A pair of images and labels will do too. Transforms of a dataset are applied, each item with a
    seed of its own.
    """

    unchecked: ClassVar[str] = "it takes objects of Python"
    kind: Literal["python_data"] = "python_data"
    train: Images
    """The training images."""
    test: Images | None = None
    """The test images. Default: there is no test split."""
    split: SplitSpec | None = None
    """In place of `test`: a test split drawn from the items of `train`, which go by their numbers."""
    classes: tuple[str, ...] | None = None
    """Names of the classes. Default: what the dataset calls them, or their numbers."""
    image_key: Key | None = None
    """Where an item has its image. Default: `image`, `img` or `pixel_values`; the first of a pair."""
    label_key: Key | None = None
    """Where an item has its label. Default: `label`, `labels` or `target`; the second of a pair."""
    range: Range = "auto"
    """Which values become 0 and 1, by type, by numbers or by percentiles of the first images."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.split is not None and self.test is not None:
            raise ValueError("`split` draws the test split from `train`, and `test` gives one; leave one out")
        return self

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from missing_objects(self)

    def build(self, split: str) -> Source | None:
        from sslkit_sources.item_images import Keys
        from sslkit_sources.python_images import How, source_of_object

        field = "train" if split == "train" or self.split is not None else "test"
        held: Held | None = getattr(self, field)
        if held is None:
            return None
        try:
            data = held.get(f"data.{field}")
            how = How(Keys(self.image_key, self.label_key), self.classes or (), self.range)
            return source_of_object(data, how, self._rows(held, split))
        except SpecError as error:
            raise DataError(str(error)) from None

    def _rows(self, held: Held, split: str) -> list[int] | None:
        """The items of `split`; None for all."""
        if self.split is None:
            return None
        names = [str(i) for i in range(int(held.about["images"]))]
        are_test = self.split.divided(names, "data.train")
        return [i for i, test in enumerate(are_test) if test == (split == "test")]
