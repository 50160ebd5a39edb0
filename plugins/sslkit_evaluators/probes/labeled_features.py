"""Checks of labeled training and test sets, shared by evaluators."""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit.interfaces import Features, Split, Subject
from sslkit.plugin import DataError


def labeled(subject: Subject, split: Split) -> Features:
    """The features of `split`.

    Raises:
        DataError: there are none, or a value is not finite.
    """
    features = subject.features(split)
    if len(features.labels) == 0:
        raise DataError(f"the {split} split has no images to evaluate on")
    require_finite(features.values, split)
    return features


def require_finite(values: Tensor, split: Split) -> None:
    """Pass where all features `[N, D]` are finite. Raises DataError otherwise."""
    finite = torch.isfinite(values).all(dim=1)
    if not bool(finite.all()):
        bad = (~finite).nonzero().flatten().tolist()
        raise DataError(
            f"features of {len(bad)} of {len(finite)} {split} images are not finite, the first of image "
            f"{bad[0]}: the network has diverged"
        )


def same_classes(train: Features, test: Features) -> int:
    """The number of classes.

    Raises:
        DataError: the splits name different classes, so their labels cannot be compared, or only one.
    """
    if train.classes != test.classes:
        only = sorted(set(train.classes) ^ set(test.classes))
        detail = f"in only one of them: {', '.join(only[:5])}" if only else "the same names in another order"
        raise DataError(
            f"train has {len(train.classes)} classes and test {len(test.classes)}; {detail}. "
            "Give an evaluator's `train` and `test` the same classes."
        )
    if len(train.classes) == 1:
        raise DataError(
            f"all images are of one class, {train.classes[0]!r}, so there is nothing to tell apart; give data of "
            "several classes, such as a folder of class folders"
        )
    return len(train.classes)
