"""Names of splits, as folders and files have them. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training", "trn", "trainset", "trainval", "traindata"),
    "test": ("test", "testing", "tst", "testset", "testdata", "holdout", "heldout"),
    "validation": ("val", "valid", "validation", "valset", "dev", "devset", "eval", "evaluation"),
    "unlabeled": ("unlabeled", "unlabelled", "unsup", "unsupervised"),
}
_SPLIT_OF = {name: split for split, names in _NAMES.items() for name in names}
_BESIDE = frozenset({"set", "data", "dataset", "split", "images", "image", "imgs", "img"})
"""Words that say no more of a folder than that it holds data."""
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def split_of(name: str) -> str | None:
    """The split that a folder or a value is called after, such as `Testing`, `val2017`, `train_images`; or None.

    One of "train", "test", "validation" and "unlabeled". `train station` is none.
    """
    words = [word.casefold() for word in _words(name)]
    splits = {_SPLIT_OF[word] for word in words if word in _SPLIT_OF}
    rest = [word for word in words if word not in _SPLIT_OF and word not in _BESIDE]
    return splits.pop() if len(splits) == 1 and not rest else None


def splits_in(parts: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Split -> which name of `parts` of a path first has a word for it, as `train-00000-of-00004`; and the word."""
    splits: dict[str, tuple[int, str]] = {}
    for place, part in enumerate(parts):
        for word in _words(part):
            if word.casefold() in _SPLIT_OF:
                splits.setdefault(_SPLIT_OF[word.casefold()], (place, word))
    return splits


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", _CAMEL.sub(" ", name))
