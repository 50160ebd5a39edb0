"""Retrieval between images and texts. N images, U different texts."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from sslkit.interfaces import Evaluator, Scores, Split, Subject, mean_interval
from sslkit_text.pair_embeddings import PairEmbeddings


@final
class ImageTextRetrievalEvaluator(Evaluator):
    """Recall at k, both ways."""

    needs: tuple[Split, ...] = ("test",)
    labeled = False

    def __init__(self, ks: tuple[int, ...], objective: str | None, protocol: str) -> None:
        self.ks, self.objective, self.protocol = ks, objective, protocol

    def __call__(self, subject: Subject) -> Scores:
        pairs = PairEmbeddings(subject, self.objective)
        images = pairs.captioned()
        captions = images.captions
        texts = sorted({text for each in captions for text in each})
        places = {text: place for place, text in enumerate(texts)}
        belongs = torch.zeros(len(captions), len(texts), dtype=torch.bool)
        for row, each in enumerate(captions):
            belongs[row, [places[text] for text in each]] = True
        embedded = pairs.texts(texts)
        similarity = (images.values.to(embedded.device) @ embedded.T).cpu()
        ranks = {
            "image_to_text": first_ranks(similarity, belongs),
            "text_to_image": first_ranks(similarity.T, belongs.T),
        }
        metrics, intervals = {}, {}
        for side, ranked in ranks.items():
            for k in self.ks:
                hits = (ranked < k).double()
                name = f"{side}_{k}"
                metrics[name] = float(hits.mean())
                if len(hits) > 1:
                    interval = mean_interval(hits.numpy(), seed=subject.seed)
                    intervals[name] = (interval.low, interval.high)
        table: dict[str, float] = {"images": len(captions), "texts": len(texts)}
        table |= {"images_without_caption": images.without} if images.without else {}
        table |= {
            f"median_rank_{side}": float(ranked.double().median()) + 1 for side, ranked in ranks.items()
        }
        return Scores(metrics, None, table, {}, intervals)


def first_ranks(similarity: Tensor, belongs: Tensor) -> Tensor:
    """Rank of the best partner of each row, from 0, `[N]`: how many others are at least as similar, so a tie is no hit.

    Args:
        similarity: `[N, U]`.
        belongs: `[N, U]` bool, at least one in each row.
    """
    best = similarity.masked_fill(~belongs, -torch.inf).amax(1, keepdim=True)
    return ((similarity >= best) & ~belongs).sum(1)
