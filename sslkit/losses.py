"""Losses of the methods as pure functions of tensors, for loops of your own: the ones that the objectives use.

V crops, B images, D width of embeddings, K prototypes, N patches. All give a scalar in at least float32, means over
images. Heads, moving averages, queues and masks are the caller's. Of several ranks, those that compare images see the
images of this rank only, but for `info_nce`, `nt_xent`, `koleo`, `clip` and `siglip`.
"""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor

from sslkit.functional.albef_terms import itc, itm, mlm
from sslkit.functional.dense_contrast import dense_similarity
from sslkit.functional.distillation_losses import between_crops, centered, cross_entropy
from sslkit.functional.feature_targets import plain_layer_norm
from sslkit.functional.info_nce import Gather, gathered, nearest, similarity, unit
from sslkit.functional.info_nce import info_nce as info_nce_of
from sslkit.functional.joint_embedding_losses import (
    barlow_twins,
    byol,
    distance_to_center,
    simsiam,
    swapped,
    tico_terms,
    vicreg,
    wmse,
)
from sslkit.functional.koleo import koleo
from sslkit.functional.masked_siamese import msn_terms, sharpened
from sslkit.functional.online_clustering import assignment_error, balanced_assignments
from sslkit.functional.pair_losses import clip, siglip
from sslkit.functional.patches import patch_statistics, patchify
from sslkit.functional.regression_losses import regression
from sslkit.functional.sinkhorn import sinkhorn
from sslkit.functional.sliced_normality import sigreg
from sslkit.functional.vicreg_terms import covariance, uniformity, variance

__all__ = [
    "barlow_twins",
    "byol",
    "capi",
    "clip",
    "covariance",
    "dense_cl",
    "dino",
    "ibot",
    "ijepa",
    "info_nce",
    "itc",
    "itm",
    "koleo",
    "lejepa",
    "mae",
    "mlm",
    "msn",
    "nnclr",
    "nt_xent",
    "siglip",
    "sigreg",
    "simsiam",
    "sinkhorn",
    "swav",
    "tico",
    "uniformity",
    "variance",
    "vicreg",
    "wmse",
]


def info_nce(
    queries: Tensor,
    keys: Tensor,
    temperature: Tensor | float = 0.2,
    queue: Tensor | None = None,
    *,
    in_batch: bool = True,
    gather: Gather = "gradient",
) -> Tensor:
    """InfoNCE of queries `[B, D]` and keys `[B, D]`, which need not have length 1.

    MoCo v2: `in_batch=False` and a `queue` `[K, D]` of earlier keys. MoCo v3: the mean of both directions times
    2 `temperature`.

    Args:
        queries: of one crop of each image.
        keys: of another, row by row.
        temperature: what cosines are divided by (MoCo v2 and v3: 0.2).
        queue: further negatives, of length 1.
        in_batch: whether the keys of other images are negatives.
        gather: whether keys of other ranks take part, and whether gradients reach them.
    """
    candidates = gathered(unit(keys), gather if in_batch else "none")
    return info_nce_of(similarity(unit(queries), candidates, queue=queue, in_batch=in_batch), temperature)


def nt_xent(
    embeddings_VBD: Tensor, temperature: Tensor | float = 0.1, *, gather: Gather = "gradient"
) -> Tensor:
    """SimCLR's loss of at least two crops; other crops of all other images are negatives. Mean over directions.

    The default temperature is the paper's for ImageNet; on CIFAR-10 it has 0.5.
    """
    crops = unit(embeddings_VBD)
    keys = [gathered(crop, gather) for crop in crops.unbind()]
    losses = [
        info_nce_of(similarity(crops[v], keys[u], within=keys[v]), temperature)
        for v, u in permutations(range(len(crops)), 2)
    ]
    return torch.stack(losses).mean()


def nnclr(
    embeddings_VBD: Tensor,
    predictions_VBD: Tensor,
    support: Tensor,
    temperature: Tensor | float = 0.1,
    *,
    gather: Gather = "gradient",
) -> Tensor:
    """NNCLR: the neighbor of each crop against predictions from every other crop; mean over directions.

    Args:
        embeddings_VBD: whose neighbors are looked up; they get no gradient.
        predictions_VBD: of the predictor.
        support: `[Q, D]` of length 1, earlier embeddings (NNCLR: of the first crop).
        temperature: what cosines are divided by (NNCLR: 0.1).
        gather: whether predictions of other ranks take part, and whether gradients reach them.
    """
    neighbors = nearest(unit(embeddings_VBD.detach()), support)
    keys = [gathered(crop, gather) for crop in unit(predictions_VBD).unbind()]
    pairs = [similarity(neighbors[v], keys[u]) for v, u in permutations(range(len(keys)), 2)]
    return torch.stack([info_nce_of(pair, temperature) for pair in pairs]).mean()


def tico(queries_BD: Tensor, keys_BD: Tensor, moments_DD: Tensor, weight: float = 8.0) -> Tensor:
    """TiCo: 1 - cos of queries and keys, and `weight` times q C q. Default: lightly's.

    Args:
        queries_BD: embeddings of one crop.
        keys_BD: what a moving average makes of another crop; without gradient if it was made so.
        moments_DD: C, moving mean of q q^T for q of length 1, this step's included; it gets no gradient.
        weight: rho.
    """
    terms = tico_terms(queries_BD[None], keys_BD[None], moments_DD.detach())
    return 1 + terms["invariance"] + weight * terms["contrast"]


def swav(
    logits_VBK: Tensor, views: int = 2, temperature: float = 0.1, epsilon: float = 0.05, iterations: int = 3
) -> Tensor:
    """SwAV: every crop predicts the assignments of the other crops among the first `views`, the global ones.

    Args:
        logits_VBK: cosines of embeddings with prototypes, which have length 1.
        views: global crops.
        temperature: of predictions (SwAV: 0.1).
        epsilon: of assignments (SwAV: 0.05).
        iterations: of Sinkhorn-Knopp (SwAV: 3).
    """
    codes = [sinkhorn(crop, epsilon, iterations) for crop in logits_VBK[:views]]
    return swapped(logits_VBK / temperature, torch.stack(codes))


def lejepa(
    embeddings_VBD: Tensor, directions_DS: Tensor, weight: float = 0.02, crops: int | None = None
) -> Tensor:
    """LeJEPA: squared distance to the mean of an image's crops, and SIGReg along the given directions.

    Args:
        embeddings_VBD: those of the large crops first.
        directions_DS: drawn anew for each step, as by `torch.randn(D, 256)`; of any length.
        weight: lambda of SIGReg (`MINIMAL.md`: 0.02; lightly: 0.05); that of the distance is 1 less it.
        crops: how many crops the mean is of; None: all (`MINIMAL.md`); lightly: the large ones.
    """
    normality = sigreg(embeddings_VBD, directions_DS).mean()
    return (1 - weight) * distance_to_center(embeddings_VBD, crops) + weight * normality


def dino(
    student_SBK: Tensor,
    teacher_VBK: Tensor,
    center: Tensor | None = None,
    *,
    student_temperature: float = 0.1,
    teacher_temperature: Tensor | float = 0.04,
) -> Tensor:
    """DINO: cross-entropy of each student crop with every other teacher crop, mean over pairs.

    Args:
        student_SBK: logits, those of the V crops that the teacher sees first.
        teacher_VBK: logits, which get no gradient.
        center: `[K]`, the moving mean of the teacher's logits.
        student_temperature: DINO: 0.1.
        teacher_temperature: DINO: from 0.04 to 0.07 over 30 epochs, or 0.04.
    """
    goal = centered(teacher_VBK.detach(), center, teacher_temperature)
    wide = student_SBK.to(goal.dtype)
    return between_crops(wide / student_temperature, goal)


def ibot(
    student_BNK: Tensor,
    teacher_BNK: Tensor,
    hidden_BN: Tensor,
    center: Tensor | None = None,
    *,
    student_temperature: float = 0.1,
    teacher_temperature: Tensor | float = 0.04,
) -> Tensor:
    """Loss of hidden patches (iBOT): mean over those of an image, then over images, 0 where none is hidden.

    Args:
        student_BNK: logits of the patches of masked images.
        teacher_BNK: logits of the same patches of whole images, which get no gradient.
        hidden_BN: bool, what was hidden from the student.
        center: `[K]`, the moving mean of the teacher's logits of patches.
        student_temperature: iBOT: 0.1.
        teacher_temperature: iBOT: from 0.04 to 0.07 over 30 epochs.
    """
    goal = centered(teacher_BNK.detach(), center, teacher_temperature)
    errors = cross_entropy(student_BNK.to(goal.dtype) / student_temperature, goal)
    return _of_hidden(errors, hidden_BN)


def mae(
    prediction_BND: Tensor, images: Tensor, hidden_BN: Tensor, *, normalize: bool = True, loss: str = "l2"
) -> Tensor:
    """MAE: mean squared error of hidden patches, mean over those of an image, then over images.

    Args:
        prediction_BND: pixels of square patches in the order (row, column, channel).
        images: `[B, C, S, S]`.
        hidden_BN: bool, what was hidden.
        normalize: whether each patch's mean and deviation are taken from its pixels (MAE's better variant: yes).
        loss: `l2`, `l1` (SimMIM, whose mean is over all hidden patches of the batch) or `smooth_l1`.
    """
    patch = int((prediction_BND.shape[-1] // images.shape[1]) ** 0.5)
    goal = patchify(images[None], patch)[0]
    if normalize:
        mean, scale = patch_statistics(goal)
        goal = (goal - mean) / scale
    return _of_hidden(regression(prediction_BND, goal, loss), hidden_BN)


def ijepa(predictions_BTD: Tensor, teacher_BTD: Tensor) -> Tensor:
    """I-JEPA: smooth l1 (beta 1) of predictions and the teacher's tokens of target blocks, those layer-normed.

    Args:
        predictions_BTD: of T patches of each block; a block of an image is a row.
        teacher_BTD: tokens of the same patches of whole images, after its last norm; they get no gradient.
    """
    return regression(predictions_BTD, plain_layer_norm(teacher_BTD.detach()), "smooth_l1", 1.0).mean()


def msn(
    anchors_SBD: Tensor,
    targets_BD: Tensor,
    prototypes_KD: Tensor,
    *,
    temperature: float = 0.1,
    sharpen: float = 0.25,
    iterations: int = 3,
    me_max: float = 1.0,
) -> Tensor:
    """MSN: anchors predict the prototypes of a target crop, and all prototypes are used. Defaults: `msn_vits16.yaml`.

    Args:
        anchors_SBD: embeddings of S crops, of any length.
        targets_BD: a moving average's of another crop of each image; they get no gradient.
        prototypes_KD: of any length; targets give them no gradient.
        temperature: what cosines are divided by.
        sharpen: T of targets.
        iterations: of Sinkhorn-Knopp on targets; 0 for none.
        me_max: weight of ln K less the entropy of the mean prediction, of all ranks.
    """
    prototypes = unit(prototypes_KD)
    goal = sharpened(unit(targets_BD.detach()) @ prototypes.detach().mT, temperature, sharpen, iterations)
    terms = msn_terms(unit(anchors_SBD) @ prototypes.mT, goal, temperature)
    return terms["prediction"] + me_max * terms["me_max"]


def dense_cl(
    queries_BND: Tensor,
    keys_BMD: Tensor,
    matches_BN: Tensor,
    queue_KD: Tensor,
    temperature: Tensor | float = 0.2,
) -> Tensor:
    """DenseCL's loss of patches, mean over all of them; `info_nce` with `in_batch=False` is that of images.

    Args:
        queries_BND: dense embeddings of one crop, of any length.
        keys_BMD: a moving average's of another crop.
        matches_BN: which key belongs to each query: the one with the largest cosine of backbone features.
        queue_KD: earlier keys of length 1, one an image: the mean over its patches.
        temperature: what cosines are divided by (DenseCL: 0.2).
    """
    return info_nce_of(dense_similarity(queries_BND, keys_BMD, matches_BN, queue_KD), temperature)


def capi(
    logits_PBK: Tensor,
    temperature: float = 0.12,
    target_temperature: float = 0.06,
    *,
    positionwise: bool = True,
) -> Tensor:
    """CAPI's clustering loss: a head's predictions against their balanced assignments, mean over patches.

    Args:
        logits_PBK: of the head, for P positions of B images.
        temperature: of predictions (CAPI: 0.12).
        target_temperature: of assignments (CAPI: 0.06).
        positionwise: prototypes are shared by the images at each position apart (CAPI), or by all patches.
    """
    goal = balanced_assignments(logits_PBK, target_temperature, positionwise=positionwise)
    return assignment_error(logits_PBK / temperature, goal).mean()


def _of_hidden(errors_BN: Tensor, hidden_BN: Tensor) -> Tensor:
    weight = hidden_BN.to(errors_BN.dtype)
    return ((errors_BN * weight).sum(1) / weight.sum(1).clamp(min=1)).mean()
