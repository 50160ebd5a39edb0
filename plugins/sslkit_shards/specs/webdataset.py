"""Spec of the source of WebDataset shards. Torch-free."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self, final

from pydantic import AfterValidator, Field, model_validator

from sslkit.plugin import Alpha, Bands, Problem, Range, SourceSpec, SplitSpec, SslkitWarning, require_fitting
from sslkit_shards.shard_names import shards_problem, shared_problem

if TYPE_CHECKING:
    from sslkit.interfaces import Source
    from sslkit.plugin import RunSpec
    from sslkit_shards.local_copies import Kept
    from sslkit_shards.webdataset_source import WebDatasetSource

SAMPLES = Path(__file__).parent.parent / "samples"
"""Shards of a few images that the package brings, for `example`."""


def _endings(value: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(name.lower().lstrip(".") for name in value)
    if not all(names):
        raise ValueError("an ending is a text such as 'jpg', found ''")
    return names


def _labels(value: str) -> str:
    ending, colon, path = value.partition(":")
    if not ending.strip(".") or (colon and not all(path.split("."))):
        raise ValueError(
            f"expected a member such as 'cls', or a field of one such as 'json:class', found {value!r}"
        )
    return value


Text = Annotated[str, Field(min_length=1)]
Shards = Text | Annotated[tuple[Text, ...], Field(min_length=1)]
Ending = Text | Annotated[tuple[Text, ...], Field(min_length=1), AfterValidator(_endings)]
Label = Annotated[str, AfterValidator(_labels)]


@final
class WebDataset(SourceSpec):
    """Images in tar shards, as WebDataset writes them: files of one name up to its first dot are one sample."""

    kind: Literal["webdataset"] = "webdataset"
    shards: Shards
    """Paths or URLs: a file, a folder of `*.tar` at any depth, a pattern, braces such as `data/{000000..000123}.tar`,
    or a list of such."""
    test: Shards | None = None
    """The test split, in the same way. Default: there is no test split."""
    split: SplitSpec | None = None
    """In place of `test`: a test split drawn from the samples of `shards`, by their keys (`image`), by the folders in
    these (`folder`), or by `group`."""
    group: Label | None = None
    """What `split: {by: group}` keeps together, such as a patient: an ending, or a field of JSON such as
    `json:patient`."""
    image: Ending | None = None
    """Ending of the members that are the images, such as `jpg` or `left.png`; of several, the first that a sample has.
    Default: whatever can be read, of which a sample has one."""
    label: Label | None = "cls"
    """Ending of the members that are the labels, or a field of one, such as `json:class`: integers from 0, or names.
    null: the images have no labels."""
    classes: Path | None = None
    """Text file with the names of classes, one a line, for labels that are numbers. Default: `classes.txt` beside the
    first shard, where there is one."""
    order: Literal["whole", "shards"] = "whole"
    """In training: drawn over all images; or over the images of `window` shards at a time, which are drawn too.
    `shards` is for disks and stores that are slow to jump: few shards are read at a time."""
    window: int = Field(16, ge=1)
    """Shards whose images are mixed with each other, with `order: shards`."""
    copy_to: Path | None = None
    """Folder of this machine to which remote shards are copied as a whole when one of their images is needed. Default:
    each image is read from the store."""
    copy_gib: float = Field(64.0, gt=0)
    """GiB that copies may take; those that were not read for the longest go first."""
    channels: int = Field(3, ge=1)
    """Channels of every image. 1 and 3: gray and color. Others: as many samples of a pixel, or pages, as files have."""
    convert: bool = True
    """Bring gray, palette, alpha and CMYK images to `channels`; false: such an image is an error."""
    bands: Bands | None = None
    """Which of a file's bands are the channels: places from 0 (samples of a pixel, then pages), or their names."""
    alpha: Alpha = "drop"
    """Transparency: its hidden color is kept (`drop`, as torchvision), white shows through (`composite`), or it is
    the last channel (`channel`), opaque where a file has none."""
    range: Range = "auto"
    """Which stored values become 0 and 1, by type, by numbers or by percentiles of the first images."""
    shrink: int | None = Field(None, ge=1)
    """Decode JPEG files at 1/2, 1/4 or 1/8 of their size where both sides keep so many pixels: quicker, other values.
    Twice the size of the crops is plenty. Default: whole."""
    max_pixels: int = Field(89_478_485, ge=1)
    """Pixels of an image at most, read from its header: past it, it is unreadable. Default: where PIL warns."""
    max_metadata: int = Field(1_048_576, ge=1)
    """Bytes of a text chunk or color profile of a PNG at most; past it, the image is unreadable. Default: PIL's."""
    max_classes: int = Field(100_000, ge=1)
    """Classes at most that integer labels may count up to; larger ones are hardly classes."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        require_fitting(self)
        if self.split is not None and self.test is not None:
            raise ValueError(
                "`split` draws the test split from `shards`, and `test` names one; leave one out"
            )
        if self.split is not None and self.split.by == "group" and self.group is None:
            raise ValueError("`split` goes by group, so say with `group` where a sample has it")
        return self

    @classmethod
    def example(cls) -> Self | None:
        train, test = SAMPLES / "train-{000000..000001}.tar", SAMPLES / "test-000000.tar"
        return cls(shards=str(train), test=str(test), channels=1)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        for field, names in (("shards", _listed(self.shards)), ("test", _listed(self.test))):
            for place, name in enumerate(names):
                if message := shards_problem(name):
                    yield Problem(field if len(names) == 1 else f"{field}.{place}", message)
                    return
        if (
            run.data is self
            and run.max_duplicates < 1
            and (message := shared_problem(_listed(self.shards), _listed(self.test)))
        ):
            yield Problem("test", message)
        if self.classes and not self.classes.expanduser().is_file():
            yield Problem(
                "classes", f"{self.classes}: no such file; expected the name of a class on each line"
            )

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if self.order == "whole":
            yield Problem("window", "has no effect without `order: shards`; set that too, or leave this out")
        if self.copy_to is None:
            yield Problem("copy_gib", "has no effect without `copy_to`; set that too, or leave this out")
        if self.group is not None and (self.split is None or self.split.by != "group"):
            yield Problem("group", "has no effect without `split: {by: group}`; leave it out")
        if self.label is None:
            yield Problem(
                "classes", "has no effect with `label: null`; name the labels too, or leave this out"
            )

    def build(self, split: str) -> Source | None:
        from sslkit.interfaces import settled_decoder

        if split != "train" and not _listed(self.test) and self.split is None:
            return None
        train = self._source(_listed(self.shards))
        source = self._of_split(train, split)
        for message in (source.note, _link_note(source)):
            if message:
                warnings.warn(message, SslkitWarning, stacklevel=2)
        training = partial(self._of_split, train, "train")
        source.decoder = settled_decoder(source.decoder, self.range, source, training)
        return source

    def _of_split(self, train: WebDatasetSource, split: str) -> WebDatasetSource:
        """The images of `split`, where `train` are all of `shards`."""
        from sslkit_shards.drawn_samples import drawn_samples

        if self.split is not None:
            return drawn_samples(train, self.split, split, self.group)
        return train if split == "train" else self._source(_listed(self.test), train)

    def _source(self, shards: tuple[str, ...], train: WebDatasetSource | None = None) -> WebDatasetSource:
        from sslkit.interfaces import decoder_of
        from sslkit_shards.webdataset_source import Choice, WebDatasetSource

        image = _endings(_listed(self.image))
        window = self.window if self.order == "shards" else None
        choice = Choice(image, self.label, self.classes, self.max_classes, window, self._kept())
        return WebDatasetSource(shards, choice, decoder_of(self), train)

    def _kept(self) -> Kept | None:
        """Where copies of remote shards are."""
        from sslkit_shards.local_copies import Kept

        return None if self.copy_to is None else Kept(self.copy_to.expanduser(), int(self.copy_gib * 2**30))


def _listed(names: str | tuple[str, ...] | None) -> tuple[str, ...]:
    match names:
        case None:
            return ()
        case str():
            return (names,)
        case _:
            return names


def _link_note(source: WebDatasetSource) -> str:
    if not source.links:
        return ""
    return (
        f"{source.files.names[0]}: {source.links:,} members are links, which are not read; pack without them"
    )
