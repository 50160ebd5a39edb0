"""Spec of `audio_folder`. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from pydantic import Field, model_validator

from sslkit.plugin import ListingColumns, Problem, SourceSpec, SplitSpec, Stream, test_split_conflict
from sslkit_audio.specs.streams import STREAMS

if TYPE_CHECKING:
    from sslkit.interfaces import Source
    from sslkit.plugin import RunSpec


@final
class AudioFolder(SourceSpec):
    """Sound files in folders: WAV, FLAC, OGG, MP3, AIFF and whatever else libsndfile reads. Folders are classes.

    Channels become one, their mean; other rates are resampled. A file that cannot be read is skipped,
    counted and listed.
    """

    unchecked: ClassVar[str] = "it reads sound files"
    kind: Literal["audio_folder"] = "audio_folder"
    root: Path
    """Folder of the training files, at any depth; folders right below it are classes, where every file lies in one."""
    test: Path | None = None
    """Folder of the test files. Default: there is no test split."""
    split: SplitSpec | None = None
    """In place of `test`: a test split drawn from the files of `root`."""
    listing: Path | None = None
    """CSV file or list of paths below `root`: the training files, with labels, splits and attributes."""
    test_listing: Path | None = None
    """The same of the test files, below `test`, or below `root` without one."""
    columns: ListingColumns = ListingColumns()
    """What the columns of listings are called."""
    rate: int = Field(16_000, ge=1_000, le=384_000)
    """Samples a second that sounds are brought to; that of the view's `log_mel` (AudioMAE: 16,000)."""
    seconds: float = Field(10.0, gt=0)
    """Most of a sound; a file is read no further (AudioMAE: 10)."""
    clips: Literal["first", "every"] = "first"
    """Of a longer file: its beginning alone, or every piece of `seconds`, each a sample; a rest under half of
    that is left out."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if conflict := test_split_conflict(self.split, self.test, self.listing, self.test_listing):
            raise ValueError(conflict)
        return self

    @classmethod
    def example(cls) -> Self | None:
        return None

    @property
    def streams(self) -> Mapping[str, Stream]:
        return STREAMS

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Folders and listings are there."""
        for field in ("root", "test"):
            path: Path | None = getattr(self, field)
            if path is not None and not path.expanduser().is_dir():
                yield Problem(field, f"there is no folder {str(path)!r}")
        for field in ("listing", "test_listing"):
            path = getattr(self, field)
            if path is not None and not path.expanduser().is_file():
                yield Problem(field, f"there is no file {str(path)!r}")

    def build(self, split: str) -> Source | None:
        from sslkit_audio.file_source import SoundFileSource
        from sslkit_audio.sound_files import Places, files_of

        places = Places(self.root, self.test, self.split, self.listing, self.test_listing, self.columns)
        files = files_of(places, split)
        return (
            None if files is None else SoundFileSource(files, self.rate, self.seconds, self.clips == "every")
        )
