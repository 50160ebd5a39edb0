"""Multi-objective gradient weights (PCGrad, MGDA, CAGrad, IMTL-G, Nash-MTL) from the Gram matrix of K gradients.

`gram` `[K, K]` float64 holds the products g_i · g_j; every function returns weights w `[K]`, and the direction that
they stand for is the sum of w_i g_i. All are safe where gradients vanish, agree or cancel, make no decision on the
host, and take K = 1. The two that search a simplex look at each of its 2^K - 1 faces, so K should stay below about 10.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-12
"""Added to the diagonal of cosine matrices, so that equal and opposite gradients can be solved for."""
NASH_STEPS = 30
"""Damped Newton steps; random problems of up to 8 gradients take about 10."""
PIECE = 2**18
"""Values of a gradient that are widened at a time."""


def products(rows: Tensor) -> Tensor:
    """The Gram matrix of gradients `[K, P]`, `[K, K]` float64.

    Sums in float32 would give gradients that cancel a matrix with an eigenvalue below 0, which no gradients have: Nash
    then finds no weights at all and MGDA misses the combination that vanishes. Pieces keep the wider copy small.
    """
    pieces = [piece.double() @ piece.double().T for piece in rows.split(PIECE, dim=1)]
    return torch.stack(pieces).sum(0)


def norms(gram: Tensor) -> Tensor:
    """Lengths of the gradients, `[K]`."""
    return gram.diagonal().clamp(min=0).sqrt()


def cosines(gram: Tensor) -> Tensor:
    """Cosines of all pairs, `[K, K]`; 0 where a gradient is 0."""
    lengths = norms(gram)
    product = lengths[:, None] * lengths
    return torch.where(product > 0, gram / product.where(product > 0, 1.0), 0.0).clamp(-1, 1)


def conflict(gram: Tensor) -> Tensor:
    """Share of the pairs of different gradients whose product is negative, a 0-dim tensor; 0 where K is 1."""
    count = len(gram)
    return (gram < 0).triu(1).sum().to(gram.dtype) / max(count * (count - 1) // 2, 1)


def pcgrad(gram: Tensor, orders: Tensor) -> Tensor:
    """Weights of the sum of the gradients after PCGrad's projections (Yu et al. 2020, algorithm 1).

    Gradient i visits the others in the order `orders[i]`; with each that it conflicts with, it loses its part along
    that one. Its visit to itself is skipped, as in the paper and torchjd (two popular codes do not).

    Args:
        gram: products of the gradients.
        orders: `[K, K]` int64, each row a permutation of 0 .. K - 1.
    """
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    mixed = identity  # row i: gradient i as a combination of the original ones
    for visited in orders.unbind(1):
        product = (mixed * gram[visited]).sum(1).clamp(max=0)
        square = gram.diagonal()[visited]
        share = torch.where(
            (square > 0) & (identity.argmax(1) != visited), product / square.where(square > 0, 1.0), 0.0
        )
        mixed = mixed - share[:, None] * identity[visited]
    return mixed.sum(0)


def min_norm(gram: Tensor) -> Tensor:
    """Weights >= 0 of sum 1 of the shortest vector in the convex hull of the gradients (MGDA).

    Désidéri 2012; Sener and Koltun 2018, equation 3. Its product with every gradient is at least its own square, so
    no objective gets worse to first order; it is 0 where some combination of the gradients is.
    """
    unit, lengths = _scaled(gram)
    faces = _faces(gram)
    inverse = 1 / lengths
    solved = _on_faces(unit, faces, inverse[:, None])[..., 0]
    weights = _simplex(solved * inverse, faces)
    return _best(weights, torch.einsum("fi,ij,fj->f", weights, gram, weights))


def cagrad(gram: Tensor, c: float) -> Tensor:
    """Weights of CAGrad's direction (Liu et al. 2021, algorithm 1), without the rescaling of its code.

    Among the vectors within c |g0| of the mean g0 of the gradients, the one whose smallest product with a gradient is
    largest. It is g0 + (c |g0| / |g_w|) g_w, where w on the simplex minimizes g_w · g0 + c |g0| |g_w|. On every face of
    the simplex the minimum solves a quadratic equation. Where g_w vanishes, the weights are those of g0.
    """
    count = len(gram)
    unit, lengths = _scaled(gram)
    faces, inverse = _faces(gram), 1 / lengths
    towards = gram.mean(1)
    radius = c * gram.mean().clamp(min=0).sqrt()
    slope = towards * inverse
    solved = _on_faces(unit, faces, torch.stack([inverse, slope], dim=1))
    first, second = solved.unbind(-1)
    a, p, q = first @ inverse, second @ inverse, second @ slope
    height = (p + (p.square() - a * (q - radius.square())).clamp(min=0).sqrt()) / a
    weights = _simplex((height[:, None] * first - second) * inverse, faces)
    square = torch.einsum("fi,ij,fj->f", weights, gram, weights).clamp(min=0)
    best = _best(weights, weights @ towards + radius * square.sqrt())
    length = (best @ gram @ best).clamp(min=0).sqrt()
    moving = length > 1e-6 * lengths.mean()
    return 1 / count + torch.where(moving, radius / length.where(moving, 1.0), 0.0) * best


def imtl_g(gram: Tensor) -> Tensor:
    """Weights of sum 1 whose direction has the same product with every gradient's unit vector (Liu et al. 2021).

    Solves the linear equations of IMTL-G with the inverse of the cosine matrix. Gradients of 0 get weight 0. With three
    or more gradients the paper's sum can be negative, and its direction would raise every loss; then the sign is turned
    (sum -1). All zero: 1 / K each.
    """
    unit, lengths = _scaled(gram)
    alive = gram.diagonal() > 0
    system = unit + torch.diag((~alive).to(gram.dtype))
    right = alive.to(gram.dtype)
    weights = _solve(system, right[:, None])[:, 0] * right / lengths
    total = weights.sum().abs()
    total = torch.maximum(total, 1e-9 * weights.abs().sum())
    return torch.where(alive.any(), weights / total.where(total > 0, 1.0), 1 / len(gram))


def nash(gram: Tensor) -> Tensor:
    """The positive weights a with G a = 1 / a: the Nash bargaining solution (Navon et al. 2022, claim 3.2).

    They minimize a · G a / 2 - sum log a, which is self-concordant, so that Newton's method with the step
    1 / (1 + decrement) converges from anywhere, here with the best multiple of every iterate; the reference
    linearizes a concave part and calls a solver. The direction has the square K whatever the gradients' lengths.
    Gradients of 0 get weight 0; where gradients cancel, no solution exists and the weights are large and finite.
    """
    unit, lengths = _scaled(gram)
    alive = gram.diagonal() > 0
    system = unit + torch.diag((~alive).to(gram.dtype) + 1e-11)
    x = torch.ones_like(lengths)
    for _ in range(NASH_STEPS):
        x = x * (len(x) / (x @ system @ x)).sqrt()
        slope = system @ x - 1 / x
        move = _solve(system + torch.diag(x**-2), slope[:, None])[:, 0]
        decrement = (slope @ move).clamp(min=0).sqrt()
        x = x - move / (1 + decrement)
    return torch.where(alive, x / lengths, 0.0)


def _scaled(gram: Tensor) -> tuple[Tensor, Tensor]:
    """The cosine matrix, and lengths that are safe to divide by: at least 1e-12 of the longest, 1 if all are 0."""
    lengths = norms(gram)
    longest = lengths.max()
    safe = torch.where(longest > 0, lengths.clamp(min=1e-300).maximum(1e-12 * longest), 1.0)
    return gram / (safe[:, None] * safe), safe


def _faces(gram: Tensor) -> Tensor:
    """All subsets of the gradients but the empty one, `[2^K - 1, K]` of 0 and 1."""
    count = len(gram)
    numbers = torch.arange(1, 2**count, device=gram.device)
    return (numbers[:, None] >> torch.arange(count, device=gram.device) & 1).to(gram.dtype)


def _on_faces(matrix: Tensor, faces: Tensor, right: Tensor) -> Tensor:
    """Solve with the rows and columns of every face: `[F, K, R]` for `right` `[K, R]`, 0 off the face."""
    system = faces[:, :, None] * faces[:, None, :] * matrix + torch.diag_embed(1 - faces)
    return _solve(system, faces[:, :, None] * right)


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """`matrix` + EPS on its diagonal, solved without asking the device whether it was singular."""
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    solved: Tensor = torch.linalg.solve_ex(matrix + EPS * eye, right).result
    return solved


def _simplex(candidates: Tensor, faces: Tensor) -> Tensor:
    """Rows without their negative part, of sum 1; corners as they are. Without a positive part: not a number."""
    positive = candidates.clamp(min=0)
    corner = faces.sum(1, keepdim=True) == 1
    return torch.where(corner, faces, positive / positive.sum(1, keepdim=True))


def _best(weights: Tensor, values: Tensor) -> Tensor:
    """The row with the lowest value that is a number."""
    lowest = values.nan_to_num(nan=torch.inf).argmin(0, keepdim=True)
    return weights.index_select(0, lowest)[0]  # a tensor between brackets would be read by the host
