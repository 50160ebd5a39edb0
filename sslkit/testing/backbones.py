"""Promises of backbones beside training."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import partial

import timm
import torch
from torch import Tensor

from sslkit.core.backbone import Backbone
from sslkit.core.env import Grid, View
from sslkit.core.masker import make_mask
from sslkit.core.passes import Encode, Mask, Mode, Request, Tokens
from sslkit.errors import SpecError
from sslkit.spec.families import BackboneSpec, MaskerSpec
from sslkit.testing.report import Checks, NotOffered, require
from sslkit.testing.scene import VIEW as SCENE_VIEW
from sslkit.testing.scene import env_of, scene_of
from sslkit.testing.stage import CHANNELS, IMAGE, LOCAL, helper
from sslkit.train import rng

VIEW = View(IMAGE, 2, CHANNELS, (0.5,) * CHANNELS, (0.25,) * CHANNELS)
IMAGES = 3
SLACK = 1e-4
"""Float error that is let pass between two ways to the same tokens."""


def checks(spec: BackboneSpec) -> Checks:
    """The checks of a backbone's answers. It may refuse a mode of masking, or to be exported, with a SpecError."""
    return {
        "cuts the grid that its spec says": partial(_grid, spec),
        "answers with tokens of the promised shapes": partial(_shapes, spec),
        "answers requests together as alone": partial(_together, spec),
        "never sees hidden patches in `drop` mode": partial(_unless_refused, partial(_blind, spec, "drop")),
        "never sees hidden patches in `token` mode": partial(_unless_refused, partial(_blind, spec, "token")),
        "tells attention and keeps its tokens": partial(_unless_refused, partial(_attends, spec)),
        "changes nothing in its copies": partial(_copies, spec),
        "exports to timm": partial(_unless_refused, partial(_exports, spec)),
    }


def _built(spec: BackboneSpec, *modes: Mode) -> Backbone:
    """An untrained network in evaluation mode that was told of a whole pass, and of a masked one in each of `modes`."""
    rng.seed_torch(0, "backbone")
    net = spec.build(VIEW)
    net.serve([Encode("global"), *(Encode("global", mask=_masker(), mode=mode) for mode in modes)])
    return net.eval()


def _masker() -> MaskerSpec:
    masker = helper("masker", "random")
    assert isinstance(masker, MaskerSpec), "the catalog holds maskers only"
    return masker


def _images(size: int, name: str = "images") -> Tensor:
    return torch.randn(2, IMAGES, CHANNELS, size, size, generator=rng.generator(0, name, size))


def _mask(grid: Grid) -> Mask:
    built = _masker().build(env_of(grid), SCENE_VIEW)
    rows = torch.arange(2 * IMAGES).reshape(2, IMAGES)
    return make_mask(built, rng.draw(0, "mask", rows=rows), scene_of(built, grid, rows))


def _unless_refused(check: Callable[[], None]) -> None:
    try:
        check()
    except SpecError as error:
        raise NotOffered(f"refused: {error}") from None


def _grid(spec: BackboneSpec) -> None:
    net = _built(spec)
    for size in (IMAGE, LOCAL):
        said, found = spec.grid(size), net.grid(size)
        require(
            said is None or said == found, f"at {size} pixels the spec says {said} and the network {found}"
        )


@torch.no_grad()
def _shapes(spec: BackboneSpec) -> None:
    net = _built(spec)
    last = net.depth - 1
    for size in (IMAGE, LOCAL):
        images, patches = _images(size), net.grid(size).patches
        (tokens,) = net([Request(images, None, "drop", (last, -1))])
        _require_shape(tokens.cls, (2, IMAGES, net.dim), "cls")
        _require_shape(tokens.patch, (2, IMAGES, patches, net.dim), "patch")
        require(len(tokens.layers) == 2, f"two layers were asked for, {len(tokens.layers)} answered")
        for layer in tokens.layers:
            _require_shape(layer, (2, IMAGES, 1 + patches, net.dim), f"layers of block {last}")
        require(torch.equal(tokens.layers[0], tokens.layers[1]), f"layer -1 is not layer {last}, the last")
        require(
            tokens.image is images and tokens.mask is None, "`image` and `mask` must be those of the request"
        )


@torch.no_grad()
def _attends(spec: BackboneSpec) -> None:
    """Weights of patches, in float32, at both sizes of images; asking for them changes nothing else."""
    net = _built(spec)
    for size in (IMAGE, LOCAL):
        plain = Request(_images(size), None, "drop", ())
        (tokens,), (silent,) = net([plain._replace(attention=True)]), net([plain])
        require(tokens.attention is not None, "`attention` was asked for and is None")
        require(silent.attention is None, "`attention` was not asked for and is there")
        assert tokens.attention is not None, "just required"
        _require_weights(tokens.attention, net.grid(size).patches)
        same = torch.equal(tokens.patch, silent.patch) and torch.equal(tokens.cls, silent.cls)
        require(same, "asking for attention changes the tokens")


def _require_weights(weights: Tensor, patches: int) -> None:
    require(weights.dtype == torch.float32, f"`attention` is {weights.dtype}, expected float32")
    require(
        weights.ndim == 4,
        f"`attention` has {weights.ndim} dimensions, expected 4: views, images, heads, patches",
    )
    _require_shape(weights, (2, IMAGES, weights.shape[2], patches), "attention")
    require(bool((weights >= 0).all()), "`attention` has negative weights")
    require(bool((weights.sum(-1) <= 1 + SLACK).all()), "`attention` of the patches adds up to more than 1")


def _require_shape(values: Tensor, expected: tuple[int, ...], name: str) -> None:
    require(values.shape == expected, f"`{name}` is {tuple(values.shape)}, expected {expected}")


@torch.no_grad()
def _together(spec: BackboneSpec) -> None:
    net = _built(spec)
    requests = [
        Request(_images(size, f"{i}"), None, "drop", ()) for i, size in enumerate((IMAGE, LOCAL, IMAGE))
    ]
    for i, (tokens, request) in enumerate(zip(net(requests), requests, strict=True)):
        (alone,) = net([request])
        require(
            _close(tokens, alone),
            f"request {i} of {len(requests)} has other tokens when it is answered alone",
        )


@torch.no_grad()
def _blind(spec: BackboneSpec, mode: Mode) -> None:
    """Other pixels in hidden patches change nothing."""
    net = _built(spec, mode)
    grid = net.grid(IMAGE)
    mask = _mask(grid)
    hidden = mask.hidden.reshape(2, IMAGES, grid.rows, grid.cols)
    hidden = hidden.repeat_interleave(grid.patch, -1).repeat_interleave(grid.patch, -2)
    images = _images(IMAGE)
    changed = torch.where(hidden[:, :, None], _images(IMAGE, "others"), images)
    (seen,), (other,) = (net([Request(x, mask, mode, ())]) for x in (images, changed))
    kept = mask.keep.shape[-1] if mode == "drop" else grid.patches
    _require_shape(seen.patch, (2, IMAGES, kept, net.dim), "patch")
    require(_close(seen, other), f"the pixels of hidden patches change the tokens in {mode!r} mode")


def _close(first: Tokens, second: Tokens) -> bool:
    pairs = ((first.cls, second.cls), (first.patch, second.patch))
    return all(torch.allclose(a, b, rtol=SLACK, atol=SLACK) for a, b in pairs)


@torch.no_grad()
def _copies(spec: BackboneSpec) -> None:
    """Moving averages and fine-tuning copy networks: neither the answers nor the export of a copy may follow it."""
    net = _built(spec)
    copied = copy.deepcopy(net)
    request = Request(_images(IMAGE), None, "drop", ())
    (before,), exported = copied([request]), _exported_state(copied)
    for value in (*net.parameters(), *net.buffers()):
        if value.is_floating_point():
            value.mul_(0.5).add_(0.25)
    (after,), again = copied([request]), _exported_state(copied)
    hint = "no function it keeps may hold on to the network it was made with"
    require(
        _close(before, after), f"a copy's tokens follow the weights of the network it was copied from; {hint}"
    )
    moved = [name for name, value in exported.items() if not torch.equal(value, again[name])]
    require(
        not moved,
        f"what a copy exports follows the network it was copied from: {', '.join(moved[:3])}; {hint}",
    )


def _exported_state(net: Backbone) -> dict[str, Tensor]:
    """The values that `net` exports; none where it cannot be exported."""
    try:
        return {name: value.clone() for name, value in net.export().state.items()}
    except SpecError:
        return {}


def _exports(spec: BackboneSpec) -> None:
    exported = _built(spec).export()
    json.dumps(dict(exported.arguments))
    net = timm.create_model(exported.architecture, **exported.arguments)
    for statement in exported.changes:
        exec(statement, {"net": net, "torch": torch, "timm": timm})
    net.load_state_dict(dict(exported.state))
