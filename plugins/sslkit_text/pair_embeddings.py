"""Embeddings of the images and texts of a trained run, for evaluators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from sslkit.interfaces import Request, Rows, Subject, bytes_of, text_of
from sslkit.plugin import DataError
from sslkit_text.captioned_source import BETWEEN
from sslkit_text.pair_objective import PairObjective

AT_ONCE = 256
"""Texts that are encoded at a time."""


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
        pairs = {key: one for key, one in self.system.objectives.items() if isinstance(one, PairObjective)}
        if (name is None and not pairs) or (name is not None and name not in pairs):
            wanted = "a clip or siglip objective" if name is None else f"a clip or siglip objective {name!r}"
            has = ", ".join(pairs) or "none"
            raise DataError(f"this evaluator needs {wanted}, and the run has {has}")
        self.objective = next(iter(pairs.values())) if name is None else pairs[name]
        self.stream = self.env.view(self.objective.pairs.text_view).stream

    def images(self) -> Rows:
        """Embeddings `[N, D]` of the images of the test split."""
        pairs = self.objective.pairs
        return self.subject.rows("test", lambda values, _: self._embed_images(values), view=pairs.view)

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

    def captions(self, indices: Tensor) -> list[list[str]]:
        """The captions of the images at `indices` of the test split, one or more each.

        Raises:
            DataError: one is missing.
        """
        source = self.subject.source("test")
        return [text_of(source.read(i, self.stream)).split(BETWEEN) for i in indices.tolist()]
