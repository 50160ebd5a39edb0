"""Image sources of evaluators, and checks that each evaluator has the images and labels it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Literal, final

from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import Setting, Split
from sslkit.core.problem import Problem
from sslkit.core.source import Source
from sslkit.errors import DataError
from sslkit.evaluate.features import require_labels
from sslkit.specs.families import EvaluatorSpec, SourceSpec


@final
class Sources:
    """Sources by spec and split, opened once."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, Split], Source | None] = {}

    def put(self, spec: SourceSpec, split: Split, source: Source) -> None:
        """Keep a source that is open already."""
        self._open[spec.model_dump_json(), split] = source

    def all(self) -> Iterator[Source]:
        """Every source that is open."""
        return (source for source in self._open.values() if source is not None)

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
    """The source of an evaluator's images of `split`."""
    train = evaluator.train or data
    return train if split == "train" else evaluator.test or train


def require_splits(
    evaluators: Sequence[EvaluatorSpec] | Mapping[int, EvaluatorSpec],
    data: SourceSpec,
    sources: Sources,
    channels: int | None = None,
    net: Backbone | None = None,
    pool: Literal["cls", "mean"] = "cls",
) -> None:
    """Pass where every evaluator finds the images, labels and whatever else it needs.

    Args:
        evaluators: all of them, or some by their place in the spec.
        data: the images of evaluators that name none.
        sources: where they are kept open.
        channels: of images that the network reads. Default: any.
        net: the network, where it is there.
        pool: what the readout takes of its tokens.

    Raises:
        DataError: something is missing; a line for everything, with its evaluator.
    """
    problems = evaluator_problems(evaluators, data, sources, channels, net, pool)
    lines = dict.fromkeys(
        f"{problem.path}: {problem.message}" for problem in problems
    )  # splits may lack the same
    if lines:
        raise DataError("\n".join(lines))


def evaluator_problems(
    evaluators: Sequence[EvaluatorSpec] | Mapping[int, EvaluatorSpec],
    data: SourceSpec,
    sources: Sources,
    channels: int | None = None,
    net: Backbone | None = None,
    pool: Literal["cls", "mean"] = "cls",
) -> Iterator[Problem]:
    """What would stop the evaluators once they run, as far as images and network tell. Arguments: `require_splits`."""
    for place, spec in evaluators.items() if isinstance(evaluators, Mapping) else enumerate(evaluators):
        evaluator = spec.build()
        images: dict[Split, Source] = {}
        for split in evaluator.needs:
            try:
                source = sources.get(source_of(spec, data, split), split)
                require_channels(source, split, channels)
                _require_images(source, split)
                if evaluator.labeled:
                    require_labels(source)
                images[split] = source
            except DataError as error:
                yield Problem(f"evaluate.{place}", str(error))
        if len(images) == len(evaluator.needs):
            for problem in evaluator.check(Setting(images, net, pool)):
                yield problem._replace(path=".".join(filter(None, (f"evaluate.{place}", problem.path))))


def unused_by_evaluators(
    evaluators: Sequence[EvaluatorSpec],
    data: SourceSpec,
    sources: Sources,
    net: Backbone | None,
    pool: Literal["cls", "mean"],
) -> Iterator[Problem]:
    """Fields of evaluators without effect on their images, as far as those are there. Arguments: `require_splits`."""
    for place, spec in enumerate(evaluators):
        evaluator = spec.build()
        with suppress(DataError):  # which `evaluator_problems` tells of
            images = {split: sources.get(source_of(spec, data, split), split) for split in evaluator.needs}
            for problem in evaluator.unused(Setting(images, net, pool)):
                yield problem._replace(path=f"evaluate.{place}.{problem.path}")


def _require_images(source: Source, split: Split) -> None:
    if not len(source):
        raise DataError(f"the {split} split has no images to evaluate on")


def require_channels(source: Source, split: Split, channels: int | None) -> None:
    """Pass where the images are of `channels`, or that is None. Raises DataError otherwise."""
    if channels not in (None, source.channels):
        raise DataError(
            f"the {split} images have {source.channels} channels but the network reads {channels}; give images of "
            f"{channels}, as `channels: {channels}` of a `folder` makes them"
        )
