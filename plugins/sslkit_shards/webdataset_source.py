"""WebDataset source: images in the members of tar files, read by offset."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sslkit.interfaces import SIZE, Blocks, Decoder, Source, digest, fingerprint_of, stacked
from sslkit_shards.checksums import shard_faults
from sslkit_shards.kept_arrays import kept_arrays
from sslkit_shards.local_copies import Kept
from sslkit_shards.sample_labels import class_file, classes_of, numbers_of
from sslkit_shards.samples import images_of, joined
from sslkit_shards.shard_files import ShardFiles, State
from sslkit_shards.shard_index import KINDS, Arrays, LabelPlace, index_of
from sslkit_shards.shard_names import is_remote, local, shards_of

CLASSES = "classes.txt"
"""Beside the first shard: names of the classes that labels count, one a line."""


class Choice(NamedTuple):
    """What is read of samples."""

    image: tuple[str, ...] = ()
    """Endings, the first of them that a sample has; none for whatever can be read."""
    label: str | None = "cls"
    """As `LabelPlace.of` reads it."""
    classes: Path | None = None
    """Names of the classes. Default: `classes.txt` beside the first shard, where that is."""
    max_classes: int = 100_000
    """That numbers as labels may count up to."""
    window: int | None = None
    """Shards whose images are mixed with each other. None: all."""
    kept: Kept | None = None
    """Where remote shards are copied to as a whole."""


@final
class WebDatasetSource(Source):
    """Images by shard and place; a process reads those that it is asked for, in any order."""

    def __init__(
        self, patterns: Sequence[str], choice: Choice, decoder: Decoder, train: WebDatasetSource | None = None
    ) -> None:
        """List the samples, without their images.

        Args:
            patterns: of the shards.
            choice: what is read of samples.
            decoder: of images.
            train: the source of the training images, whose classes are this one's too.

        Raises:
            DataError: shards are missing or damaged, or hold no image or label where one is asked for.
        """
        self.files, self._choice = ShardFiles(shards_of(patterns), choice.kept), choice
        self._patterns = [name if is_remote(name) else str(Path(local(name)).absolute()) for name in patterns]
        self._origin: tuple[WebDatasetSource, NDArray[np.int64]] | None = None
        arrays = self._indexed(choice.label)
        self.samples = joined(arrays)
        self._members, self.note = images_of(self.samples, choice.image, self.files)
        self._sample = self.samples.sample[self._members]
        self._shard = np.searchsorted(self.samples.begin, self._sample, side="right") - 1
        self.blocks = self._in_blocks()
        self.links = int(sum(one["links"].sum() for one in arrays))
        self.decoder = decoder
        self.channels, self.channel_names = decoder.channels, decoder.names
        self.labels, self.classes = self._labeled(train)

    @cached_property
    def fingerprint(self) -> str:
        """Over the keys of samples, their images, labels and settings."""
        return fingerprint_of(self, *self.decoder.settings(), names=self.keys())

    def __len__(self) -> int:
        return len(self._members)

    def keys(self) -> list[str]:
        """Of the sample of each image."""
        return [self.samples.keys[int(i)] for i in self._sample]

    def texts_at(self, place: str) -> list[str]:
        """What the sample of each image says at `place`, as `LabelPlace.of` reads it; empty where it does not."""
        texts = joined(self._indexed(place)).labels
        return [texts[int(i)] for i in self._sample]

    def part(self, places: Sequence[int]) -> WebDatasetSource:
        """The images at `places`, in their order."""
        kept = np.array(places, dtype=np.int64)
        part = copy.copy(self)
        part._origin = self, kept
        part._members, part._sample, part._shard = self._members[kept], self._sample[kept], self._shard[kept]
        part.labels = None if self.labels is None else self.labels[kept]
        part.blocks = part._in_blocks()
        return part

    def digests(self) -> NDArray[np.uint8]:
        """`[N, 16]` of the images; of remote ones of their place, and of the tags and size of their shards."""
        if self._origin is not None:
            whole, kept = self._origin
            return whole.digests()[kept]
        about = f"digests 1 of {self._patterns} of {self._choice.image}"
        arrays = kept_arrays(about, self.files, {"digest": "u1"}, self._shard_digests)
        return np.concatenate([one["digest"] for one in arrays]).astype(np.uint8).reshape(-1, SIZE)

    def encoded(self, index: int) -> tuple[bytes, str]:
        """What the image's member holds, and its name."""
        member = self._members[index]
        content = self.files.read(
            int(self._shard[index]), int(self.samples.offset[member]), int(self.samples.size[member])
        )
        return content, self.name(index)

    def file_faults(self) -> Iterable[tuple[str, str]]:
        return shard_faults(self.files.names)

    def text(self, index: int, ending: str) -> str | None:
        """What another member of the sample says, such as its caption in `txt`; None where it has none.

        Raises:
            DataError: it cannot be read.
        """
        member = self.samples.member(int(self._sample[index]), ending)
        if member is None:
            return None
        place, size = int(self.samples.offset[member]), int(self.samples.size[member])
        return self.files.read(int(self._shard[index]), place, size).decode(errors="replace")

    def load(self, index: int) -> Tensor:
        return self.decoder(*self.encoded(index))

    def name(self, index: int) -> str:
        """Shard and member."""
        member = self._members[index]
        ending = self.samples.endings[self.samples.kind[member]]
        return (
            f"{self.files.names[self._shard[index]]}/{self.samples.keys[int(self._sample[index])]}.{ending}"
        )

    def _indexed(self, label: str | None) -> list[Arrays]:
        """The arrays of each shard, with the texts at `label`."""
        place = None if label is None else LabelPlace.of(label)
        about = f"index 1 of {self._patterns} with {place}"
        return kept_arrays(about, self.files, KINDS, partial(self._index, label=place))

    def _in_blocks(self) -> Blocks | None:
        """How many images each shard has, where training goes by shards."""
        if self._choice.window is None:
            return None
        sizes = np.bincount(self._shard, minlength=len(self.files.names))
        return Blocks(sizes[sizes > 0].tolist(), self._choice.window)

    def _index(self, shard: int, state: State, label: LabelPlace | None) -> Arrays:
        return index_of(self.files.scanner(shard), state.size, self.files.names[shard], label)

    def _shard_digests(self, shard: int, state: State) -> Arrays:
        rows = np.flatnonzero(self._shard == shard)
        places = zip(
            self.samples.offset[self._members[rows]], self.samples.size[self._members[rows]], strict=True
        )
        if is_remote(self.files.names[shard]):
            digests = [
                digest(repr((state.size, state.token, int(at), int(size))).encode()) for at, size in places
            ]
        else:
            digests = [digest(self.files.read(shard, int(at), int(size))) for at, size in places]
        return {"digest": stacked(digests).reshape(-1)}

    def _labeled(self, train: WebDatasetSource | None) -> tuple[Tensor | None, tuple[str, ...]]:
        if self._choice.label is None:
            return None, ()
        texts = [self.samples.labels[int(sample)] for sample in self._sample]
        classes = train.classes if train else self._class_names()
        if not classes:
            labeled = [text for text in texts if text] or ["0"]  # that there is none is told below
            classes = classes_of(labeled, self._choice.max_classes, self.files.names[0])
        return numbers_of(texts, classes, self.name), classes

    def _class_names(self) -> tuple[str, ...]:
        """From a file; none where there is no such file."""
        if self._choice.classes is not None:
            return class_file(self._choice.classes.expanduser())
        beside = Path(local(self.files.names[0])).parent / CLASSES
        return class_file(beside) if not is_remote(self.files.names[0]) and beside.is_file() else ()
