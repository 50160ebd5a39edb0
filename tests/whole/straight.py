"""Straight-line reference code in plain torch, written from the references and without anything of the product.

Weights are a dict from the product's names to tensors; a network is a function of such a dict and a prefix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 20
PER_EPOCH = 5
Weights = Mapping[str, Tensor]


def linspace_then_cosine(peak: float, final: float, warmup: int, start: float = 0.0) -> list[float]:
    """facebookresearch/dino `utils.py` cosine_scheduler; so in iBOT, BEiT, data2vec and SwAV."""
    rest = np.arange(STEPS - warmup)
    cosine = final + 0.5 * (peak - final) * (1 + np.cos(np.pi * rest / len(rest)))
    return [*np.linspace(start, peak, warmup).tolist(), *cosine.tolist()]


def share_then_cosine(peak: float, final: float, warmup: int) -> list[float]:
    """MAE `util/lr_sched.py`, MoCo v3 `adjust_learning_rate`."""
    return [
        peak * t / warmup
        if t < warmup
        else final + (peak - final) * 0.5 * (1 + math.cos(math.pi * (t - warmup) / (STEPS - warmup)))
        for t in range(STEPS)
    ]


def cosine(start: float, end: float) -> list[float]:
    """facebookresearch/dino `utils.py` cosine_scheduler without a warm-up; MoCo v3 `adjust_moco_momentum`."""
    return [end + 0.5 * (start - end) * (1 + math.cos(math.pi * t / STEPS)) for t in range(STEPS)]


def temperature(start: float, end: float, epochs: int) -> list[float]:
    """The teacher's, by epoch: facebookresearch/dino `main_dino.py` DINOLoss."""
    every = [*np.linspace(start, end, epochs).tolist(), *[end] * (STEPS // PER_EPOCH - epochs)]
    return [every[t // PER_EPOCH] for t in range(STEPS)]


def sincos(rows: int, width: int) -> Tensor:
    """`[1, 1 + rows * rows, width]`: MAE `util/pos_embed.py`, column first, zeros for the class token."""
    table = torch.zeros(1, 1 + rows * rows, width)
    omega = [1 / 10000 ** (i / (width / 4)) for i in range(width // 4)]
    for row in range(rows):
        for col in range(rows):
            halves = [
                part
                for place in (col, row)
                for part in ([math.sin(place * o) for o in omega], [math.cos(place * o) for o in omega])
            ]
            table[0, 1 + row * rows + col] = torch.tensor([value for half in halves for value in half])
    return table


def layer_norm(x: Tensor, w: Weights, name: str, eps: float = 1e-6) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    scaled = centered / (x.var(-1, keepdim=True, unbiased=False) + eps).sqrt()
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x: Tensor, w: Weights, name: str) -> Tensor:
    out = x @ w[f"{name}.weight"].T
    return out + w[f"{name}.bias"] if f"{name}.bias" in w else out


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def attention(x: Tensor, w: Weights, name: str, heads: int, bias: Tensor | float = 0.0) -> Tensor:
    """Of BEiT, without a bias of keys, where there is a `q_bias`."""
    batch, length, width = x.shape
    qkv = linear(x, w, f"{name}.qkv")
    if f"{name}.q_bias" in w:
        q_bias, v_bias = w[f"{name}.q_bias"], w[f"{name}.v_bias"]
        qkv = qkv + torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
    q, k, v = qkv.view(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-2, -1) / math.sqrt(width // heads) + bias
    mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width)
    return linear(mixed, w, f"{name}.proj")


def block(x: Tensor, w: Weights, name: str, heads: int, bias: Tensor | float = 0.0) -> Tensor:
    first, second = w.get(f"{name}.gamma_1", 1.0), w.get(f"{name}.gamma_2", 1.0)
    x = x + first * attention(layer_norm(x, w, f"{name}.norm1"), w, f"{name}.attn", heads, bias)
    hidden = gelu(linear(layer_norm(x, w, f"{name}.norm2"), w, f"{name}.mlp.fc1"))
    return x + second * linear(hidden, w, f"{name}.mlp.fc2")


def patches_of(images: Tensor, patch: int) -> Tensor:
    """`[B, C, H, W]` -> `[B, N, C, p, q]`."""
    batch, channels, height, width = images.shape
    cut = images.view(batch, channels, height // patch, patch, width // patch, patch)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels, patch, patch)


def embed(images: Tensor, w: Weights, net: str, hidden: Tensor | None = None) -> Tensor:
    """Patch embeddings `[B, N, D]`, the mask token in place of those that are `hidden` `[B, N]`."""
    kernel = w[f"{net}.net.patch_embed.proj.weight"]
    x = patches_of(images, kernel.shape[-1]).flatten(2) @ kernel.flatten(1).T
    x = x + w[f"{net}.net.patch_embed.proj.bias"]
    return x if hidden is None else torch.where(hidden[..., None], w[f"{net}.mask_token"], x)


def depth_of(w: Weights, name: str) -> int:
    return len({key.split(".blocks.")[1].split(".")[0] for key in w if key.startswith(f"{name}.blocks.")})


def vit(
    images: Tensor, w: Weights, net: str, heads: int, positions: Tensor, hidden: Tensor | None = None
) -> Tensor:
    """A vision transformer's tokens after its last norm, `[B, 1 + N, D]`, the class token first."""
    x = embed(images, w, net, hidden) + positions[:, 1:]
    front = w[f"{net}.net.cls_token"] + positions[:, :1]
    x = torch.cat([front.expand(len(x), -1, -1), x], dim=1)
    for i in range(depth_of(w, f"{net}.net")):
        x = block(x, w, f"{net}.net.blocks.{i}", heads)
    return layer_norm(x, w, f"{net}.net.norm")


def batch_norm(x: Tensor, w: Weights, name: str) -> Tensor:
    """With the statistics of its rows, scale and shift where the weights have them."""
    out = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()
    return out * w[f"{name}.weight"] + w[f"{name}.bias"] if f"{name}.weight" in w else out


class AdamW:
    """Loshchilov and Hutter's, with one step count a parameter: those without a gradient stand still."""

    def __init__(self, betas: tuple[float, float], eps: float = 1e-8) -> None:
        self.betas, self.eps = betas, eps
        self.state: dict[str, tuple[int, Tensor, Tensor]] = {}

    def step(self, w: dict[str, Tensor], grads: Weights, lr: float, decay: Callable[[str], float]) -> None:
        b1, b2 = self.betas
        for name, g in grads.items():
            t, m, v = self.state.get(name, (0, torch.zeros_like(g), torch.zeros_like(g)))
            t, m, v = t + 1, b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
            self.state[name] = (t, m, v)
            kept = w[name] * (1 - lr * decay(name))
            w[name] = kept - lr * (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + self.eps)


class LARS:
    """u = g + decay w, r = trust |w| / |u|, m = momentum m + r u, w - lr m (Barlow Twins, MoCo v3, MAE)."""

    def __init__(self, momentum: float = 0.9, trust: float = 1e-3) -> None:
        self.momentum, self.trust = momentum, trust
        self.state: dict[str, Tensor] = {}

    def step(self, w: dict[str, Tensor], grads: Weights, lr: float, decay: float) -> None:
        for name, g in grads.items():
            u = g + decay * w[name]
            moved = self.trust * w[name].norm() / u.norm() * u
            self.state[name] = self.momentum * self.state.get(name, torch.zeros_like(g)) + moved
            w[name] = w[name] - lr * self.state[name]


def gradients(loss: Tensor, leaves: Weights) -> dict[str, Tensor]:
    """Of every leaf that the loss reaches."""
    parts = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {name: g for name, g in zip(leaves, parts, strict=True) if g is not None}


def clip_whole(grads: Weights, limit: float) -> dict[str, Tensor]:
    """torch `clip_grad_norm_`."""
    total = torch.stack([g.norm() for g in grads.values()]).norm()
    return {name: g * min(1.0, float(limit / (total + 1e-6))) for name, g in grads.items()}


def clip_each(grads: Weights, limit: float) -> dict[str, Tensor]:
    """facebookresearch/dino `utils.py` clip_gradients: tensor by tensor."""
    return {name: g * min(1.0, float(limit / (g.norm() + 1e-6))) for name, g in grads.items()}


def leaves(w: Weights, *names: str) -> dict[str, Tensor]:
    """What is trained: the weights whose names begin with one of `names`, as leaves of a graph."""
    return {n: v.detach().requires_grad_() for n, v in w.items() if n.startswith(names)}


def averaged(w: dict[str, Tensor], pairs: Mapping[str, str], momentum: float) -> None:
    """average <- momentum average + (1 - momentum) online, for each prefix of averages and its online one."""
    for average, online in pairs.items():
        for name in [n for n in w if n.startswith(average)]:
            w[name] = momentum * w[name] + (1 - momentum) * w[online + name.removeprefix(average)]


def unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)
