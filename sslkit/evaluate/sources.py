"""Where evaluators find their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

from sslkit.core.evaluator import Split
from sslkit.core.source import Source
from sslkit.errors import DataError
from sslkit.evaluate.features import require_labels
from sslkit.spec.families import EvaluatorSpec, SourceSpec


@final
class Sources:
    """Sources by spec and split, opened once."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, Split], Source | None] = {}

    def put(self, spec: SourceSpec, split: Split, source: Source) -> None:
        """Keep a source that is open already."""
        self._open[spec.model_dump_json(), split] = source

    def get(self, spec: SourceSpec, split: Split) -> Source:
        """The images of `split`. Raises DataError where there are none."""
        place = (spec.model_dump_json(), split)
        if place not in self._open:
            self._open[place] = spec.build(split)
        source = self._open[place]
        if source is None:
            raise DataError(
                f"{spec.kind_name()!r} has no {split} split; name one in the data or in the evaluator"
            )
        return source


def source_of(evaluator: EvaluatorSpec, data: SourceSpec, split: Split) -> SourceSpec:
    """Where an evaluator's images of `split` come from."""
    train = evaluator.train or data
    return train if split == "train" else evaluator.test or train


def require_splits(
    evaluators: Sequence[EvaluatorSpec] | Mapping[int, EvaluatorSpec],
    data: SourceSpec,
    sources: Sources,
    channels: int | None = None,
) -> None:
    """Pass where every evaluator finds the images, labels and whatever else it needs.

    Args:
        evaluators: all of them, or some by their place in the spec.
        data: the images of evaluators that name none.
        sources: where they are kept open.
        channels: of images that the network reads. Default: any.

    Raises:
        DataError: a split is missing, lacks labels or the like, or has other channels; the message names the evaluator.
    """
    for place, spec in evaluators.items() if isinstance(evaluators, Mapping) else enumerate(evaluators):
        evaluator = spec.build()
        for split in evaluator.needs:
            try:
                source = sources.get(source_of(spec, data, split), split)
                _require_channels(source, split, channels)
                if evaluator.labelled:
                    require_labels(source)
                evaluator.require(split, source)
            except DataError as error:
                raise DataError(f"evaluate.{place}: {error}") from None


def _require_channels(source: Source, split: Split, channels: int | None) -> None:
    if channels not in (None, source.channels):
        raise DataError(
            f"the {split} images have {source.channels} channels but the network reads {channels}; give images of "
            f"{channels}, as `channels: {channels}` of a `folder` makes them"
        )
