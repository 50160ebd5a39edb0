"""Linear semantic segmentation, `dense@1`. Shapes: n images, C regions, S pixels a side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from sslkit.interfaces import (
    Evaluator,
    Pictures,
    Scores,
    Setting,
    Source,
    Split,
    Subject,
    layer_problems,
    save_pictures,
)
from sslkit.plugin import DataError, Problem
from sslkit_evaluators.concepts.feature_bank import GIB, Bank, read_masks
from sslkit_evaluators.segmentation.mask_pictures import colored, unit
from sslkit_evaluators.segmentation.overlap import (
    UNKNOWN,
    Overlap,
    iou,
    iou_interval,
    joined,
    mean_iou,
    overlap,
    pixel_accuracy,
)
from sslkit_evaluators.segmentation.segmentation_heads import Head, Recipe, predict, train_heads

LEAST = 2
"""Training images: one to learn from, one to choose with."""


@final
class DenseEvaluator(Evaluator):
    """Heads of several learning rates on frozen patch tokens; held-out training images choose one."""

    labeled = False

    def __init__(
        self, recipe: Recipe, *, layer: int, holdout: float, memory: float, shown: int, protocol: str
    ) -> None:
        """Evaluate tokens of block `layer`.

        Args:
            recipe: of the training.
            layer: block whose patch tokens are read.
            holdout: share of the training images that only chooses the rate.
            memory: GiB of tokens of a split that are kept.
            shown: test images that are drawn.
            protocol: its name.
        """
        self.recipe, self.layer, self.holdout = recipe, layer, holdout
        self.memory, self.shown, self.protocol = memory, shown, protocol

    def check(self, setting: Setting) -> Iterator[Problem]:
        """There must be masks of the same regions, the block, and an image to hold out."""
        yield from layer_problems("layer", (self.layer,), setting.net)
        reason = region_problem(setting.sources)
        if reason is not None:
            yield Problem("", reason)
        else:
            for split, source in setting.sources.items():
                if constant := constant_masks(split, source):
                    yield Problem("", constant)
        if len(setting.sources["train"]) < LEAST:
            yield Problem("holdout", _too_few(len(setting.sources["train"])))

    def __call__(self, subject: Subject) -> Scores:
        """`miou` and `pixel_accuracy` of the test images, and what the holdout chose."""
        regions = self._regions(subject)
        bank = Bank(subject, "train", self.layer, self.memory * GIB)
        masks = read_masks(subject.source("train"), bank.indices, subject)
        held, kept = self._split(len(bank), subject.seed)
        recipe = self.recipe
        heads = train_heads(bank, masks, kept, len(regions), recipe, subject.seed)
        trials = [mean_iou(measure(head, bank, masks, held).confusion) for head in heads]
        best = max(range(len(heads)), key=trials.__getitem__)
        test = Bank(subject, "test", self.layer, self.memory * GIB)
        truth = read_masks(subject.source("test"), test.indices, subject)
        coverage = measure(heads[best], test, truth, torch.arange(len(test)))
        metrics = {
            "miou": mean_iou(coverage.confusion),
            "pixel_accuracy": pixel_accuracy(coverage.confusion),
            "holdout_miou": trials[best],
            "learning_rate": recipe.learning_rates[best],
        }
        grid = [
            {"learning_rate": rate, "holdout_miou": value}
            for rate, value in zip(recipe.learning_rates, trials, strict=True)
        ]
        table = {"grid": grid, **_table(coverage, regions, subject.seed)}
        figures = {}
        if self.shown:
            figures["segmentation"] = partial(_draw, self._pictures(subject, heads[best], test, truth))
        return Scores(metrics, None, table, figures)

    def _regions(self, subject: Subject) -> tuple[str, ...]:
        sources: dict[Split, Source] = {split: subject.source(split) for split in self.needs}
        reason = region_problem(sources)
        if reason is not None:
            raise DataError(reason)
        return sources["train"].regions

    def _split(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Images that choose, and images to learn from."""
        if count < LEAST:
            raise DataError(_too_few(count))
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        held = min(max(1, round(self.holdout * count)), count - 1)
        return order[:held].sort().values, order[held:].sort().values

    def _pictures(self, subject: Subject, head: Head, test: Bank, truth: Tensor) -> Pictures:
        """Evenly spread test images beside their masks and predictions."""
        count = min(self.shown, len(test))
        rows = torch.arange(count) * len(test) // count
        guesses = torch.cat([guess for _, guess in predict(head, test, rows)]).cpu()
        images = subject.rows("test", lambda images, _: images, test.indices[rows]).values.cpu()
        columns = [unit(images, subject.view), colored(truth[rows]), colored(guesses)]
        return Pictures(("image", "truth", "prediction"), torch.stack(columns, dim=1))


def region_problem(sources: Mapping[Split, Source]) -> str | None:
    """Why masks of the splits cannot be learned from and scored; None where they can."""
    for split, source in sources.items():
        if not source.regions:
            return (
                f"'dense' needs masks, which the {split} images lack; give a source that has them, such as "
                "'segmentation', as `train` and `test`"
            )
    train, test = sources["train"].regions, sources["test"].regions
    if train != test:
        return (
            f"train has {len(train)} regions and test {len(test)}; give both the same names in the same order"
        )
    return None


def constant_masks(split: Split, source: Source) -> str | None:
    """Why masks of `split` tell nothing apart, as they show one region; None once two regions were seen."""
    seen = set[int]()
    for index in range(len(source)):
        try:
            mask = source.mask(index)
        except DataError:  # told when it is read
            continue
        seen |= set() if mask is None else set(mask.unique().tolist()) - {UNKNOWN}
        if len(seen) > 1:
            return None
    shown = f"show only region {source.regions[seen.pop()]!r}" if seen else "have no labeled pixel"
    return (
        f"all {split} masks {shown}, of {len(source.regions)} regions, so there is nothing to tell apart; look at "
        "what values masks have: `values: [0, 255]` of a 'segmentation' reads black and white ones, `ignore_index` is "
        "not counted"
    )


def _too_few(images: int) -> str:
    return f"choosing on held-out images needs two readable training images, found {images}"


def measure(head: Head, bank: Bank, masks: Tensor, rows: Tensor) -> Overlap:
    """How `head` covers the masks of the images `rows` of the bank."""
    parts = []
    for part, guess in predict(head, bank, rows):
        parts.append(overlap(guess, masks[part].to(guess.device), len(head.bias)))
    return joined(parts)


def _table(coverage: Overlap, regions: tuple[str, ...], seed: int) -> dict[str, object]:
    values, true = iou(coverage.confusion), coverage.confusion.sum(1)
    right = coverage.confusion.diagonal()
    interval = iou_interval(coverage.images, seed)
    return {
        "interval": None if interval is None else list(interval),
        "regions": [
            {
                "name": name,
                "iou": None if bool(values[i].isnan()) else float(values[i]),
                "accuracy": float(right[i] / true[i]) if int(true[i]) else None,
                "pixels": int(true[i]),
            }
            for i, name in enumerate(regions)
        ],
        "confusion": coverage.confusion.tolist(),
    }


def _draw(pictures: Pictures, path: Path) -> None:
    save_pictures(path, pictures, (0.0,) * 3, (1.0,) * 3)
