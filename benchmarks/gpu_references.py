"""Steps by hand, eager, of the structure of the official codes, on timm's networks: what `gpu.py` compares steps with.

They have the network, the optimizer and the precision of the run that they stand beside, and none of its schedules,
guards, metrics or streams of random numbers. Images are the same. Nothing here is copied from those codes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import timm
import torch
import torch.nn.functional as F
from dino_step import Head, MultiCrop, pair_loss
from torch import Tensor, nn

from sslkit.runtime.mixed_precision import autocast_of
from sslkit.specs.run import RunSpec

RATIO = {"mae": 0.75, "simmim": 0.6}
Loss = Callable[[], Tensor]
Step = Callable[[int], None]


def vit_of(spec: RunSpec, image_size: int) -> Any:
    """The network of timm of the run's name and sizes."""
    sizes = {"width": "embed_dim", "depth": "depth", "heads": "num_heads"}
    given = {theirs: getattr(spec.backbone, ours) for ours, theirs in sizes.items()}
    sized = {name: value for name, value in given.items() if value is not None}
    flexible = {} if spec.backbone.name.startswith("beit") else {"dynamic_img_size": True}
    return timm.create_model(spec.backbone.name, num_classes=0, img_size=image_size, **flexible, **sized)


def patches_of(x_BCHW: Tensor, side: int) -> Tensor:
    """`[B, N, side * side * C]`, the values of each patch normalized."""
    B, C, H, W = x_BCHW.shape
    cut = x_BCHW.reshape(B, C, H // side, side, W // side, side).permute(0, 2, 4, 3, 5, 1)
    values = cut.reshape(B, -1, side * side * C)
    return (values - values.mean(-1, keepdim=True)) / (values.var(-1, keepdim=True) + 1e-6).sqrt()


class MaskedAutoencoder(nn.Module):
    """MAE: encode the patches that stay, decode all."""

    def __init__(self, spec: RunSpec, image_size: int) -> None:
        super().__init__()
        self.net = vit_of(spec, image_size)
        sizes, patches = spec.objective.decoder, self.net.patch_embed.num_patches
        self.side, width = self.net.patch_embed.patch_size[0], self.net.embed_dim
        self.embed = nn.Linear(width, sizes.width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        self.register_buffer("positions", torch.randn(1, 1 + patches, sizes.width))
        block = timm.models.vision_transformer.Block
        self.decoder = nn.Sequential(
            *(block(sizes.width, sizes.heads, qkv_bias=True) for _ in range(sizes.depth)),
            nn.LayerNorm(sizes.width), nn.Linear(sizes.width, self.side**2 * 3),
        )  # fmt: skip

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The loss."""
        tokens = self.net.patch_embed(x_BCHW).flatten(1, -2)
        B, N, D = tokens.shape
        order = torch.rand(B, N, device=tokens.device).argsort(1)
        kept, back = order[:, : round(N * (1 - RATIO["mae"]))], order.argsort(1)
        tokens = (tokens + self.net.pos_embed[:, 1:]).gather(1, kept[..., None].expand(-1, -1, D))
        cls = (self.net.cls_token + self.net.pos_embed[:, :1]).expand(B, -1, -1)
        seen = self.embed(self.net.norm(self.net.blocks(torch.cat([cls, tokens], 1))))
        hidden = self.mask_token.expand(B, N - kept.shape[1], -1).to(seen.dtype)
        whole = torch.cat([seen[:, 1:], hidden], 1).gather(1, back[..., None].expand(-1, -1, seen.shape[-1]))
        predicted = self.decoder(torch.cat([seen[:, :1], whole], 1) + self.positions)[:, 1:]
        error = (predicted.float() - patches_of(x_BCHW, self.side)).square().mean(-1)
        gone = (back >= kept.shape[1]).float()
        return (error * gone).sum() / gone.sum()


class MaskTokens(nn.Module):
    """SimMIM: mask tokens in the encoder, one linear layer after it, l1 on hidden pixels."""

    def __init__(self, spec: RunSpec, image_size: int) -> None:
        super().__init__()
        self.net = vit_of(spec, image_size)
        self.side = self.net.patch_embed.patch_size[0]
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.net.embed_dim))
        self.decoder = nn.Linear(self.net.embed_dim, self.side**2 * 3)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The loss."""
        tokens = self.net.patch_embed(x_BCHW)
        hidden = (torch.rand(tokens.shape[:2], device=tokens.device) < RATIO["simmim"])[..., None]
        tokens = torch.where(hidden, self.mask_token.to(tokens.dtype), tokens)
        tokens = torch.cat([self.net.cls_token.expand(len(tokens), -1, -1), tokens], 1)
        for block in self.net.blocks:
            tokens = block(tokens)
        predicted = self.decoder(self.net.norm(tokens))[:, 1:].float()
        B, C, H, _ = x_BCHW.shape
        goal = F.pixel_unshuffle(x_BCHW, self.side).reshape(B, C, -1, (H // self.side) ** 2)
        error = (predicted - goal.flatten(1, 2).transpose(1, 2)).abs().mean(-1, keepdim=True)
        return (error * hidden).sum() / (hidden.sum() + 1e-5)


class TwoCrops(nn.Module):
    """SimCLR: embeddings of both crops in one batch, cross-entropy over all others."""

    def __init__(self, spec: RunSpec, image_size: int) -> None:
        super().__init__()
        self.net = timm.create_model(spec.backbone.name, num_classes=0)
        if spec.backbone.stem == "cifar":
            self.net.conv1 = nn.Conv2d(3, self.net.conv1.out_channels, 3, padding=1, bias=False)
            self.net.maxpool = nn.Identity()
        sizes, width = spec.objective.projector, self.net.num_features
        hidden = sizes.hidden or width
        self.head = nn.Sequential(
            nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(),
            nn.Linear(hidden, sizes.out, bias=False),
        )  # fmt: skip
        self.temperature = spec.objective.temperature

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The loss; the two crops of an image are half of the batch apart."""
        z = F.normalize(self.head(self.net(x_BCHW)).float(), dim=-1)
        logits = (z @ z.T / self.temperature).fill_diagonal_(-torch.inf)
        return F.cross_entropy(logits, torch.arange(len(z), device=z.device).roll(len(z) // 2))


def one_network(cls: type[nn.Module]) -> Callable[[RunSpec, Mapping[str, Tensor]], tuple[nn.Module, Loss]]:
    """Of methods whose loss is that of one module on all crops."""

    def made(spec: RunSpec, crops: Mapping[str, Tensor]) -> tuple[nn.Module, Loss]:
        images = crops["global"].flatten(0, 1)
        model = cls(spec, images.shape[-1]).to(images.device)
        return model, lambda: model(images)

    return made


def dino(spec: RunSpec, crops: Mapping[str, Tensor]) -> tuple[nn.Module, Loss]:
    """Crops of one size share a batch; the teacher follows before the next step."""
    large, small = (crops[name].flatten(0, 1) for name in ("global", "local"))
    net = vit_of(spec, large.shape[-1])
    count = spec.objective.prototypes
    student = MultiCrop(net, Head(net.embed_dim, count)).to(large.device)
    teacher = copy.deepcopy(student).requires_grad_(False)
    center = torch.zeros(1, count, device=large.device)
    views = len(crops["global"]) + len(crops["local"])

    def loss() -> Tensor:
        with torch.no_grad():
            for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
                slow.mul_(0.996).add_(0.004 * fast.detach())
            goals = teacher([large]).float()
        value = pair_loss(student([large, small]).float(), goals, center, views)
        center.mul_(0.9).add_(goals.mean(0, keepdim=True), alpha=0.1)
        return value

    return student, loss


MADE: dict[str, Callable[[RunSpec, Mapping[str, Tensor]], tuple[nn.Module, Loss]]] = {
    "mae_vit_b": one_network(MaskedAutoencoder), "mae_vit_l": one_network(MaskedAutoencoder),
    "simmim_vit_b": one_network(MaskTokens), "dino_vit_s": dino,
    "simclr_r50": one_network(TwoCrops), "simclr_r18_cifar": one_network(TwoCrops),
}  # fmt: skip


def reference_step(name: str, spec: RunSpec, crops: Mapping[str, Tensor], precision: str) -> Step:
    """The step of method `name` by hand."""
    torch.manual_seed(0)
    model, loss = MADE[name](spec, crops)
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1]},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer: torch.optim.Optimizer = (
        torch.optim.AdamW(groups, lr=1e-6, weight_decay=0.05, fused=True)
        if spec.optimizer.name == "adamw"
        else torch.optim.SGD(groups, lr=1e-6, momentum=0.9, weight_decay=1e-6)
    )
    clip = spec.optimizer.clip
    device = crops["global"].device

    def step(number: int) -> None:
        with autocast_of(precision, device):
            value = loss()
        value.backward()
        if clip is not None:
            clipped(trained, clip, spec.optimizer.clip_per == "tensor")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def clipped(parameters: list[nn.Parameter], limit: float, by_tensor: bool) -> None:
    """Gradients no longer than `limit`, one after the other as DINO has it, or as a whole."""
    if not by_tensor:
        torch.nn.utils.clip_grad_norm_(parameters, limit)
        return
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.mul_((limit / (parameter.grad.norm() + 1e-6)).clamp(max=1.0))
