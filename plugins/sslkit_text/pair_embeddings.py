"""Embeddings of the images and texts of a trained run, for evaluators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.interfaces import Request, Rows, Subject, bytes_of, text_of
from sslkit.plugin import DataError
from sslkit_text.albef import ALBEFObjective
from sslkit_text.captioned_source import BETWEEN
from sslkit_text.pair_objective import PairObjective
from sslkit_text.word_maps import WordMaps

AT_ONCE = 256
"""Texts that are encoded at a time."""


class Captioned(NamedTuple):
    """Images with captions."""

    values: Tensor
    """Embeddings `[N, D]`."""
    captions: list[list[str]]
    """One or more of each image."""
    without: int
    """Images that were left out, as their captions are missing or cannot be read."""


@final
class PairEmbeddings:
    """A pair objective of a run, and the networks that it reads."""

    def __init__(self, subject: Subject, name: str | None) -> None:
        """`name`: of the objective; None for the first one.

        Raises:
            DataError: the run has none, or none of this name.
        """
        self.subject = subject
        self.system, self.env = subject.system()
        pairs = {
            key: one
            for key, one in self.system.objectives.items()
            if isinstance(one, PairObjective) or (isinstance(one, ALBEFObjective) and one.fusion.contrast)
        }
        if (name is None and not pairs) or (name is not None and name not in pairs):
            wanted = "an objective of pairs" if name is None else f"an objective of pairs {name!r}"
            has = ", ".join(pairs) or "none"
            raise DataError(f"this evaluator needs {wanted}, and the run has {has}")
        self.objective = next(iter(pairs.values())) if name is None else pairs[name]
        self.stream = self.env.view(self.objective.pairs.text_view).stream

    def images(self) -> Rows:
        """Embeddings `[N, D]` of the images of the test split."""
        pairs = self.objective.pairs
        return self.subject.rows("test", lambda values, _: self._embed_images(values), view=pairs.view)

    def word_maps(self, only: Tensor, words: Sequence[str], prompts: Tensor) -> WordMaps:
        """The images `only` of the test split, and the cosines of their patches with `prompts` `[C, D]`.

        Raises:
            DataError: the network gives no token for each patch.
        """
        pairs = self.objective.pairs
        view, net = self.env.view(pairs.view), self.system.nets[pairs.net]
        grid = net.grid(view.extent)

        def make(values: Tensor, _: Tensor) -> Tensor:
            (tokens,) = net([Request(values[None], None, "drop", ())])
            patches = self.objective.embed_images(tokens.patch[0]).float()
            if patches.shape[1] != grid.patches:
                raise DataError(f"word maps need a token of each of {grid} patches, found {patches.shape[1]}")
            maps = patches @ prompts.to(patches.device).T
            return torch.cat([values.flatten(1).float(), maps.mT.flatten(1)], dim=1)

        rows = self.subject.rows("test", make, only, view=pairs.view).values.cpu()
        pixels, maps = rows.split([math.prod(view.shape), len(words) * grid.patches], 1)
        shaped = maps.unflatten(1, (len(words), *grid.shape))
        return WordMaps(pixels.unflatten(1, view.shape), shaped, words, view)

    def _embed_images(self, values: Tensor) -> Tensor:
        (tokens,) = self.system.nets[self.objective.pairs.net]([Request(values[None], None, "drop", ())])
        return self.objective.embed_images(tokens.cls[0]).float()

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings `[len(texts), D]`."""
        pairs, parts = self.objective.pairs, []
        for start in range(0, len(texts), AT_ONCE):
            samples = [bytes_of(text) for text in texts[start : start + AT_ONCE]]
            values = self.subject.values(pairs.text_view, samples)
            (tokens,) = self.system.nets[pairs.text_net]([Request(values[None], None, "drop", ())])
            parts.append(self.objective.embed_texts(tokens.cls[0]).float())
        return torch.cat(parts)

    def captioned(self) -> Captioned:
        """The images of the test split that have captions.

        Raises:
            DataError: none has.
        """
        images, source = self.images(), self.subject.source("test")
        rows, captions, reason = list[int](), list[list[str]](), ""
        for row, index in enumerate(images.indices.tolist()):
            try:
                captions.append(text_of(source.read(index, self.stream)).split(BETWEEN))
                rows.append(row)
            except DataError as error:
                reason = reason or str(error)
        if not rows:
            raise DataError(f"no test image has a caption. The first: {reason}")
        return Captioned(images.values[rows], captions, len(images.indices) - len(rows))
