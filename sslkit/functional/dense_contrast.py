"""Contrast of patches (DenseCL). B images, N patches of queries, M of keys, D width, K places of a queue."""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit.functional.info_nce import Keys, Similarity, similarity, unit


@torch.no_grad()
def best_matches(queries_BND: Tensor, keys_BMD: Tensor) -> Tensor:
    """The patch of the other crop with the largest cosine, `[B, N]` int64; of backbone features (DenseCL)."""
    with torch.autocast(queries_BND.device.type, enabled=False):
        return (unit(queries_BND) @ unit(keys_BMD).mT).argmax(-1)


def dense_similarity(
    queries_BND: Tensor, keys_BMD: Tensor, matches_BN: Tensor, queue_KD: Tensor
) -> Similarity:
    """Cosines of every patch with its match, and with `queue_KD`, of length 1: B x N rows of 1 + K candidates."""
    keys = unit(keys_BMD)
    matched = keys.gather(1, matches_BN[..., None].expand(-1, -1, keys.shape[-1]))
    partners = Keys(matched.flatten(0, 1), 0)
    return similarity(unit(queries_BND).flatten(0, 1), partners, queue=queue_KD, in_batch=False)
