"""MAE and data2vec: 20 steps with warm-up, cosine, decay by groups, clipping and a moving average."""

from __future__ import annotations

import torch
import torch.nn.functional as F
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

SIZE, PATCH, HEADS, ROWS = 16, 4, 2, 4
VIEW = {"size": SIZE, "normalize": {"mean": [0.0], "std": [1.0]}}
BEIT = {
    **tiny.VIT,
    "name": "beit_base_patch16_224",
    "depth": 4,
    "positions": "relative",
    "layer_scale": 0.1,
    "init": "beit",
}


def images(step: int) -> dict[str, Tensor]:
    return images_of(step, {"global": 1})


def hidden(step: int) -> Tensor:
    """`[1, B, N]`: half of the patches of each image."""
    order = numbers(f"mask {step}", 1, BATCH, ROWS * ROWS).argsort(dim=-1)
    return torch.zeros(1, BATCH, ROWS * ROWS, dtype=torch.bool).scatter(
        2, order[..., : ROWS * ROWS // 2], True
    )


def mae(w: dict[str, Tensor]) -> Trained:
    """facebookresearch/mae `engine_pretrain.py`, `models_mae.py`: batch 287 at 1.5e-2 for 256, 3 steps of warm-up."""
    rates, optimizer, losses = ref.share_then_cosine(1.5e-2 * 287 / 256, 0.0, 3), ref.AdamW((0.9, 0.95)), []
    for step in range(ref.STEPS):
        trained = ref.leaves(
            {n: v for n, v in w.items() if not n.endswith("pos_embed")}, "nets.", "objectives."
        )
        loss = mae_loss({**w, **trained}, images(step)["global"][0], hidden(step)[0])
        grads = ref.gradients(loss, trained)
        optimizer.step(w, grads, rates[step], lambda n: 0.05 if w[n].ndim > 1 else 0.0)
        losses.append(loss.item())
    return Trained(losses, w)


def mae_loss(w: dict[str, Tensor], x: Tensor, gone: Tensor) -> Tensor:
    """`forward_encoder`, `forward_decoder` and `forward_loss` with normalized pixels; visible tokens in order."""
    net, head = "nets.student", "objectives.mae.decoder"
    keep = (~gone).nonzero()[:, 1].view(len(x), -1, 1)
    tokens = ref.embed(x, w, net) + ref.sincos(ROWS, 16)[:, 1:]
    tokens = tokens.gather(1, keep.expand(-1, -1, 16))
    tokens = torch.cat([w[f"{net}.net.cls_token"].expand(len(x), -1, -1), tokens], dim=1)
    for i in range(2):
        tokens = ref.block(tokens, w, f"{net}.net.blocks.{i}", HEADS)
    tokens = ref.linear(ref.layer_norm(tokens, w, f"{net}.net.norm"), w, f"{head}.embed")
    places = w[f"{head}.mask_token"].expand(len(x), ROWS * ROWS, -1)
    filled = places.scatter(1, keep.expand(-1, -1, 12), tokens[:, 1:])
    y = torch.cat([tokens[:, :1], filled], dim=1) + ref.sincos(ROWS, 12)
    y = ref.layer_norm(ref.block(y, w, f"{head}.blocks.0", HEADS), w, f"{head}.norm")
    guess = ref.linear(y, w, f"{head}.head")[:, 1:]
    goal = ref.patches_of(x, PATCH).permute(0, 1, 3, 4, 2).flatten(2)
    goal = (goal - goal.mean(-1, keepdim=True)) / (goal.var(-1, keepdim=True) + 1e-6).sqrt()
    error = (guess - goal).square().mean(-1)
    return (error * gone).sum() / gone.sum()


def test_mae() -> None:
    objective = {
        "kind": "mae",
        "masker": {"kind": "random", "ratio": 0.5},
        "decoder": {"width": 12, "depth": 1, "heads": 2},
    }
    with float64():
        made = composed(
            views={"global": VIEW},
            objective=objective,
            optimizer={"lr": 1.5e-2},
            schedule={"warmup_epochs": 0.6},
        )
        expected = mae(weights_of(made))
        require_equal(train(made, images, hidden), expected, "mae")
        assert len(set(expected.losses)) == ref.STEPS, "every step changed something"


def data2vec(w: dict[str, Tensor]) -> Trained:
    """facebookresearch/data2vec_vision `engine_for_cyclical.py`, `run_cyclical.py`, with every schedule on."""
    rates, optimizer, losses = ref.linspace_then_cosine(2e-2, 1e-4, 5), ref.AdamW((0.9, 0.999)), []
    for step in range(ref.STEPS):
        trained = ref.leaves(w, "nets.student.", "objectives.")
        loss = data2vec_loss({**w, **trained}, images(step)["global"][0], hidden(step)[0])
        grads = ref.clip_whole(ref.gradients(loss, trained), 0.05)
        optimizer.step(
            w, grads, rates[step], lambda n: 0.05 if w[n].ndim > 1 and "cls_token" not in n else 0.0
        )
        ref.averaged(w, {"nets.teacher.": "nets.student."}, 0.9 + step * (0.99 - 0.9) / ref.STEPS)
        losses.append(loss.item())
    return Trained(losses, w)


def data2vec_loss(w: dict[str, Tensor], x: Tensor, gone: Tensor) -> Tensor:
    layers = beit(x, w, "nets.teacher")[2:]
    goal = sum(F.layer_norm(layer, (16,)) for layer in layers) / len(layers)
    goal = F.layer_norm(goal, (16,))[:, 1:].detach()  # type: ignore[arg-type,union-attr]
    last = ref.layer_norm(beit(x, w, "nets.student", gone)[-1], w, "nets.student.net.norm")[:, 1:]
    guess = ref.linear(last[gone], w, "objectives.data2vec.decoder.linear")
    apart = (guess - goal[gone]).abs()
    return torch.where(apart < 2.0, 0.5 * apart.square() / 2.0, apart - 1.0).mean()


def beit(x: Tensor, w: dict[str, Tensor], net: str, gone: Tensor | None = None) -> list[Tensor]:
    """unilm/beit `modeling_finetune.py`: the outputs of all blocks, with one bias by distance for all of them."""
    tokens = ref.embed(x, w, net, gone)
    tokens = torch.cat([w[f"{net}.net.cls_token"].expand(len(x), -1, -1), tokens], dim=1)
    bias = w[f"{net}.net.rel_pos_bias.relative_position_bias_table"][distances()].permute(2, 0, 1)
    outputs = []
    for i in range(4):
        tokens = ref.block(tokens, w, f"{net}.net.blocks.{i}", HEADS, bias)
        outputs.append(tokens)
    return outputs


def distances() -> Tensor:
    """`[1 + N, 1 + N]`: the row of the table for each pair; the last three are of the class token."""
    side = 2 * ROWS - 1
    index = torch.zeros(1 + ROWS * ROWS, 1 + ROWS * ROWS, dtype=torch.int64)
    for a in range(ROWS * ROWS):
        for b in range(ROWS * ROWS):
            down, right = a // ROWS - b // ROWS + ROWS - 1, a % ROWS - b % ROWS + ROWS - 1
            index[1 + a, 1 + b] = down * side + right
    index[0, :], index[:, 0], index[0, 0] = side * side, side * side + 1, side * side + 2
    return index


def test_data2vec() -> None:
    with float64():
        made = composed(
            views={"global": VIEW},
            backbone=BEIT,
            nets={"teacher": {"momentum": {"start": 0.9, "end": 0.99, "shape": "linear"}}},
            objective={"kind": "data2vec", "masker": {"kind": "random", "ratio": 0.5}},
            optimizer={
                "lr": 2e-2, "scale": "absolute", "betas": [0.9, 0.999], "clip": 0.05, "no_decay": ["cls_token"],
            },
            schedule={"warmup_epochs": 1, "warmup_peak": "last", "final": 1e-4},
        )  # fmt: skip
        expected = data2vec(weights_of(made))
        require_equal(train(made, images, hidden), expected, "data2vec")
        assert len(set(expected.losses)) == ref.STEPS, "every step changed something"
