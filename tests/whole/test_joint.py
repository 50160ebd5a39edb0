"""MoCo v3 and SwAV: 20 steps with batch norm in heads, keys that move first, and prototypes that wait."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.whole import straight as ref
from tests.whole.product import BATCH, Trained, composed, float64, images_of, require_equal, train, weights_of

SIZE, HEADS, ROWS = 16, 2, 4
EPS = 1e-4
"""Of Adam: a bias whose unit is active in every row is undone by the batch norm behind, so its gradient is rounding."""
VIEW = {"size": SIZE, "normalize": {"mean": [0.0], "std": [1.0]}}


def features(w: dict[str, Tensor], net: str, crop: Tensor) -> Tensor:
    """Class tokens `[B, D]` of one crop."""
    return ref.vit(crop, w, net, HEADS, ref.sincos(ROWS, 16))[:, 0]


def two_crops(step: int) -> dict[str, Tensor]:
    return images_of(step, {"global": 2})


def head(w: dict[str, Tensor], name: str, x: Tensor, layers: int) -> Tensor:
    """moco-v3 `moco/builder.py` _build_mlp: linear, batch norm and ReLU; the last batch norm is plain."""
    for i in range(layers):
        x = ref.batch_norm(ref.linear(x, w, f"{name}.layers.{3 * i}"), w, f"{name}.layers.{3 * i + 1}")
        x = x.relu() if i < layers - 1 else x
    return x


def moco_v3(w: dict[str, Tensor]) -> Trained:
    """facebookresearch/moco-v3 `main_moco.py`, `moco/builder.py`: AdamW decays every parameter."""
    rates, momenta = ref.share_then_cosine(2e-3 * 287 / 256, 0.0, 5), ref.cosine(0.9, 1.0)
    optimizer, losses, name = ref.AdamW((0.9, 0.999), EPS), [], "objectives.moco_v3"
    pairs = {"nets.teacher.": "nets.student.", f"{name}.key_projector.": f"{name}.projector."}
    for step in range(ref.STEPS):
        ref.averaged(w, pairs, momenta[step])
        trained = ref.leaves(w, "nets.student.", f"{name}.projector.", f"{name}.predictor.")
        trained = {n: v for n, v in trained.items() if not n.endswith("pos_embed")}
        loss = moco_v3_loss({**w, **trained}, two_crops(step)["global"])
        optimizer.step(w, ref.gradients(loss, trained), rates[step], lambda _: 0.1)
        losses.append(loss.item())
    return Trained(losses, w)


def moco_v3_loss(w: dict[str, Tensor], crops: Tensor) -> Tensor:
    name, total = "objectives.moco_v3", torch.zeros(())
    queries = [
        head(w, f"{name}.predictor", head(w, f"{name}.projector", features(w, "nets.student", x), 3), 2)
        for x in crops
    ]
    keys = [head(w, f"{name}.key_projector", features(w, "nets.teacher", x), 3).detach() for x in crops]
    for q, k in ((queries[0], keys[1]), (queries[1], keys[0])):
        similarity = ref.unit(q) @ ref.unit(k).T / 0.2
        total = total + F.cross_entropy(similarity, torch.arange(BATCH)) * (2 * 0.2)
    return total


def test_moco_v3() -> None:
    objective = {
        "kind": "moco_v3",
        "projector": {"hidden": 12, "out": 8},
        "predictor": {"hidden": 12, "out": 8},
    }
    with float64():
        made = composed(
            views={"global": {**VIEW, "crops": 2}},
            nets={"teacher": {"momentum": {"start": 0.9, "end": 1.0}, "update": "before_forward"}},
            objective=objective,
            optimizer={
                "lr": 2e-3, "betas": [0.9, 0.999], "weight_decay": 0.1, "decay_one_dimensional": True,
                "eps": EPS,
            },
            schedule={"warmup_epochs": 1},
        )  # fmt: skip
        expected = moco_v3(weights_of(made))
        require_equal(train(made, two_crops), expected, "moco_v3")
        assert len(set(expected.losses)) == ref.STEPS, "every step changed something"


def all_crops(step: int) -> dict[str, Tensor]:
    return images_of(step, {"global": 2, "local": 2})


def swav(w: dict[str, Tensor]) -> Trained:
    """facebookresearch/swav `main_swav.py`, with the project's LARS in the place of apex's LARC."""
    rates, optimizer, losses = ref.linspace_then_cosine(2.0, 0.02, 5, start=0.1), ref.LARS(), []
    prototypes = "objectives.swav.prototypes.weight"
    for step in range(ref.STEPS):
        w[prototypes] = ref.unit(w[prototypes])
        trained = ref.leaves(
            {n: v for n, v in w.items() if not n.endswith("pos_embed")}, "nets.", "objectives."
        )
        views = all_crops(step)
        loss = swav_loss({**w, **trained}, torch.cat([views["global"], views["local"]]))
        grads = ref.gradients(loss, trained)
        if step < 3:  # --freeze_prototypes_niters
            del grads[prototypes]
        optimizer.step(w, grads, rates[step], 1e-3)
        losses.append(loss.item())
    w[prototypes] = ref.unit(w[prototypes])
    return Trained(losses, w)


def swav_loss(w: dict[str, Tensor], crops: Tensor) -> Tensor:
    """`train`: assignments of the first two crops, predicted from each of the others."""
    name = "objectives.swav.projector.layers"
    x = torch.cat([features(w, "nets.student", crop) for crop in crops])
    x = ref.batch_norm(ref.linear(x, w, f"{name}.0"), w, f"{name}.1").relu()
    scores = ref.unit(ref.linear(x, w, f"{name}.3")) @ w["objectives.swav.prototypes.weight"].T
    output, total = scores.view(len(crops), BATCH, -1), torch.zeros(())
    for i in range(2):
        codes = sinkhorn((output[i].detach() / 0.05).exp().T)
        others = [output[v] for v in range(len(crops)) if v != i]
        total = total - sum((codes * (x / 0.1).log_softmax(-1)).sum(1).mean() for x in others) / len(others)
    return total / 2


def sinkhorn(q: Tensor) -> Tensor:
    """`distributed_sinkhorn`, `[K, B]` -> `[B, K]`."""
    q = q / q.sum()
    for _ in range(3):
        q = q * (1 / len(q) / q.sum(1, keepdim=True))
        q = q * (1 / q.shape[1] / q.sum(0, keepdim=True))
    return (q / q.sum(0, keepdim=True)).T


def test_swav() -> None:
    with float64():
        made = composed(
            views={"global": {**VIEW, "crops": 2}, "local": {**VIEW, "crops": 2}},
            objective={
                "kind": "swav", "local": "local", "prototypes": 10, "freeze_steps": 3,
                "projector": {"hidden": 12, "out": 8},
            },
            optimizer={
                "name": "lars", "lr": 2.0, "scale": "absolute", "weight_decay": 1e-3, "decay_one_dimensional": True,
            },
            schedule={"warmup_epochs": 1, "warmup_start": 0.1, "warmup_peak": "last", "final": 0.02},
        )  # fmt: skip
        expected = swav(weights_of(made))
        made.system.objectives["swav"].commit(
            {}
        )  # as after every step: the first one sees prototypes of length 1
        require_equal(train(made, all_crops), expected, "swav")
        assert len(set(expected.losses)) == ref.STEPS, "every step changed something"
