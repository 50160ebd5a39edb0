"""Zero-shot classification. C classes, T templates, N images, D width."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import final

import torch.nn.functional as F

from sslkit.functional.diverse_images import varied
from sslkit.interfaces import Evaluator, Predictions, Scores, Setting, Split, Subject
from sslkit.plugin import DataError, Problem
from sslkit_text.pair_embeddings import PairEmbeddings


@final
class ZeroShotEvaluator(Evaluator):
    """The class whose mean prompt is nearest to an image."""

    needs: tuple[Split, ...] = ("test",)

    def __init__(
        self,
        templates: Sequence[str],
        names: Mapping[str, str],
        objective: str | None,
        protocol: str,
        shown: int = 0,
    ) -> None:
        """`shown`: images whose word maps are drawn."""
        self.templates, self.names, self.objective, self.protocol = templates, names, objective, protocol
        self.shown = shown

    def check(self, setting: Setting) -> Iterator[Problem]:
        """`names` are those of classes."""
        classes = setting.sources["test"].classes
        if unknown := sorted(set(self.names) - set(classes)):
            yield Problem("names", f"{unknown} are no classes of the test images; they have {list(classes)}")

    def __call__(self, subject: Subject) -> Scores:
        pairs = PairEmbeddings(subject, self.objective)
        images = pairs.images()
        if images.labels is None:
            raise DataError("zero_shot: the test images have no labels")
        words = [self.names.get(name, name) for name in images.classes]
        prompts = [template.replace("{}", word) for word in words for template in self.templates]
        each_CTD = pairs.texts(prompts).unflatten(0, (len(words), len(self.templates)))
        classes = F.normalize(each_CTD.mean(1), dim=-1)
        guesses = (images.values.to(classes.device) @ classes.T).argmax(1).cpu()
        labels = images.labels.cpu()
        accuracy = float((guesses == labels).double().mean())
        by_class = {
            name: float((guesses[labels == c] == c).double().mean())
            for c, name in enumerate(images.classes)
            if bool((labels == c).any())
        }
        figures = {}
        if self.shown:
            only = images.indices[varied(labels, len(labels), self.shown)]
            figures["word_maps"] = pairs.word_maps(only, words, classes).draw
        tables = {"accuracy_by_class": by_class}
        return Scores({"accuracy": accuracy}, Predictions(labels, guesses), tables, figures)
