"""Losses of matching pairs: CLIP's softmax and SigLIP's sigmoid. B pairs of this rank, L of all, D width.

Embeddings have length 1 already: the losses do not see to it, as those of open_clip and big_vision do not.
"""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from sslkit.functional.all_gather import all_rows
from sslkit.functional.info_nce import Gather, gathered
from sslkit.functional.precision import at_least_float32

CHUNK = 256
"""Columns of the B x L matrix that SigLIP's loss holds at once."""


def clip(
    first: Tensor,
    second: Tensor,
    scale: Tensor | float,
    bias: Tensor | float = 0.0,
    *,
    gather: Gather = "gradient",
) -> Tensor:
    """CLIP: the mean of both cross-entropies, of a row's partner among all rows of the other side.

    Args:
        first: `[B, D]` of length 1, as of images.
        second: `[B, D]` of length 1, as of texts; row i belongs to row i of `first`.
        scale: what cosines are multiplied by, so the exponential of a learned parameter (CLIP: from 1/0.07 to 100).
        bias: added to the product (open_clip's `init_logit_bias`; CLIP: none).
        gather: of several ranks. `gradient`: the mean over ranks is the loss of one process on the joined batch, and
            so is its gradient (open_clip's `--local-loss --gather-with-grad`). `values`: every rank has the loss of
            all rows, and gradients of its own rows alone, so the average over ranks is 1/ranks of the gradient
            (open_clip by default). `none`: each rank by itself.

    Returns:
        A scalar, in at least float32.
    """
    firsts, seconds = at_least_float32(first), at_least_float32(second)
    columns, rows = gathered(seconds, gather), gathered(firsts, gather)
    if gather == "values":
        firsts, seconds, start = rows.rows, columns.rows, 0
    else:
        start = columns.first
    partners = torch.arange(start, start + len(firsts), device=first.device)
    with torch.autocast(first.device.type, enabled=False):
        forth = F.cross_entropy(scale * (firsts @ columns.rows.mT) + bias, partners)
        back = F.cross_entropy(scale * (seconds @ rows.rows.mT) + bias, partners)
    return (forth + back) / 2


def siglip(
    first: Tensor,
    second: Tensor,
    scale: Tensor | float,
    bias: Tensor | float,
    *,
    gather: bool = True,
    chunk: int = CHUNK,
) -> Tensor:
    """SigLIP: -log sigmoid(+-(scale * cosine + bias)), summed over all pairs and divided by the rows, not by the pairs.

    The gradient is made along with the loss, `chunk` columns at a time, so memory grows with B and not with B x L.

    Args:
        first: `[B, D]` of length 1.
        second: `[B, D]` of length 1; row i belongs to row i of `first`.
        scale: what cosines are multiplied by, the exponential of a learned parameter (SigLIP: from 10).
        bias: added to the product (SigLIP: from -10).
        gather: whether rows of other ranks are negatives, with gradient. The mean over ranks is then the loss of one
            process on the joined batch.
        chunk: columns at a time, at least 1.

    Returns:
        A scalar, in at least float32.
    """
    rows, columns = at_least_float32(first), at_least_float32(second)
    start = 0
    if gather:
        start, columns = gathered(columns.detach()).first, all_rows(columns)
    factor, shift = (torch.as_tensor(x, dtype=rows.dtype, device=rows.device) for x in (scale, bias))
    with torch.autocast(rows.device.type, enabled=False):
        loss: Tensor = _Sigmoid.apply(rows, columns, factor, shift, start, chunk)
    return loss


@final
class _Sigmoid(torch.autograd.Function):
    """The loss of rows against columns, of which `start + i` belongs to row i, and its gradients in one sweep."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, rows: Tensor, columns: Tensor, scale: Tensor, bias: Tensor, start: int, chunk: int
    ) -> Tensor:
        total, d_scale, d_bias = (rows.new_zeros(()) for _ in range(3))
        d_rows, d_columns = torch.zeros_like(rows), []
        places = start + torch.arange(len(rows), device=rows.device)
        for begin in range(0, len(columns), chunk):
            part = columns[begin : begin + chunk]
            numbers = begin + torch.arange(len(part), device=rows.device)
            cosines = rows @ part.mT
            logits = scale * cosines + bias
            signed = torch.where(places[:, None] == numbers, logits, -logits)
            total = total - F.logsigmoid(signed).sum()  # softplus is rounded above 20, by up to 2e-9
            slope = torch.where(places[:, None] == numbers, -(-signed).sigmoid(), (-signed).sigmoid())
            d_scale, d_bias = d_scale + (slope * cosines).sum(), d_bias + slope.sum()
            d_rows = d_rows + scale * (slope @ part)
            d_columns.append(scale * (slope.mT @ rows))
        count = len(rows)
        ctx.save_for_backward(d_rows / count, torch.cat(d_columns) / count, d_scale / count, d_bias / count)
        return total / count

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved: tuple[Tensor, ...] = ctx.saved_tensors  # type: ignore[attr-defined]
        return *(gradients[0] * part for part in saved), None, None
