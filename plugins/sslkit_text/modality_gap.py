"""Distance between the embeddings of images and of texts. N pairs, D width."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from sslkit.interfaces import Evaluator, Scores, Split, Subject, mean_interval
from sslkit_text.pair_embeddings import PairEmbeddings

RESAMPLES = 1000


@final
class ModalityGapEvaluator(Evaluator):
    """The distance of centers, and the cosine of pairs."""

    needs: tuple[Split, ...] = ("test",)
    labeled = False

    def __init__(self, objective: str | None, protocol: str) -> None:
        self.objective, self.protocol = objective, protocol

    def __call__(self, subject: Subject) -> Scores:
        pairs = PairEmbeddings(subject, self.objective)
        rows = pairs.captioned()
        texts = pairs.texts([each[0] for each in rows.captions]).cpu().double()
        images = rows.values.cpu().double()
        cosines = (images * texts).sum(1)
        metrics = {"gap": float(gap(images, texts)), "positive": float(cosines.mean())}
        if len(images) < 2:
            return Scores(metrics)
        interval = mean_interval(cosines.numpy(), seed=subject.seed)
        intervals = {
            "gap": gap_interval(images, texts, subject.seed),
            "positive": (interval.low, interval.high),
        }
        table = {"pairs": len(images)}
        table |= {"images_without_caption": rows.without} if rows.without else {}
        return Scores(metrics, None, table, {}, intervals)


def gap(images: Tensor, texts: Tensor) -> Tensor:
    """Distance between the means of embeddings `[..., N, D]` of length 1: `[...]`, from 0 to 2."""
    distance: Tensor = torch.linalg.vector_norm(images.mean(-2) - texts.mean(-2), dim=-1)
    return distance


def gap_interval(images: Tensor, texts: Tensor, seed: int, resamples: int = RESAMPLES) -> tuple[float, float]:
    """95 % bootstrap interval of the gap: pairs are drawn anew, with their images and texts together.

    The mean of a resample is farther out than the mean of all by chance, so the percentiles are turned around the
    gap (the basic bootstrap).
    """
    generator = torch.Generator().manual_seed(seed)
    center = gap(images, texts)
    gaps = torch.stack(
        [
            gap(images[rows], texts[rows])
            for rows in (
                torch.randint(len(images), (len(images),), generator=generator) for _ in range(resamples)
            )
        ]
    )
    low, high = (
        (2 * center - gaps.quantile(torch.tensor([0.975, 0.025], dtype=gaps.dtype))).clamp(min=0).tolist()
    )
    return low, high
