"""Losses of joint embeddings. V crops, B images (at least 2), D width, K prototypes; all in at least float32."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.info_nce import unit
from sslkit.functional.precision import at_least_float32
from sslkit.functional.vicreg_terms import covariance, variance
from sslkit.functional.whitening import whiten

EPS = 1e-5  # of the batch norm without scale and shift that standardizes (Barlow Twins `main.py`, `BarlowTwins.bn`)


def agreement(predictions_VBD: Tensor, goals_VBD: Tensor) -> Tensor:
    """Mean cosine of the prediction from a crop and the goal of another crop of the image: a scalar.

    Every crop predicts every other one, and all pairs weigh the same.
    """
    p, goals = unit(predictions_VBD), unit(goals_VBD)
    cosines = [(p * goals.roll(shift, 0)).sum(-1).mean() for shift in range(1, len(p))]
    return torch.stack(cosines).mean()


def byol(predictions_VBD: Tensor, goals_VBD: Tensor) -> Tensor:
    """BYOL: 2 - 2 cos, summed over both directions; with more crops, twice its mean over pairs."""
    return 4 - 4 * agreement(predictions_VBD, goals_VBD.detach())


def simsiam(predictions_VBD: Tensor, embeddings_VBD: Tensor) -> Tensor:
    """SimSiam: -cos of predictions and the embeddings of other crops, which get no gradient; mean over directions."""
    return -agreement(predictions_VBD, embeddings_VBD.detach())


def barlow_twins(embeddings_VBD: Tensor, redundancy: float = 0.0051, scale: float = 1.0) -> Tensor:
    """Barlow Twins: correlations of one crop's dimensions with another's, against the identity; mean over pairs.

    Defaults: the paper's weight of what is off the diagonal, and its loss unscaled.
    """
    x_VBD = standardized(at_least_float32(embeddings_VBD))
    pairs = [correlation_loss(x, y, redundancy) for x, y in combinations(x_VBD.unbind(), 2)]
    return scale * torch.stack(pairs).mean()


def standardized(x_VBD: Tensor) -> Tensor:
    """Each dimension of each crop with mean 0 and variance 1 over images."""
    var, mean = torch.var_mean(x_VBD, dim=-2, correction=0, keepdim=True)
    return (x_VBD - mean) * (var + EPS).rsqrt()


def correlation_loss(x_BD: Tensor, y_BD: Tensor, redundancy: float) -> Tensor:
    """Sum of (C_ii - 1)^2 and of `redundancy` C_ij^2, for the correlations C of standardized x and y."""
    with torch.autocast(x_BD.device.type, enabled=False):
        correlations = x_BD.mT @ y_BD / len(x_BD)
    diagonal = correlations.diagonal()
    other = correlations.square().sum() - diagonal.square().sum()
    return (diagonal - 1).square().sum() + redundancy * other


def vicreg(
    embeddings_VBD: Tensor, *, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
) -> Tensor:
    """VICReg: crops close to each other, dimensions that vary over images and do not covary. Weights: the paper's."""
    weights = {"invariance": invariance, "variance": variance, "covariance": covariance}
    return weighted(vicreg_terms(embeddings_VBD), weights)


def weighted(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The sum of `terms`, each times its weight."""
    total = sum(weights[name] * value for name, value in terms.items())
    assert isinstance(total, Tensor), "there are terms"
    return total


def vicreg_terms(x_VBD: Tensor) -> dict[str, Tensor]:
    """VICReg's three terms by name.

    `invariance`: mean squared difference of two crops, mean over pairs. `variance`: mean over crops. `covariance`:
    sum over two crops, twice the mean over more.
    """
    x_VBD = at_least_float32(x_VBD)
    apart = [F.mse_loss(x_VBD, x_VBD.roll(shift, 0)) for shift in range(1, len(x_VBD))]
    return {
        "invariance": torch.stack(apart).mean(),
        "variance": variance(x_VBD).mean(),
        "covariance": 2 * covariance(x_VBD).mean(),
    }


def distance_to_center(x_VBD: Tensor, crops: int | None = None) -> Tensor:
    """LeJEPA: mean squared distance of all crops to the mean of the first `crops` of them; None: of all."""
    x_VBD = at_least_float32(x_VBD)
    return (x_VBD[:crops].mean(0) - x_VBD).square().mean()


def second_moment(x_VBD: Tensor) -> Tensor:
    """Mean of x x^T over all rows, not centered: `[D, D]`."""
    rows = x_VBD.flatten(0, -2)
    with torch.autocast(rows.device.type, enabled=False):
        return rows.mT @ rows / len(rows)


def tico_terms(
    queries_VBD: Tensor, keys_UBD: Tensor, moments_DD: Tensor, *, same_crops: bool = False
) -> dict[str, Tensor]:
    """TiCo's terms by name, of embeddings of any length; scalars in at least float32.

    `invariance`: -cos of queries and keys, mean over pairs of crops. `contrast`: mean of q C q.

    Args:
        queries_VBD: of the online network.
        keys_UBD: of its moving average.
        moments_DD: C, which gets no gradient.
        same_crops: whether both are of the same crops; a crop is then not its own key.
    """
    queries, keys = unit(queries_VBD), unit(keys_UBD)
    cosine = agreement(queries, keys) if same_crops else (queries[:, None] * keys).sum(-1).mean()
    with torch.autocast(queries.device.type, enabled=False):
        contrast = ((queries @ moments_DD.to(queries.dtype)) * queries).sum(-1).mean()
    return {"invariance": -cosine, "contrast": contrast}


def wmse(x_VBD: Tensor, size: int, eps: float = 0.0, *, normalize: bool = True) -> Tensor:
    """W-MSE: 2 - 2 cos of crops, each whitened by itself in groups of `size` images; mean over pairs of crops.

    Args:
        x_VBD: embeddings, in the order in which images form groups.
        size: images of a group; it divides their number and exceeds the width.
        eps: share of the identity in covariances.
        normalize: otherwise the mean squared difference.
    """
    whitened = whiten(x_VBD.unflatten(1, (-1, size)), eps).flatten(1, 2)
    if normalize:
        return 2 - 2 * agreement(whitened, whitened)
    pairs = [F.mse_loss(x, y) for x, y in combinations(whitened.unbind(), 2)]
    return torch.stack(pairs).mean()


def swapped(logits_VBK: Tensor, codes_GBK: Tensor) -> Tensor:
    """SwAV: -sum_k code_k log softmax(logits)_k, mean over images and over pairs of different crops.

    Args:
        logits_VBK: cosines with prototypes over a temperature, the G global crops first.
        codes_GBK: assignments of the global crops, rows that sum to 1, as `sinkhorn` gives them.
    """
    logits_VBK = at_least_float32(logits_VBK)
    scores_GV = codes_GBK.flatten(1) @ logits_VBK.log_softmax(-1).flatten(1).mT / logits_VBK.shape[1]
    pairs = len(codes_GBK) * (len(logits_VBK) - 1)
    return (scores_GV.diagonal().sum() - scores_GV.sum()) / pairs
