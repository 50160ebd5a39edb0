"""DINO and iBOT: 20 steps with all of their schedules, clipping by tensor, centers and a last layer that waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests import tiny
from tests.whole import straight as ref
from tests.whole.product import (
    BATCH,
    Trained,
    composed,
    float64,
    images_of,
    numbers,
    require_equal,
    train,
    weights_of,
)

SIZE, HEADS, PATCHES, K = 16, 2, 16, 12
VIEW = {"size": SIZE, "normalize": {"mean": [0.0], "std": [1.0]}}
VIEWS = {"global": {**VIEW, "crops": 2}, "local": {**VIEW, "crops": 2}}
"""Small crops of the same size: positions of others are interpolated in single precision, by timm."""
HEAD = {"layers": 2, "hidden": 16, "bottleneck": 8}
CLASS_TEMPERATURE = {"start": 0.04, "end": 0.07, "epochs": 3}
PATCH_TEMPERATURE = {"start": 0.05, "end": 0.09, "epochs": 2}
RECIPE = {
    "backbone": {**tiny.VIT, "positions": "learned"},
    "views": VIEWS,
    "nets": {"teacher": {"momentum": {"start": 0.9, "end": 1.0}}},
    "optimizer": {
        "lr": 1e-2, "betas": [0.9, 0.999], "weight_decay": {"start": 0.04, "end": 0.4},
        "clip": 0.1, "clip_per": "tensor",
    },
    "schedule": {"warmup_epochs": 1, "warmup_peak": "last", "final": 1e-6},
}  # fmt: skip
Loss = Callable[[dict[str, Tensor], dict[str, Tensor], int], Tensor]
"""(weights, centers, which are moved, and the step) -> the loss."""


def images(step: int) -> dict[str, Tensor]:
    return images_of(step, {"global": 2, "local": 2})


def distill(w: dict[str, Tensor], kind: str, fixed: bool, loss_of: Loss) -> Trained:
    """facebookresearch/dino and bytedance/ibot, `train_one_epoch`.

    `fixed`: the last layer's `weight_g` stays 1 (`norm_last_layer`).
    """
    rates = ref.linspace_then_cosine(1e-2 * 287 / 256, 1e-6, ref.PER_EPOCH)
    decays, momenta = ref.cosine(0.04, 0.4), ref.cosine(0.9, 1.0)
    centers = {"class": torch.zeros(K), "patch": torch.zeros(K)}
    optimizer, losses, head = ref.AdamW((0.9, 0.999)), [], f"objectives.{kind}"
    for step in range(ref.STEPS):
        trained = ref.leaves(w, "nets.student.", f"{head}.student_head.")
        if fixed:
            del trained[f"{head}.student_head.last_layer.weight_g"]
        loss = loss_of({**w, **trained}, centers, step)
        grads = ref.clip_each(ref.gradients(loss, trained), 0.1)
        if step < ref.PER_EPOCH:  # cancel_gradients_last_layer in the first epoch
            grads = {name: g for name, g in grads.items() if "last_layer" not in name}
        optimizer.step(w, grads, rates[step], lambda n, d=decays[step]: d if w[n].ndim > 1 else 0.0)  # type: ignore[misc]
        pairs = {"nets.teacher.": "nets.student.", f"{head}.teacher_head.": f"{head}.student_head."}
        ref.averaged(w, pairs, momenta[step])
        losses.append(loss.item())
    return Trained(losses, w)


def encode(w: dict[str, Tensor], net: str, crops: Tensor, hidden: Tensor | None = None) -> Tensor:
    """`[V, B, C, S, S]` -> tokens `[V, B, 1 + N, D]`."""
    gone = None if hidden is None else hidden.flatten(0, 1)
    tokens = ref.vit(crops.flatten(0, 1), w, net, HEADS, w[f"{net}.net.pos_embed"], gone)
    return tokens.unflatten(0, crops.shape[:2])


def logits(w: dict[str, Tensor], head: str, x: Tensor) -> Tensor:
    """`DINOHead.forward`: two layers, length 1, and weight-normed prototypes."""
    hidden = ref.gelu(ref.linear(x, w, f"{head}.mlp.0"))
    v, g = w[f"{head}.last_layer.weight_v"], w[f"{head}.last_layer.weight_g"]
    return ref.unit(ref.linear(hidden, w, f"{head}.mlp.2")) @ (g * v / v.norm(dim=1, keepdim=True)).T


def crossed(student: Tensor, goals: Tensor) -> Tensor:
    """Mean over pairs of different crops: `DINOLoss.forward`."""
    pairs = [
        -(goal * (guess / 0.1).log_softmax(-1)).sum(-1).mean()
        for i, goal in enumerate(goals)
        for j, guess in enumerate(student)
        if i != j
    ]
    return torch.stack(pairs).mean()


def goals_of(said: Tensor, center: Tensor, temperature: float) -> Tensor:
    return ((said - center) / temperature).softmax(-1).detach()


def move(centers: dict[str, Tensor], name: str, said: Tensor) -> None:
    """`update_center`: after the loss, by the mean of raw logits."""
    centers[name] = 0.9 * centers[name] + 0.1 * said.detach().flatten(0, -2).mean(0)


def dino(w: dict[str, Tensor], centers: dict[str, Tensor], step: int) -> Tensor:
    views, temperature = images(step), ref.temperature(0.04, 0.07, 3)[step]
    said = logits(w, "objectives.dino.teacher_head", encode(w, "nets.teacher", views["global"])[:, :, 0])
    crops = torch.cat([encode(w, "nets.student", views[name])[:, :, 0] for name in ("global", "local")])
    loss = crossed(
        logits(w, "objectives.dino.student_head", crops), goals_of(said, centers["class"], temperature)
    )
    move(centers, "class", said)
    return loss


def hidden(step: int) -> Tensor:
    """`[2, B, N]`: another number of patches in each crop, none in the first one."""
    order = numbers(f"blocks {step}", 2, BATCH, PATCHES).argsort(dim=-1)
    counts = torch.arange(2 * BATCH).view(2, BATCH, 1) // 2
    return torch.zeros(2, BATCH, PATCHES, dtype=torch.bool).scatter(2, order, torch.arange(PATCHES) < counts)


def ibot(w: dict[str, Tensor], centers: dict[str, Tensor], step: int) -> Tensor:
    """`iBOTLoss.forward` with a shared head and weights of 1."""
    views, gone = images(step), hidden(step)
    said = logits(w, "objectives.ibot.teacher_head", encode(w, "nets.teacher", views["global"]))
    masked = encode(w, "nets.student", views["global"], gone)
    crops = torch.cat([masked[:, :, 0], encode(w, "nets.student", views["local"])[:, :, 0]])
    goals = goals_of(said[:, :, 0], centers["class"], ref.temperature(0.04, 0.07, 3)[step])
    of_class = crossed(logits(w, "objectives.ibot.student_head", crops), goals)
    goals = goals_of(said[:, :, 1:], centers["patch"], ref.temperature(0.05, 0.09, 2)[step])
    guess = logits(w, "objectives.ibot.student_head", masked[:, :, 1:])
    errors = -(goals * (guess / 0.1).log_softmax(-1)).sum(-1)
    of_patches = ((errors * gone).sum(-1) / gone.sum(-1).clamp(min=1)).mean()
    move(centers, "class", said[:, :, 0])
    move(centers, "patch", said[:, :, 1:])
    return of_class + of_patches


def test_dino() -> None:
    objective = {"kind": "dino", "prototypes": K, "head": HEAD, "teacher_temperature": CLASS_TEMPERATURE}
    with float64():
        made = composed(**RECIPE, objective=objective)
        with torch.no_grad():
            for name, p in made.system.named_parameters():
                if name.endswith("weight_g"):
                    p.fill_(1.0)
        expected = distill(weights_of(made), "dino", True, dino)
        require_equal(train(made, images), expected, "dino")
        assert len(set(expected.losses)) == ref.STEPS, "every step changed something"


def test_ibot() -> None:
    objective: dict[str, Any] = {
        "kind": "ibot",
        "prototypes": K,
        "head": HEAD,
        "norm_last_layer": False,
        "teacher_temperature": CLASS_TEMPERATURE,
        "patch_temperature": PATCH_TEMPERATURE,
        "masker": {"kind": "bernoulli", "ratio": 0.5},
    }
    with float64():
        made = composed(**RECIPE, objective=objective)
        expected = distill(weights_of(made), "ibot", False, ibot)
        require_equal(train(made, images, hidden), expected, "ibot")
        assert len(set(expected.losses)) == ref.STEPS, "every step changed something"
