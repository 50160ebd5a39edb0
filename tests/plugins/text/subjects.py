"""A network under evaluation whose embeddings are known: images are numbers, and a text is where its words point."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.interfaces import Rows, Subject, text_of
from sslkit.plugin import DataError, Env, NetInfo, View
from sslkit_text.captioned_source import CaptionedSource
from sslkit_text.specs.pairs import CLIP

WIDTH = 6
DIRECTIONS = {"cat": 0, "dog": 1, "bird": 2, "zero": 3}
"""Word -> the axis that a text with it points along; others point along the last."""


def direction_of(text: str) -> Tensor:
    """`[WIDTH]`: the sum of the axes of the words that are known."""
    axes = [axis for word, axis in DIRECTIONS.items() if word in text] or [WIDTH - 1]
    return torch.eye(WIDTH)[axes].sum(0)


class Reader(nn.Module):
    """A network whose class token is its input."""

    def forward(self, requests):
        return [SimpleNamespace(cls=request.image.float()) for request in requests]


class Known(Subject):
    """Images have the embeddings that they are given, and texts those of `direction_of`."""

    def __init__(
        self, source: CaptionedSource, embeddings: Tensor, objectives: Sequence[str] = ("pairs",)
    ) -> None:
        self._source, self.embeddings, self.seed = source, embeddings, 0
        views = {
            "global": View(8, 1, 1, (0.0,), (1.0,)),
            "text": View(8, 1, 1, (), (), type="tokens", stream="caption", axes=1),
        }
        self.env = Env(views, {"student": NetInfo(WIDTH, 1), "text": NetInfo(WIDTH, 1)}, {})
        losses = {name: CLIP(dim=WIDTH).build(self.env) for name in objectives}
        for loss in losses.values():
            nn.init.eye_(loss.image_projection.weight)
            nn.init.eye_(loss.text_projection.weight)
        nets = {"student": Reader(), "text": Reader()}
        self._system = SimpleNamespace(nets=nets, objectives=losses)
        self.prompts: list[str] = []

    def system(self):
        return self._system, self.env

    def source(self, split):
        return self._source

    def rows(self, split, make, only=None, view=None):
        assert (split, view) == ("test", "global")
        indices = torch.arange(len(self._source))
        with torch.no_grad():
            values = make(self.embeddings, indices)
        return Rows(values, indices, self._source.labels, self._source.classes)

    def values(self, view, samples):
        assert view == "text"
        self.prompts += [text_of(sample) for sample in samples]
        return torch.stack([direction_of(text_of(sample)) for sample in samples])

    def features(self, split, layer=None):
        raise DataError("not asked for")

    def encode(self, images):
        return F.normalize(images, dim=-1)

    def tokens(self, images, layers=(), attention=False):
        raise DataError("not asked for")

    def backbone(self):
        raise DataError("not asked for")
