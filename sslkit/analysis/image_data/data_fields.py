"""The fields of a run that say which images there are, read from a spec whose other fields may be missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, final

from pydantic import Field

from sslkit.core.source import Source
from sslkit.errors import DataError, SpecError
from sslkit.specs.base import Count, Spec
from sslkit.specs.error_text import suggest
from sslkit.specs.families import SourceField, SourceSpec
from sslkit.specs.load import override, parse_as, read_yaml
from sslkit.specs.run import RunSpec
from sslkit.specs.views import ViewSpec


class HasImages(Protocol):
    """A `RunSpec`, or `DataFields`."""

    @property
    def data(self) -> SourceSpec:
        """Where the images are."""
        ...

    @property
    def workers(self) -> int:
        """Processes that decode them."""
        ...

    @property
    def seed(self) -> int:
        """Of the order, of samples and of augmentations."""
        ...

    @property
    def views(self) -> Mapping[str, ViewSpec]:
        """Crops of each image, by name."""
        ...

    @property
    def batch_size(self) -> int | None:
        """Images of a step; None where it is not decided."""
        ...

    @property
    def max_corrupt(self) -> float:
        """Share of unreadable images that is no error."""
        ...


@final
class DataFields(Spec):
    """What of a run's spec `sslkit data` reads; defaults and meanings are those of `RunSpec`."""

    data: SourceField
    """Training images (and, for evaluators, labels)."""
    workers: int = Field(4, ge=0, le=1024)
    """Worker processes that decode images."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of everything random."""
    max_corrupt: float = Field(0.01, ge=0, le=1)
    """Share of unreadable images past which a run stops."""
    views: Mapping[str, ViewSpec] = {}
    """Crops of each image, by name."""
    batch_size: Count | None = None
    """Images per step."""


def load_fields(path: Path, assignments: Sequence[str] = (), notes: str = "") -> DataFields:
    """The fields in the spec at `path`, with overrides applied; all others may be missing or unfinished.

    A folder stands for a spec of the images in it.

    Args:
        path: a YAML file, or a folder of images.
        assignments: `key.path=value` each.
        notes: one line on plugins that failed to load, quoted where a kind is asked for that nobody offers.

    Raises:
        SpecError: the file cannot be read, or one of the fields is wrong.
    """
    content = {"data": {"kind": "folder", "root": str(path)}} if path.is_dir() else read_yaml(path)
    fields = override(content, assignments)
    unknown = next((name for name in fields if name not in RunSpec.model_fields), None)
    if unknown is not None:
        raise SpecError(f"{unknown}: is not a field of RunSpec. {suggest(unknown, RunSpec.model_fields)}")
    return parse_as(DataFields, {k: v for k, v in fields.items() if k in DataFields.model_fields}, notes)


def splits(spec: HasImages) -> dict[str, Source]:
    """The training images and, where there is one, the test split, by name.

    Raises:
        DataError: there are no training images, or files are missing.
    """
    sources = {split: spec.data.build(split) for split in ("train", "test")}
    images = {split: source for split, source in sources.items() if source is not None}
    if "train" not in images or not len(images["train"]):
        raise DataError("data: has no training images; expected at least one")
    return images


def streams_beside(spec: HasImages) -> dict[str, int]:
    """The streams that views of `spec` read besides the first, with their axes."""
    streams = spec.data.streams
    named = {view.stream_in(spec.data) for view in spec.views.values()}
    return {name: stream.axes for name, stream in [*streams.items()][1:] if name in named}
