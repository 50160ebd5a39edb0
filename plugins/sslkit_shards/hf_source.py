"""Source of Hugging Face data sets: images in memory-mapped rows, read by their place."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from sslkit.interfaces import Decoder, Source, digests_within, fingerprint_of
from sslkit.plugin import DataError, SplitSpec
from sslkit_shards.hf_datasets import Place, common_state, files_of, open_split
from sslkit_shards.hf_images import images_in
from sslkit_shards.hf_texts import column_of, texts_in
from sslkit_shards.sample_labels import classes_of, numbers_of

ADVICE = "name another column with `label_column`, or leave labels out by `label_column: null`"


class Columns(NamedTuple):
    """Names of the columns that are read."""

    image: str
    label: str | None
    group: str | None = None
    """What stays together in a split that is drawn."""
    max_classes: int = 100_000
    """That numbers as labels may count up to."""


@final
class HFSource(Source):
    """Images by row; a process reads those that it is asked for, in any order."""

    def __init__(
        self, place: Place, columns: Columns, decoder: Decoder, train: HFSource | None = None
    ) -> None:
        """Open the rows, without their images.

        Args:
            place: where they are.
            columns: which are read.
            decoder: of images.
            train: the source of the training images, whose classes are this one's too.

        Raises:
            DataError: there is no such data set, split or column.
        """
        self.place, self.columns, self.decoder = place, columns, decoder
        self.dataset = open_split(place)
        self.images = images_in(self.dataset, columns.image, decoder.channels, str(place))
        self.channels, self.channel_names = decoder.channels, decoder.names
        self.rows: NDArray[np.int64] = np.arange(len(self.dataset))
        self.labels, self.classes = self._labeled(train)

    @cached_property
    def fingerprint(self) -> str:
        """Over the images as they are stored, labels and settings; not over how files store them."""
        return fingerprint_of(self, *self.decoder.settings())

    def __len__(self) -> int:
        return len(self.rows)

    def load(self, index: int) -> Tensor:
        return self.images.pixels(int(self.rows[index]), self.decoder)

    def encoded(self, index: int) -> tuple[bytes, str] | None:
        content = self.images.file(int(self.rows[index]))
        return None if content is None else (content, self.name(index))

    def name(self, index: int) -> str:
        """Data set, split and row."""
        return f"{self.place} row {self.rows[index]}"

    def digests(self) -> NDArray[np.uint8]:
        """`[N, 16]` of the images as they are stored; kept until an Arrow file changes, but for images in files."""
        files = files_of(self.dataset)
        if not files or self.images.by_path:
            return self.images.digests()[self.rows]
        part = f"hf {self.columns.image} of {tuple(self.place)}, {len(self.dataset)} rows"
        return digests_within(files[0], part, common_state(files), self.images.digests)[self.rows]

    def text(self, index: int, column: str) -> str | None:
        """What another column says of an image, such as its caption, one a line where it is a list; None where empty.

        Raises:
            DataError: there is no such column.
        """
        value = column_of(self.dataset, column, "ending", str(self.place))[int(self.rows[index])]
        text = value.column(0)[0]
        if not text.is_valid:
            return None
        lines = text.as_py() if pa.types.is_list(text.type) else [text.as_py()]
        return "\n".join(map(str, lines))

    def part(self, places: Sequence[int]) -> HFSource:
        """The images at `places`, in their order."""
        kept = np.array(places, dtype=np.int64)
        part = copy.copy(self)
        part.rows = self.rows[kept]
        part.labels = None if self.labels is None else self.labels[kept]
        return part

    def _labeled(self, train: HFSource | None) -> tuple[Tensor | None, tuple[str, ...]]:
        label = self.columns.label
        if label is None:
            return None, ()
        texts = texts_in(self.dataset, label, "label_column", str(self.place))
        classes = train.classes if train else tuple(getattr(self.dataset.features[label], "names", ()))
        if not classes:
            labeled = [text for text in texts if text] or ["0"]  # that there is none is told below
            classes = classes_of(labeled, self.columns.max_classes, str(self.place))
        return numbers_of(texts, classes, self.name, ADVICE), classes


def drawn_rows(whole: HFSource, draw: SplitSpec, split: str) -> HFSource:
    """The images of `whole` that `draw` puts into `split`, by what they hold, or by their group.

    Raises:
        DataError: a split would be empty, or an image has no group.
    """
    group, where = whole.columns.group, str(whole.place)
    if draw.by == "group" and group is not None:
        names = texts_in(whole.dataset, group, "group_column", where)
        if "" in names:
            raise DataError(
                f"{whole.name(names.index(''))}: has no group in the column {group!r}; `split` goes by group, so each "
                "image needs one"
            )
    else:
        names = [row.tobytes().hex() for row in whole.digests()]
    labels = None if whole.labels is None else whole.labels.tolist()
    return whole.part(draw.places(names, split, where, labels=labels, classes=whole.classes))
