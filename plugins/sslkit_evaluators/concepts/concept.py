"""Concept bottleneck evaluation, `concept@1`. Shapes: N images, K concepts, V values of all of them, C classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from statistics import fmean
from typing import NamedTuple, final

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
    class_problems,
    matched_by_name,
)
from sslkit.plugin import DataError, Problem
from sslkit_evaluators.concepts.classify import Classifier, Search, auc, classify
from sslkit_evaluators.concepts.concept_charts import draw_intervention, draw_weights
from sslkit_evaluators.probes.linear import standardization

LEAST = 2
"""Training images: one to learn from, one to choose with."""


class Bottleneck(NamedTuple):
    """Which concepts, and how classifiers are chosen; as the fields of `concept` say."""

    concepts: tuple[str, ...]
    independent: bool
    """The classifier of concepts learns from true concepts."""
    strengths: tuple[float, ...]
    holdout: float
    iterations: int


class Probe(NamedTuple):
    """A concept and its classifier."""

    name: str
    values: int
    """How many it has, from 0."""
    classifier: Classifier

    def columns(self, probabilities: Tensor) -> Tensor:
        """What of `[N, values]` goes through the bottleneck: of two values the second, of more all."""
        return probabilities[:, 1:] if self.values == 2 else probabilities


class ConceptScores(NamedTuple):
    """Test scores of a probe; a row of the table `concepts`."""

    name: str
    values: int
    images: int
    """Those with a label."""
    accuracy: float | None
    auc: float | None
    majority: float | None
    """Accuracy of always the commonest value."""
    strength: float
    holdout_accuracy: float


@final
class ConceptEvaluator(Evaluator):
    """Linear probes of concepts, and a linear classifier on their predictions."""

    def __init__(self, bottleneck: Bottleneck, protocol: str) -> None:
        self.bottleneck, self.protocol = bottleneck, protocol

    def check(self, setting: Setting) -> Iterator[Problem]:
        """There must be the attributes that are asked for, the same classes, and an image to hold out."""
        yield from class_problems(setting)
        lacking = [self._lacking(split, source) for split, source in setting.sources.items()]
        field = "concepts" if self.bottleneck.concepts else ""
        yield from (Problem(field, reason) for reason in lacking if reason is not None)
        train = setting.sources["train"]
        names = self.bottleneck.concepts or tuple(train.attributes)
        unknown = attribute_problems("concepts", "concept", names, setting._replace(sources={"train": train}))
        yield from unknown
        try:
            self._attributes(train, setting.sources["test"])
        except DataError as error:
            yield Problem(field, str(error))
        if len(train) < LEAST:
            yield Problem("holdout", _too_few(len(train)))

    def _lacking(self, split: Split, source: Source) -> str | None:
        """Which attributes the images lack; None where they have them."""
        lacking = [name for name in self.bottleneck.concepts if name not in source.attributes]
        if not lacking and source.attributes:
            return None
        wanted = f"the attribute {lacking[0]!r}" if lacking else "attributes of images"
        return (
            f"'concept' needs {wanted}, which the {split} images lack; they have "
            f"{', '.join(source.attributes) or 'none'}. Give `attributes` to the data"
        )

    def __call__(self, subject: Subject) -> Scores:
        """`accuracy` through the bottleneck, `direct_accuracy` without, and scores of the probes."""
        for split in self.needs:
            reason = self._lacking(split, subject.source(split))
            if reason is not None:
                raise DataError(reason)
        train, test = (_finite(subject, split) for split in self.needs)
        if train.classes != test.classes:
            raise DataError(
                f"train has {len(train.classes)} classes and test {len(test.classes)}; they must be the same"
            )
        truth = {split: self._truth(subject, split) for split in self.needs}
        mean, scale = standardization(train.values, standardize=True)
        values = {"train": (train.values - mean) / scale, "test": (test.values - mean) / scale}
        search = Search(
            self.bottleneck.strengths, self.bottleneck.iterations, self._held(train, subject.seed)
        )
        probes = [self._probe(name, values["train"], truth["train"][name], search) for name in truth["train"]]
        predicted = {
            split: [p.classifier.probabilities(values[split]) for p in probes] for split in self.needs
        }
        answers = {split: [truth[split][p.name] for p in probes] for split in self.needs}
        inputs = predicted["train"]
        if self.bottleneck.independent:
            inputs = correct(inputs, answers["train"], range(len(probes)))
        classes = len(train.classes)
        head = classify(through(probes, inputs), train.labels, classes, search)
        direct = classify(values["train"], train.labels, classes, search)
        guesses = _guess(head, through(probes, predicted["test"]))
        straight = _accuracy(_guess(direct, values["test"]), test.labels)
        concepts = [
            _concept(p, s, t) for p, s, t in zip(probes, predicted["test"], answers["test"], strict=True)
        ]
        accuracy = _accuracy(guesses, test.labels)
        metrics = {"accuracy": accuracy, "direct_accuracy": straight, "gap": straight - accuracy}
        metrics |= _means(concepts)
        columns, weights = _columns(probes), head.fitted.weight.T.tolist()
        order, accuracies = _intervention(probes, head, predicted["test"], answers["test"], test.labels)
        table = {
            "concepts": [concept._asdict() for concept in concepts],
            "classes": list(train.classes),
            "columns": columns,
            "weights": weights,
            "bias": head.fitted.bias.tolist(),
            "strength": head.strength,
            "intervention": {"concepts": order, "accuracy": accuracies},
        }
        figures = {
            "weights": partial(draw_weights, weights, train.classes, columns),
            "intervention": partial(draw_intervention, accuracies),
        }
        return Scores(metrics, Predictions(test.labels, guesses), table, figures)

    def _truth(self, subject: Subject, split: Split) -> dict[str, Tensor]:
        """Concept -> `[N]` of the images whose features there are; -1 where it is unknown."""
        source, features = subject.source(split), subject.features(split)
        device = features.labels.device
        places: Tensor | slice = slice(None)
        if len(features.labels) != len(source):  # unreadable images have no features
            rows: Rows = subject.rows(split, lambda images, _: images.new_zeros(len(images), 1))
            places = rows.indices.to(device)
        attributes = self._attributes(subject.source("train"), source)
        return {name: values.to(device)[places] for name, values in attributes.items()}

    def _attributes(self, train: Source, source: Source) -> dict[str, Tensor]:
        """Concept -> `[N]` of all images of `source`, counted as those of `train`, by name."""
        names, counted = source.attribute_values, train.attribute_values
        return {
            name: matched_by_name(
                source.attributes[name], names.get(name, ()), counted.get(name, ()), f"concept {name!r}"
            )
            for name in self.bottleneck.concepts or tuple(source.attributes)
            if name in source.attributes
        }

    def _held(self, train: Features, seed: int) -> Tensor:
        """`[N]` bool, a random share of the images: at least one, never all."""
        count = len(train.labels)
        if count < LEAST:
            raise DataError(_too_few(count))
        held = torch.zeros(count, dtype=torch.bool)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        held[order[: min(max(1, round(self.bottleneck.holdout * count)), count - 1)]] = True
        return held.to(train.labels.device)

    def _probe(self, name: str, values: Tensor, truth: Tensor, search: Search) -> Probe:
        labeled = truth >= 0
        if not bool(labeled.any()):
            raise DataError(f"concept {name!r} is unknown for all training images")
        count = max(2, int(truth.max()) + 1)
        return Probe(name, count, classify(values[labeled], truth[labeled], count, search.only(labeled)))


def _too_few(images: int) -> str:
    return f"choosing on held-out images needs two readable training images, found {images}"


def _finite(subject: Subject, split: Split) -> Features:
    """The features of `split`, of which there must be some, all finite."""
    features = subject.features(split)
    bad = (~features.values.isfinite().all(1)).nonzero().flatten().tolist()
    if bad or not len(features.labels):
        what = f"features of {len(bad)} {split} images are not finite: the network has diverged"
        raise DataError(what if bad else f"the {split} split has no images to evaluate on")
    return features


def through(probes: Sequence[Probe], predicted: Sequence[Tensor]) -> Tensor:
    """What passes the bottleneck, `[N, V]` float64."""
    return torch.cat([p.columns(x) for p, x in zip(probes, predicted, strict=True)], dim=1)


def correct(predicted: Sequence[Tensor], truth: Sequence[Tensor], which: Sequence[int]) -> list[Tensor]:
    """Probabilities of concepts with those of the concepts `which` replaced by the truth, where it is known."""
    corrected = list(predicted)
    for i in which:
        right = torch.zeros_like(corrected[i])
        right.scatter_(1, truth[i].clamp(0, right.shape[1] - 1)[:, None], 1.0)
        labeled = (truth[i] >= 0) & (truth[i] < right.shape[1])
        corrected[i] = torch.where(labeled[:, None], right, corrected[i])
    return corrected


def _concept(probe: Probe, predicted: Tensor, truth: Tensor) -> ConceptScores:
    """Numbers are None where no test image has the concept's label."""
    labeled = truth >= 0
    predicted, truth = predicted[labeled], truth[labeled]
    aucs = [auc(predicted[:, v], truth == v) for v in range(1 if probe.values == 2 else 0, probe.values)]
    areas = [area for area in aucs if area is not None]
    return ConceptScores(
        name=probe.name,
        values=probe.values,
        images=len(truth),
        accuracy=_accuracy(predicted.argmax(1), truth) if len(truth) else None,
        auc=fmean(areas) if areas else None,
        majority=float(torch.bincount(truth).max() / len(truth)) if len(truth) else None,
        strength=probe.classifier.strength,
        holdout_accuracy=probe.classifier.holdout_accuracy,
    )


def _means(concepts: Sequence[ConceptScores]) -> dict[str, float]:
    """Over the concepts that test images have labels of."""
    named = {"concept_accuracy": "accuracy", "concept_auc": "auc", "concept_majority": "majority"}
    columns = {metric: [getattr(c, key) for c in concepts] for metric, key in named.items()}
    present = {metric: [x for x in values if x is not None] for metric, values in columns.items()}
    return {metric: fmean(values) for metric, values in present.items() if values}


def _intervention(
    probes: Sequence[Probe],
    head: Classifier,
    predicted: Sequence[Tensor],
    truth: Sequence[Tensor],
    labels: Tensor,
) -> tuple[list[str], list[float]]:
    """Concepts, hardest first on held-out images, and the accuracy when the first 0, 1, ... are put right."""
    order = sorted(range(len(probes)), key=lambda i: probes[i].classifier.holdout_accuracy)
    accuracies = []
    for count in range(len(order) + 1):
        put_right = correct(predicted, truth, order[:count])
        accuracies.append(_accuracy(_guess(head, through(probes, put_right)), labels))
    return [probes[i].name for i in order], accuracies


def _columns(probes: Sequence[Probe]) -> list[str]:
    """What the classifier of concepts has weights for: each concept, or each value of one with more than two."""
    return [
        name
        for p in probes
        for name in ([p.name] if p.values == 2 else [f"{p.name}={v}" for v in range(p.values)])
    ]


def _guess(classifier: Classifier, values: Tensor) -> Tensor:
    return classifier.fitted.logits(values).argmax(1)


def _accuracy(guesses: Tensor, labels: Tensor) -> float:
    return float((guesses == labels).double().mean())
