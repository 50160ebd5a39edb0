"""InfoNCE: similarities with candidates, the loss and its metrics. N queries, M keys, L candidates, D width."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.all_gather import all_rows
from sslkit.functional.precision import at_least_float32

Gather = Literal["gradient", "values", "none"]
"""Keys of other ranks: with gradient, without, or not at all."""


class Keys(NamedTuple):
    """Embeddings of length 1 that queries are compared with."""

    rows: Tensor
    """`[M, D]`, of all ranks that take part."""
    first: int
    """Row of this rank's first key: key `first + i` belongs to the same image as query i."""


class Similarity(NamedTuple):
    """Cosines of queries with their candidates."""

    values: Tensor
    """`[N, L]`, at least float32."""
    positive: Tensor
    """`[N]` int64, the candidate that belongs to the query."""
    hidden: Tensor | None
    """`[N, L]` bool, candidates that do not count; None where all do."""


def unit(embeddings: Tensor) -> Tensor:
    """`[..., D]` at length 1, in at least float32 (epsilon 1e-12, as torch's and the references')."""
    return F.normalize(at_least_float32(embeddings), dim=-1)


def gathered(keys: Tensor, gather: Gather = "gradient") -> Keys:
    """The `keys` `[B, D]` of all ranks, in rank order; every rank has as many.

    `gradient` makes two ranks equal one process on the joined batch (SimCLR). `values` keeps the gradient of this
    rank's rows only (open_clip by default); where keys have none (MoCo v3), both are the same. `none`: its rows alone.
    """
    if gather == "none" or not (dist.is_available() and dist.is_initialized()):
        return Keys(keys, 0)
    first = dist.get_rank() * len(keys)
    if gather == "gradient":
        return Keys(all_rows(keys), first)
    others = all_rows(keys.detach())
    return Keys(torch.cat([others[:first], keys, others[first + len(keys) :]]), first)


def similarity(
    queries: Tensor,
    keys: Keys,
    *,
    within: Keys | None = None,
    exclude_self: bool = True,
    queue: Tensor | None = None,
    in_batch: bool = True,
) -> Similarity:
    """Compare `queries` `[N, D]` of length 1 with their candidates, in the order in which they are listed.

    Args:
        queries: of one crop.
        keys: of another crop. With `in_batch` all are candidates; without, only that of the query's own image.
        within: keys of the queries' own crop, further candidates (SimCLR); only with `in_batch`.
        exclude_self: leave out the query's own image among `within`.
        queue: `[K, D]` of length 1, further negatives (MoCo).
        in_batch: whether other images of the batch are negatives (MoCo v2: no).
    """
    images = torch.arange(len(queries), device=queries.device)
    with torch.autocast(queries.device.type, enabled=False):
        if in_batch:
            rows = keys.rows if within is None else torch.cat([keys.rows, within.rows])
            parts, positive = [queries @ rows.mT], images + keys.first
        else:
            partners = keys.rows[keys.first : keys.first + len(queries)]
            parts, positive = [(queries * partners).sum(-1, keepdim=True)], torch.zeros_like(images)
        if queue is not None:
            parts.append(queries @ queue.mT.to(queries.dtype))
    values = torch.cat(parts, dim=1)
    if within is None or not (in_batch and exclude_self):
        return Similarity(values, positive, None)
    columns = torch.arange(values.shape[1], device=values.device)
    return Similarity(values, positive, columns == (len(keys.rows) + within.first + images)[:, None])


@torch.no_grad()
def nearest(queries: Tensor, support: Tensor) -> Tensor:
    """The most similar row of `support` `[Q, D]` to each of `queries` `[..., D]`, all of length 1: `[..., D]`."""
    with torch.autocast(queries.device.type, enabled=False):
        best = (queries @ support.mT.to(queries.dtype)).argmax(-1)
    return support[best].to(queries.dtype)


def info_nce(similar: Similarity, temperature: Tensor | float) -> Tensor:
    """-log softmax(cosines / temperature) at the positive, mean over queries: a scalar, at least float32."""
    logits = similar.values / temperature
    if similar.hidden is not None:
        logits = logits.masked_fill(similar.hidden, -torch.inf)
    return F.cross_entropy(logits, similar.positive)


def guess(similar: Similarity) -> float:
    """Loss of a guess, the natural logarithm of the number of candidates (of 2 where there is one only)."""
    hidden = 0 if similar.hidden is None else 1
    return math.log(max(2, similar.values.shape[1] - hidden))


@torch.no_grad()
def contrast_metrics(similar: Similarity) -> dict[str, Tensor]:
    """Accuracy and cosines of positives and negatives.

    `accuracy`: share of queries whose positive is the most similar candidate. `positive`: its mean cosine.
    `negative`: mean cosine of the other candidates.
    """
    values, columns = similar.values, similar.positive[:, None]
    positive = values.gather(1, columns)
    other = torch.ones_like(values, dtype=torch.bool).scatter(1, columns, False)
    if similar.hidden is not None:
        other &= ~similar.hidden
    best = values.masked_fill(~other, -torch.inf).amax(1)
    return {
        "accuracy": (positive[:, 0] > best).to(values.dtype).mean(),
        "positive": positive.mean(),
        "negative": (values * other).sum() / other.sum().clamp(min=1),
    }
