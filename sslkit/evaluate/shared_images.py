"""Images that are learned from and tested on: by their content, whatever they are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from sslkit.core.source import Source
from sslkit.errors import DataError
from sslkit.evaluate.evaluation_sources import Sources, source_of
from sslkit.specs.families import EvaluatorSpec, SourceSpec
from sslkit.specs.split import SplitSpec
from sslkit.specs.walk import walk

NAMED = 3
"""Images that are named as examples."""


class Shared(NamedTuple):
    """Test images that are training images too."""

    images: int
    total: int
    """Of the test images."""
    examples: tuple[str, ...]
    """Names, `test image = training image`."""

    @property
    def words(self) -> str:
        """How many of how many, and the first of them."""
        named = "; ".join(self.examples) + ("; ..." if self.images > len(self.examples) else "")
        return f"{self.images:,} of {self.total:,} test images are training images too ({named})"


def shared_images(train: Source, test: Source) -> Shared | None:
    """The images of `test` whose content is that of an image of `train`; None where none is, or no source can tell."""
    one, other = train.digests(), test.digests()
    if one is None or other is None:
        return None
    trained, tested = (np.ascontiguousarray(d).view(f"V{d.shape[1]}").ravel() for d in (one, other))
    readable = other.any(1)
    places = np.flatnonzero(np.isin(tested, trained) & readable)
    if not len(places):
        return None
    same = [(int(place), int(np.flatnonzero(trained == tested[place])[0])) for place in places[:NAMED]]
    examples = tuple(f"{test.name(place)} = {train.name(original)}" for place, original in same)
    return Shared(len(places), len(test), examples)


def require_unseen(
    evaluators: Mapping[int, EvaluatorSpec],
    data: SourceSpec,
    sources: Sources,
    most: float,
    trained: Source | None = None,
) -> list[str]:
    """Pass where evaluators test on images that were not learned from; returns what is to be told of the few that were.

    Args:
        evaluators: by their place in the spec.
        data: the images of evaluators that name none.
        sources: where they are kept open.
        most: share of the test images that may be training images.
        trained: images that the network learns from, beside those that an evaluator learns from.

    Raises:
        DataError: more are; a line for each evaluator.
    """
    shared = list(_shared(evaluators, data, sources, trained))
    refused = [f"{place}: {one.words}" for place, one in shared if one.images > most * one.total]
    if refused:
        drawn = any(
            isinstance(part, SplitSpec) for one in (data, *evaluators.values()) for _, part in walk(one)
        )
        together = ", keep those that belong together in one split by `split: {by: folder}` or `{by: group}`"
        raise DataError(
            "\n".join(dict.fromkeys(refused))
            + f"\nThat is more than max_duplicates={most:g}: name test images of their own{together * drawn}, remove "
            "the equal ones from one split, or raise the field `max_duplicates` where that is meant"
        )
    notes = {one.words: f"{place}: {one.words}" for place, one in shared}
    return list(notes.values())


def _shared(
    evaluators: Mapping[int, EvaluatorSpec], data: SourceSpec, sources: Sources, trained: Source | None
) -> Iterator[tuple[str, Shared]]:
    """(evaluator, what its test images share with images that were learned from)."""
    compared: dict[tuple[int, int], Shared | None] = {}
    for place, spec in evaluators.items():
        needs = spec.build().needs
        if "test" not in needs:
            continue
        test = sources.get(source_of(spec, data, "test"), "test")
        learned = [trained] if trained is not None else []
        learned += [sources.get(source_of(spec, data, "train"), "train")] if "train" in needs else []
        for train in learned:
            pair = (id(train), id(test))
            if pair not in compared:
                compared[pair] = shared_images(train, test)
            shared = compared[pair]
            if shared is not None:
                yield f"evaluate.{place}", shared
