"""Codebook of vector quantization, learned by moving averages. K codes, d width."""

from __future__ import annotations

from typing import Literal, NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.functional.precision import at_least_float32
from sslkit.functional.vector_quantization import k_means, nearest_code, perplexity, repeated, tally, usage

Metric = Literal["cosine", "euclidean"]
ALIVE = 0.01
"""Share of an even count above which a code counts as alive."""


class Rules(NamedTuple):
    """How codes are chosen and how they move. Defaults: BEiT v2's `NormEMAVectorQuantizer`."""

    metric: Metric = "cosine"
    """`cosine`: vectors and codes of length 1, each code an average of the batches' mean directions (BEiT v2).
    `euclidean`: a code is an average sum divided by an average count (van den Oord et al. 2017, appendix A.1)."""
    beta: float = 1.0
    """Weight of the commitment loss."""
    decay: float = 0.99
    """Share of the old average kept at each step."""
    eps: float = 1e-5
    """Laplace smoothing of the average counts, `euclidean` only (vector-quantize-pytorch: 1e-5)."""
    kmeans_steps: int = 10
    """Steps of Lloyd's from which codes start, after the first step; 0 leaves them random."""
    revive: float = 0.0
    """Share of an even count below which a code is put where a vector is; 0 leaves unused codes where they are."""


class Quantized(NamedTuple):
    """Vectors as codes, with statistics for the codebook's update."""

    values: Tensor
    """`[..., d]` float32, the codes; gradients pass straight to the vectors."""
    ids: Tensor
    """`[...]` int64."""
    vectors: Tensor
    """`[..., d]` what was compared with the codes, without gradient."""
    commitment: Tensor
    """`beta` times the mean squared distance of vectors to their codes; 0-dim."""
    counts: Tensor
    """`[K]` how often each code was chosen."""
    sums: Tensor
    """`[K, d]` sums of the vectors that chose a code."""


@final
class Codebook(nn.Module):
    """Codes in buffers: `forward` reads them, `commit` moves them."""

    codes: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, size: int, dim: int, rules: Rules) -> None:
        super().__init__()
        self.rules = rules
        codes = F.normalize(torch.randn(size, dim), dim=-1)
        self.register_buffer("codes", codes)
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("sums", codes.clone())

    def forward(self, vectors: Tensor) -> Quantized:
        """Quantize `[..., d]`, in float32 whatever autocast says (BEiT v2 `norm_ema_quantizer.py:155`)."""
        with torch.autocast(vectors.device.type, enabled=False):
            z = self.compared(vectors)
            flat = z.detach().flatten(0, -2)
            ids = nearest_code(flat, self.codes)
            counts, sums = tally(flat, ids, len(self.codes))
            nearest = self.codes[ids].view_as(z)
            commitment = self.rules.beta * F.mse_loss(z, nearest)
            values = z + (nearest - z).detach()
        return Quantized(values, ids.view(z.shape[:-1]), z.detach(), commitment, counts, sums)

    def compared(self, vectors: Tensor) -> Tensor:
        """`vectors` as they are compared with codes."""
        wide = at_least_float32(vectors)
        return F.normalize(wide, dim=-1) if self.rules.metric == "cosine" else wide

    def metrics(self, counts: Tensor) -> dict[str, Tensor]:
        """How codes are used in a batch of these `counts` `[K]`, and over the last steps."""
        return {
            "usage": usage(counts),
            "perplexity": perplexity(counts),
            "alive": usage(self.counts, ALIVE),
        }

    @torch.no_grad()
    def commit(self, counts: Tensor, sums: Tensor, sample: Tensor, step: int) -> None:
        """Move the codes after step number `step`.

        Args:
            counts: `[K]` how often each code was chosen in the whole batch.
            sums: `[K, d]` sums of the vectors that chose it.
            sample: `[M, d]` some vectors of the batch, to start from and to revive codes with.
            step: 0 starts the codes by k-means where the rules ask for it; seeds the choice from `sample`.
        """
        generator = torch.Generator().manual_seed(step)
        order = torch.randperm(len(sample), generator=generator).to(sample.device)
        if step == 0 and self.rules.kmeans_steps:
            self._start(sample[order], counts.sum())
            return
        if self.rules.metric == "cosine":
            self._follow_directions(counts, sums)
        else:
            self._follow_sums(counts, sums)
        if self.rules.revive:
            self._revive(sample[order])

    def _start(self, sample: Tensor, total: Tensor) -> None:
        """k-means from random vectors. Where there are fewer different ones than codes, the other codes stay random.

        Of two equal codes the rounding of a processor would choose.
        """
        count = min(len(sample), len(self.codes))
        unit = self.rules.metric == "cosine"
        start = torch.where(repeated(sample[:count])[:, None], self.codes[:count], sample[:count])
        centers, counts = k_means(sample, start, self.rules.kmeans_steps, unit=unit)
        self.codes[:count] = centers
        self.counts.zero_()
        self.counts[:count] = counts * (total / len(sample))
        self.sums.copy_(self.codes * self.counts[:, None])

    def _follow_directions(self, counts: Tensor, sums: Tensor) -> None:
        """BEiT v2 `norm_ema_quantizer.py:175-192`: a code that was not chosen stays as it is."""
        self.counts.lerp_(counts, 1 - self.rules.decay)
        means = F.normalize(sums / counts.clamp(min=1)[:, None], dim=-1)
        means = torch.where(counts[:, None] > 0, means, self.codes)
        self.codes.copy_(F.normalize(self.codes.lerp(means, 1 - self.rules.decay), dim=-1))
        self.sums.copy_(self.codes * self.counts[:, None])

    def _follow_sums(self, counts: Tensor, sums: Tensor) -> None:
        """vector-quantize-pytorch `EuclideanCodebook`, smoothing included."""
        self.counts.lerp_(counts, 1 - self.rules.decay)
        self.sums.lerp_(sums, 1 - self.rules.decay)
        total, eps = self.counts.sum(), self.rules.eps
        smooth = (self.counts + eps) / (total + len(self.codes) * eps) * total
        self.codes.copy_(self.sums / smooth[:, None])

    def _revive(self, sample: Tensor) -> None:
        """Codes that are chosen too rarely become vectors of `sample`, with the least count that is spared."""
        least = self.rules.revive * self.counts.mean()
        dead = self.counts < least
        places = torch.arange(len(self.codes), device=sample.device) % len(sample)
        self.codes.copy_(torch.where(dead[:, None], sample[places], self.codes))
        self.counts.copy_(torch.where(dead, least, self.counts))
        self.sums.copy_(torch.where(dead[:, None], self.codes * least, self.sums))
