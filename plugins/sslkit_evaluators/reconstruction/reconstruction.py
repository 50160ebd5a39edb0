"""Reconstruction skill by mask ratio, `reconstruction@1`. Shapes: n images, H ways to hide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.functional.diverse_images import varied
from sslkit.interfaces import Evaluator, Pictures, Scores, Split, Subject, save_pictures
from sslkit.plugin import DataError, View
from sslkit_evaluators.reconstruction.masked_loss import MEASURES, Hiding, MaskedObjective, masked_objectives

LEAST = 1e-12
"""Loss of a network that sees nothing, below which nothing was to be predicted."""

SHORT = {"reconstruction": "filled"}
"""Titles of columns that would not fit above a picture beside a ratio."""


class Curve(NamedTuple):
    """What was found of one objective: means over images, the masker of the run first."""

    name: str
    ratios: list[float | None]
    hidden: list[float]
    """Share of patches that were hidden."""
    measured: list[dict[str, float]]
    """For each ratio, `skill` and those of `loss`, `psnr` and `ssim` that the objective has."""
    refused: dict[str, str]
    """Ratio -> why it does not fit."""


@final
class ReconstructionEvaluator(Evaluator):
    """Losses of hidden patches and the quality of filled images, by share hidden."""

    labeled = False

    def __init__(
        self, ratios: tuple[float, ...], split: Split, max_images: int, shown: int, protocol: str
    ) -> None:
        """Hide `ratios` of at most `max_images` images of `split`; `shown` ones are drawn."""
        self.ratios, self.split, self.max_images = ratios, split, max_images
        self.shown, self.protocol = shown, protocol
        self.needs = (split,)

    def __call__(self, subject: Subject) -> Scores:
        """`skill` with the masker of the run, then each measure and each ratio.

        Raises:
            DataError: the network comes from no run, or no objective of it has losses of hidden patches.
        """
        objectives = masked_objectives(subject.system(), subject.view, subject.seed)
        only = _spread(len(subject.source(self.split)), self.max_images)
        curves = [curve for o in objectives if (curve := self._curve(subject, o, only)) is not None]
        if not curves:
            raise DataError(
                "'reconstruction' measures objectives that predict hidden patches, such as 'mae', and this run has none"
            )
        table = {"images": len(only), "objectives": {curve.name: _table(curve) for curve in curves}}
        return Scores(_metrics(curves), None, table, self._figures(subject, objectives, only))

    def _curve(self, subject: Subject, objective: MaskedObjective, only: Tensor) -> Curve | None:
        """None where the objective has no losses of patches."""
        hidings, refused = objective.hidings(self.ratios)

        def make(images: Tensor, indices: Tensor) -> Tensor:
            return torch.stack([objective.measure(images, indices, hiding) for hiding in hidings], dim=1)

        rows = subject.rows(self.split, make, only).values.double().mean(0).cpu()
        if bool(rows[:, 0].isnan().all()):
            return None
        if not bool(rows[:, :2].isfinite().all()):
            raise DataError(f"losses of {objective.name!r} are not finite: the network has diverged")
        measured = [_measures(dict(zip(MEASURES, row, strict=True))) for row in rows.tolist()]
        hidden = [row[MEASURES.index("hidden")] for row in rows.tolist()]
        return Curve(_key(objective.name), [h.ratio for h in hidings], hidden, measured, refused)

    def _figures(
        self, subject: Subject, objectives: Sequence[MaskedObjective], only: Tensor
    ) -> dict[str, Callable[[Path], None]]:
        """A figure for each objective that describes an image."""
        figures: dict[str, Callable[[Path], None]] = {}
        labels = subject.source(self.split).labels
        shown = only[varied(None if labels is None else labels[only], len(only), self.shown)]
        for objective in objectives if len(shown) else ():
            pictures = self._pictures(subject, objective, shown)
            if pictures is not None:
                stem = "images" if len(objectives) == 1 else _key(objective.name)
                view = objective.env.view(objective.masked.view)
                figures[stem] = partial(_draw, pictures, view)
        return figures

    def _pictures(self, subject: Subject, objective: MaskedObjective, shown: Tensor) -> Pictures | None:
        """What the objective draws at every ratio, side by side; None on ranks without the images."""
        hidings, _ = objective.hidings(self.ratios)
        drawn: list[Pictures] = []

        def make(images: Tensor, indices: Tensor) -> Tensor:
            parts = [objective.pictures(images, indices, hiding) for hiding in hidings]
            pictures = [part for part in parts if part is not None]
            if pictures:
                drawn.append(beside(pictures, [_title(hiding) for hiding in hidings]))
            return images.new_zeros(len(images), 1)

        subject.rows(self.split, make, shown)
        if not drawn:
            return None
        return drawn[0]._replace(images=torch.cat([part.images for part in drawn]))


def beside(pictures: Sequence[Pictures], titles: Sequence[str]) -> Pictures:
    """Pictures of the same images side by side: columns that are equal in all of them stand once, at the left."""
    first = pictures[0]
    common = [
        i
        for i, name in enumerate(first.columns)
        if all(
            name in p.columns and torch.equal(p.images[:, p.columns.index(name)], first.images[:, i])
            for p in pictures
        )
    ]
    shared = {first.columns[i] for i in common}
    names, columns = [first.columns[i] for i in common], [first.images[:, i] for i in common]
    for part, title in zip(pictures, titles, strict=True):
        for i, name in enumerate(part.columns):
            if name not in shared:
                names.append(f"{SHORT.get(name, name)}, {title}")
                columns.append(part.images[:, i])
    return Pictures(tuple(names), torch.stack(columns, dim=1).float().cpu())


def _measures(row: Mapping[str, float]) -> dict[str, float]:
    """`skill`, and what else is a number."""
    skill = 1 - row["loss"] / max(row["blind"], LEAST)
    measures = {name: row[name] for name in ("loss", "psnr", "ssim") if row[name] == row[name]}
    return {"skill": skill, **measures}


def _metrics(curves: Sequence[Curve]) -> dict[str, float]:
    """The mean skill first, then what was found with the masker of the run and at each ratio."""
    metrics = {"skill": fmean(curve.measured[0]["skill"] for curve in curves)}
    for curve in curves:
        prefix = "" if len(curves) == 1 else f"{curve.name}_"
        for ratio, measured in zip(curve.ratios, curve.measured, strict=True):
            end = "" if ratio is None else f"_at_{ratio:g}"
            metrics |= {f"{prefix}{name}{end}": value for name, value in measured.items()}
    return metrics


def _table(curve: Curve) -> dict[str, object]:
    names = list(curve.measured[0])
    return {
        "ratios": curve.ratios,
        "hidden": curve.hidden,
        **{name: [measured[name] for measured in curve.measured] for name in names},
        "refused": curve.refused,
    }


def _title(hiding: Hiding) -> str:
    return "own" if hiding.ratio is None else f"{hiding.ratio:.0%}"


def _key(name: str) -> str:
    """Names of terms inside hybrids have slashes."""
    return name.replace("/", "-")


def _spread(count: int, most: int) -> Tensor:
    """At most `most` of the numbers 0 to `count` - 1, evenly spread, int64."""
    return torch.arange(min(count, most)) * count // min(count, most)


def _draw(pictures: Pictures, view: View, path: Path) -> None:
    save_pictures(path, pictures, view.mean, view.std, view.show)
