"""Layer-wise linear probing of several attributes. Shapes: N images, L layers, A attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple, TypedDict, final

import torch
from torch import Tensor

from sslkit.interfaces import (
    Evaluator,
    Features,
    Predictions,
    Rows,
    Scores,
    Setting,
    Source,
    Split,
    Subject,
    attribute_problems,
    layer_problems,
    matched_by_name,
)
from sslkit.plugin import DataError, Problem
from sslkit_evaluators.probes.labeled_features import require_finite
from sslkit_evaluators.probes.linear import Choice, Recipe, choose, guess

CLASS = "class"
"""What the class label goes by among the attributes."""


class Depths(NamedTuple):
    """Features of every image at every layer."""

    values: list[Tensor]
    """L of `[N, D]`."""
    indices: Tensor
    """`[N]`, places in the source."""


@final
class Table(TypedDict):
    """Curves by attribute, each a value a layer."""

    layers: list[int]
    attributes: list[str]
    accuracy: list[list[float]]
    holdout_accuracy: list[list[float]]
    majority: list[float]


class Probed(NamedTuple):
    """One attribute at every layer."""

    name: str
    choices: list[Choice]
    accuracies: list[float]
    """On the test images."""
    predictions: list[Predictions]
    majority: float
    """Accuracy of the value that most training images have."""

    @property
    def best(self) -> int:
        """The layer of highest held-out accuracy, the first of equals."""
        return max(range(len(self.choices)), key=lambda i: self.choices[i].accuracy)


@final
class ProbingEvaluator(Evaluator):
    """A linear probe of every attribute at every layer; held-out training images choose rate and layer."""

    labeled = False

    def __init__(
        self, attributes: tuple[str, ...], layers: tuple[int, ...], recipe: Recipe, protocol: str
    ) -> None:
        self.attributes, self.layers, self.recipe, self.protocol = attributes, layers, recipe, protocol

    def check(self, setting: Setting) -> Iterator[Problem]:
        """The blocks are there, and the attributes, in both splits."""
        yield from layer_problems("layers", self.layers, setting.net)
        try:
            columns = self._matched(setting.sources)
        except DataError as error:
            yield Problem("attributes" if self.attributes else "", str(error))
            return
        for name in columns["train"]:
            if name not in columns["test"]:
                yield Problem("attributes", _lacking(name))
        yield from attribute_problems("attributes", "attribute", tuple(columns["train"]), setting)

    def __call__(self, subject: Subject) -> Scores:
        """`accuracy`, the mean over attributes at the selected layer; `NAME_accuracy` and `NAME_layer`."""
        layers = self._layers(subject)
        columns = self._matched({split: subject.source(split) for split in self.needs})
        for name in columns["train"]:
            if name not in columns["test"]:
                raise DataError(_lacking(name))
        depths = {split: read(subject, split, layers) for split in self.needs}
        layers = layers or (-1,)
        probed = [self._probe(name, depths, columns, subject.seed) for name in columns["train"]]
        metrics = {"accuracy": fmean(p.accuracies[p.best] for p in probed)}
        for p in probed:
            metrics |= {f"{p.name}_accuracy": p.accuracies[p.best], f"{p.name}_layer": float(layers[p.best])}
        single = probed[0].predictions[probed[0].best] if len(probed) == 1 else None
        table = _table(probed, layers)
        return Scores(metrics, single, table, {"layers": lambda path: draw_heat(path, table)})

    def _layers(self, subject: Subject) -> tuple[int, ...]:
        """Those that are read; none of raw pixels, which stand for one."""
        try:
            depth = subject.backbone().depth
        except DataError:
            return ()
        return self.layers or (*range(depth - 1), -1)

    def _matched(self, sources: Mapping[Split, Source]) -> dict[Split, dict[str, Tensor]]:
        """The attributes to probe; their values are counted as those of the training images, by name."""
        columns = {split: self._columns(sources[split], split) for split in self.needs}
        names = {
            split: {**sources[split].attribute_values, CLASS: sources[split].classes} for split in columns
        }
        columns["test"] = {
            name: matched_by_name(
                values, names["test"].get(name, ()), names["train"].get(name, ()), f"attribute {name!r}"
            )
            for name, values in columns["test"].items()
        }
        return columns

    def _columns(self, source: Source, split: Split) -> dict[str, Tensor]:
        """The attributes to probe."""
        columns = {**source.attributes, **({} if source.labels is None else {CLASS: source.labels})}
        wanted = self.attributes or tuple(columns)
        missing = [name for name in wanted if name not in columns]
        if missing or not wanted:
            raise DataError(
                f"probing needs {f'the attribute {missing[0]!r}' if missing else 'labels'}, which the {split} images "
                f"lack; they have {', '.join(columns) or 'none'}. Give `attributes` to the data, or class folders"
            )
        return {name: columns[name] for name in wanted}

    def _probe(
        self,
        name: str,
        depths: Mapping[Split, Depths],
        columns: Mapping[Split, Mapping[str, Tensor]],
        seed: int,
    ) -> Probed:
        labels = {s: columns[s][name].to(d.indices.device)[d.indices] for s, d in depths.items()}
        has_label = {split: values >= 0 for split, values in labels.items()}
        for split in self.needs:
            if not bool(has_label[split].any()):
                raise DataError(f"attribute {name!r} is unknown for all {split} images")
        train, test = (labels[split][has_label[split]] for split in self.needs)
        classes = int(train.max()) + 1
        common = int(torch.bincount(train, minlength=classes).argmax())
        probed = Probed(name, [], [], [], float((test == common).double().mean()))
        for kept, scored in zip(depths["train"].values, depths["test"].values, strict=True):
            best = choose(Features(kept[has_label["train"]], train, ()), classes, self.recipe, seed)
            guesses = guess(best.classifier, scored[has_label["test"]])[:, 0]
            probed.choices.append(best)
            probed.accuracies.append(float((guesses == test).double().mean()))
            probed.predictions.append(Predictions(test, guesses))
        return probed


def _lacking(name: str) -> str:
    return f"the test images lack the attribute {name!r}; give it, or name others to probe"


def read(subject: Subject, split: Split, layers: Sequence[int]) -> Depths:
    """Features at every layer in one pass over the images, pooled as the readout does."""
    inner, widths = tuple(layer for layer in layers if layer != -1), list[int]()
    if not layers:
        return _encoded(subject, split)

    def make(images: Tensor, indices: Tensor) -> Tensor:
        tokens = subject.tokens(images, inner)
        last = subject.pooled(tokens.cls[0], tokens.patch[0])
        blocks = iter(subject.pooled(x[0][:, 0], x[0][:, 1:]) for x in tokens.layers)
        features = [last if layer == -1 else next(blocks) for layer in layers]
        widths[:] = [x.shape[1] for x in features]
        return torch.cat([x.float() for x in features], dim=1)

    rows: Rows = subject.rows(split, make)
    require_finite(rows.values, split)
    # a rank that made no row knows no widths; all blocks of a network then have one
    cut = widths or [rows.values.shape[1] // len(layers)] * len(layers)
    return Depths(list(rows.values.split(cut, dim=1)), rows.indices)


def _encoded(subject: Subject, split: Split) -> Depths:
    """What the readout makes of images: of raw pixels, which have no layers."""
    rows: Rows = subject.rows(split, lambda images, indices: subject.encode(images))
    require_finite(rows.values, split)
    return Depths([rows.values], rows.indices)


def _table(probed: Sequence[Probed], layers: Sequence[int]) -> Table:
    return {
        "layers": list(layers),
        "attributes": [p.name for p in probed],
        "accuracy": [p.accuracies for p in probed],
        "holdout_accuracy": [[choice.accuracy for choice in p.choices] for p in probed],
        "majority": [p.majority for p in probed],
    }


def draw_heat(path: Path, table: Table) -> None:
    """Test accuracy by attribute and layer."""
    from matplotlib.figure import Figure

    layers, names, values = table["layers"], table["attributes"], table["accuracy"]
    figure = Figure(figsize=(2.5 + 0.6 * len(layers), 1.5 + 0.4 * len(names)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axes.set(xticks=range(len(layers)), yticks=range(len(names)), xlabel="block")
    axes.set_xticklabels(["last" if layer == -1 else str(layer) for layer in layers])
    axes.set_yticklabels(names)
    for row, accuracies in enumerate(values):
        for column, value in enumerate(accuracies):
            shade = "black" if value > 0.6 else "white"
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", color=shade, fontsize=8)
    figure.colorbar(image, label="accuracy")
    figure.savefig(path, dpi=120)
