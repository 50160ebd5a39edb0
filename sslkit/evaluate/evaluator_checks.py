"""Checks of images and network that evaluators share, before a run trains; nothing is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import Setting
from sslkit.core.problem import Problem
from sslkit.core.source import Source


def class_problems(setting: Setting) -> Iterator[Problem]:
    """The training and test images are of the same classes, in the same order, and of more than one."""
    train, test = (setting.sources[split].classes for split in ("train", "test"))
    if train != test:
        only = sorted(set(train) ^ set(test))
        detail = f"in only one of them: {', '.join(only[:5])}" if only else "the same names in another order"
        yield Problem(
            "",
            f"train has {len(train)} classes and test {len(test)}; {detail}. "
            "Give an evaluator's `train` and `test` the same classes.",
        )
    elif len(train) == 1:
        yield Problem(
            "",
            f"all images are of one class, {train[0]!r}, so there is nothing to tell apart; give data of "
            "several classes, such as a folder of class folders",
        )
    else:
        yield from (p for split, source in setting.sources.items() for p in _constant(split, source))


def _constant(split: str, source: Source) -> Iterator[Problem]:
    """The images of `split` are all of one class, whose score would be that of a constant."""
    labels = [] if source.labels is None else source.labels.unique().tolist()
    if len(labels) == 1 and len(source) > 1:
        yield Problem(
            "",
            f"all {len(source):,} {split} images are of one class, {source.classes[labels[0]]!r}, of "
            f"{len(source.classes)}, so a constant answer would be scored; give images of several classes",
        )


def holdout_problems(source: Source) -> Iterator[Problem]:
    """Some class of the training images has two, so that one can be held out."""
    labels = source.labels
    if labels is None or not len(labels):
        return
    if int(torch.bincount(labels[labels >= 0]).max()) < 2:
        yield Problem(
            "holdout",
            "choosing on held-out images needs a class with at least two training images to hold one out; "
            f"there are {len(source)} images in {len(source.classes)} classes",
        )


def layer_problems(field: str, layers: Sequence[int], net: Backbone | None) -> Iterator[Problem]:
    """The network has the blocks `layers`, counted from 0 or from the end."""
    if net is None:
        return
    for layer in layers:
        if not -net.depth <= layer < net.depth:
            yield Problem(field, f"block {layer} does not exist; the network has {net.depth}, from 0")


def attribute_problems(field: str, what: str, names: Sequence[str], setting: Setting) -> Iterator[Problem]:
    """The training images tell at least one value of each of the attributes `names`, which they have."""
    for name in names:
        for split, source in setting.sources.items():
            values = source.attributes.get(name)
            if values is not None and not bool((values >= 0).any()):
                yield Problem(field, f"{what} {name!r} is unknown for all {split} images")
