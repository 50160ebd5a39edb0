"""Hard patch masking (after HPM), with a loss predictor that is solved in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from sslkit.interfaces import Draw, Encode, Mask, Masker, Scene
from sslkit_maskers.guided.ranking import hide_highest
from sslkit_maskers.patch_shares import Counts


@final
class DifficultySampler(Masker):
    """Predicts each patch's loss from its features by ridge regression on the patches hidden so far.

    All that it learns are second moments of features and losses; `weight` follows from them. It is 0 before the
    first step, so that masks are random then.
    """

    gram: Tensor
    cross: Tensor
    weight: Tensor

    def __init__(self, view: str, net: str, counts: Counts, *, dim: int, decay: float, ridge: float) -> None:
        """A sampler for features of width `dim`; `decay` is the share of the old moments kept at each step."""
        super().__init__()
        self.passes = (Encode(view, net=net),)
        self.visible: int | None = counts.visible
        self.most, self.guided = counts.hidden, counts.guided
        self.decay, self.ridge = decay, ridge
        self.register_buffer("gram", torch.zeros(dim, dim))
        self.register_buffer("cross", torch.zeros(dim))
        self.register_buffer("weight", torch.zeros(dim))

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        scores = (_features(scene) * self.weight).sum(-1)  # no matmul: autocast would round it
        return hide_highest(draw, scores, self.guided, self.most)

    def observe(self, scene: Scene, mask: Mask, scores: Tensor | None) -> Mapping[str, Tensor]:
        """Sums of products over the micro-batch's hidden patches, one row each; nothing without `scores`."""
        if scores is None:
            return {}
        count = mask.hidden.sum(-1, keepdim=True).clamp(min=1)
        loss = _standardized(_placed(mask, scores), mask.hidden, count).flatten()
        features = _features(scene)
        mean = (features * mask.hidden[..., None]).sum(-2, keepdim=True) / count[..., None]
        centered = ((features - mean) * mask.hidden[..., None]).flatten(0, -2)
        return {
            "gram": (centered.T @ centered)[None],
            "cross": (centered.T @ loss)[None],
            "count": mask.hidden.sum()[None],
        }

    def commit(self, rows: Mapping[str, Tensor]) -> None:
        """Decay the moments towards the step's, and solve for the weights."""
        total = rows["count"].sum().clamp(min=1)
        self.gram.lerp_(rows["gram"].sum(0) / total, 1 - self.decay)
        self.cross.lerp_(rows["cross"].sum(0) / total, 1 - self.decay)
        self.weight.copy_(ridge_solution(self.gram, self.cross, self.ridge))


def ridge_solution(gram: Tensor, cross: Tensor, ridge: float) -> Tensor:
    """The w of (G + ridge tr(G) / D I) w = c, `[D]`, for `gram` `[D, D]` and `cross` `[D]`; in float64, without a sync.

    The factorization does not look whether it succeeded: the ridge keeps the matrix positive definite, and what
    is added to it keeps it so where all features are alike.
    """
    matrix, side = gram.double(), cross.double()
    extra = ridge * matrix.diagonal().mean() + torch.finfo(gram.dtype).tiny
    factor = torch.linalg.cholesky_ex(
        matrix + extra * torch.eye(len(side), dtype=side.dtype, device=side.device)
    )
    return torch.cholesky_solve(side[:, None], factor.L)[:, 0].to(gram.dtype)


def _features(scene: Scene) -> Tensor:
    """Features of every patch, `[*rows, N, D]` float32, of mean 0 and variance 1."""
    patch = scene.tokens[0].patch.float()
    return F.layer_norm(patch, patch.shape[-1:])


def _placed(mask: Mask, scores: Tensor) -> Tensor:
    """`scores` `[L]` at their patches, `[V, B, N]` float32; 0 where nothing is hidden."""
    real = torch.where(mask.per_image > 0, scores.float(), 0.0)
    flat = torch.zeros(mask.hidden.numel(), device=scores.device).scatter_add(0, mask.flat, real)
    return flat.view_as(mask.hidden)


def _standardized(loss: Tensor, hidden: Tensor, count: Tensor) -> Tensor:
    """`loss` `[V, B, N]` with mean 0 and variance 1 over each image's hidden patches, 0 elsewhere."""
    mean = (loss * hidden).sum(-1, keepdim=True) / count
    centered = (loss - mean) * hidden
    deviation = (centered.square().sum(-1, keepdim=True) / count).sqrt()
    return centered / deviation.clamp(min=torch.finfo(loss.dtype).eps)
