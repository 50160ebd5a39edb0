"""Conformance checks of backbones, besides those by training."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from functools import partial

import timm
import torch
from torch import Tensor

from sslkit.core.backbone import Backbone
from sslkit.core.masker import make_mask
from sslkit.core.passes import Encode, Mask, Mode, Request, Tokens
from sslkit.core.view import Grid
from sslkit.errors import SpecError
from sslkit.runtime import seeds
from sslkit.specs.families import BackboneSpec, MaskerSpec
from sslkit.testing.fake_scene import VIEW as SCENE_VIEW
from sslkit.testing.fake_scene import env_of, scene_of
from sslkit.testing.kit_report import Checks, NotOffered, require
from sslkit.testing.promises.purity import part_of
from sslkit.testing.promises.training_promises import unless_refused
from sslkit.testing.tiny_run import IMAGE, LOCAL, helper, kit_values, kit_view

IMAGES = 3
SLACK = 1e-4
"""Float error that is let pass between two ways to the same tokens."""


def checks(spec: BackboneSpec) -> Checks:
    """The checks of a backbone's answers. It may refuse a mode of masking, or to be exported, with a SpecError."""
    return {
        "cuts the grid that its spec says": partial(_grid, spec),
        "answers with tokens of the promised shapes": partial(_shapes, spec),
        "answers requests together as alone": partial(_together, spec),
        "an image's tokens depend on itself only": partial(_apart, spec),
        "never sees hidden patches in `drop` mode": unless_refused(partial(_blind, spec, "drop")),
        "never sees hidden patches in `token` mode": unless_refused(partial(_blind, spec, "token")),
        "tells attention and keeps its tokens": unless_refused(partial(_attends, spec)),
        "tells the attention of every block": partial(_attentions, spec),
        "has layers for each of its parameters": unless_refused(partial(_layers, spec)),
        "is gathered in parts of its own": partial(_units, spec),
        "tells what people should know in sentences": partial(_sentences, spec),
        "changes nothing in its copies": partial(_copies, spec),
        "takes its own weights as they are": partial(_own_weights, spec),
        "exports to timm": unless_refused(partial(_exports, spec)),
        "exports to transformers": unless_refused(partial(_exports_to_transformers, spec)),
    }


def _built(spec: BackboneSpec, *modes: Mode) -> Backbone:
    """An untrained network in evaluation mode that was told of a whole pass, and of a masked one in each of `modes`."""
    seeds.seed_torch(0, "backbone")
    net = spec.build(kit_view(spec.takes))
    net.serve([Encode("global"), *(Encode("global", mask=_masker(), mode=mode) for mode in modes)])
    return net.eval()


def _masker() -> MaskerSpec:
    masker = helper("masker", "random")
    assert isinstance(masker, MaskerSpec), "the catalog holds maskers only"
    return masker


def _images(spec: BackboneSpec, size: int, name: str = "images") -> Tensor:
    """`[2, IMAGES, *shape]` of the view that it takes, at this size."""
    view = kit_view(spec.takes)
    sized = view._replace(size=(size,) * len(view.sides))
    return kit_values(sized, (2, IMAGES), seeds.generator(0, name, size))


def _mask(grid: Grid) -> Mask:
    built = _masker().build(env_of(grid), SCENE_VIEW)
    rows = torch.arange(2 * IMAGES).reshape(2, IMAGES)
    return make_mask(built, seeds.draw(0, "mask", rows=rows), scene_of(built, grid, rows))


def _grid(spec: BackboneSpec) -> None:
    net = _built(spec)
    for size in (IMAGE, LOCAL):
        promised, actual = spec.grid(size), net.grid(size)
        require(
            promised is None or promised == actual,
            f"at {size} pixels the spec says {promised!r} and the network {actual!r}",
        )


def _sentences(spec: BackboneSpec) -> None:
    """Of notes, which a run prints, and of problems, which stop one: the example is trained, so it has none."""
    net = _built(spec)
    notes, problems = list(net.notes()), list(net.problems())
    require(
        all(isinstance(note, str) and note.strip() and "\n" not in note for note in notes),
        f"notes() must give sentences of one line, and gave {notes}",
    )
    require(not problems, f"problems() refuses the example that is to be trained: {problems[:1]}")


@torch.no_grad()
def _shapes(spec: BackboneSpec) -> None:
    net = _built(spec)
    last = net.depth - 1
    for size in (IMAGE, LOCAL):
        images, patches = _images(spec, size), net.grid(size).patches
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
        plain = Request(_images(spec, size), None, "drop", ())
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
        Request(_images(spec, size, f"{i}"), None, "drop", ()) for i, size in enumerate((IMAGE, LOCAL, IMAGE))
    ]
    for i, (tokens, request) in enumerate(zip(net(requests), requests, strict=True)):
        (alone,) = net([request])
        require(
            _close(tokens, alone),
            f"request {i} of {len(requests)} has other tokens when it is answered alone",
        )


@torch.no_grad()
def _apart(spec: BackboneSpec) -> None:
    net, images = _built(spec), _images(spec, IMAGE)
    (whole,) = net([Request(images, None, "drop", ())])
    for part in (slice(0, 1), slice(1, IMAGES)):
        (some,) = net([Request(images[:, part], None, "drop", ())])
        require(
            _close(part_of(whole, part), some),
            "an image's tokens depend on the others of its batch in evaluation mode; batches cut otherwise change them",
        )


def _attentions(spec: BackboneSpec) -> None:
    """All blocks, as the evaluator `attention` asks; or the spec says that there is none to tell."""
    net, images = _built(spec), _images(spec, IMAGE)[0]
    try:
        answer = net.attentions(images)
    except SpecError as error:
        require(
            not spec.tells_attention,
            f"`attentions` refuses ({error}), but `tells_attention` is true: evaluators that need it then fail after "
            "training; set it to False",
        )
        raise NotOffered(f"refused: {error}") from None
    require(spec.tells_attention, "`attentions` answers, but `tells_attention` is False; set it to True")
    require(answer.grid == net.grid(IMAGE), f"`attentions` tells {answer.grid}, and `grid` {net.grid(IMAGE)}")
    tokens = answer.prefix + answer.grid.patches
    count = 0
    for weights in answer.layers:
        count += 1
        require(
            weights.ndim == 4 and weights.shape[0] == IMAGES and weights.shape[2:] == (tokens, tokens),
            f"block {count} has weights {tuple(weights.shape)}, expected ({IMAGES}, heads, {tokens}, {tokens})",
        )
        same = torch.allclose(weights.sum(-1), torch.ones(()).to(weights), rtol=0, atol=SLACK)
        require(same, f"the rows of block {count}'s attention do not add up to 1")
    require(count == net.depth, f"`attentions` tells {count} blocks of {net.depth}")


def _layers(spec: BackboneSpec) -> None:
    net = _built(spec)
    for name, _ in net.named_parameters():
        layer = net.layer_of(name)
        require(
            0 <= layer <= net.depth + 1, f"`layer_of({name!r})` is {layer}, expected 0 to {net.depth + 1}"
        )


def _units(spec: BackboneSpec) -> None:
    net = _built(spec)
    modules = list(net.modules())
    units = list(net.units())
    strange = [type(unit).__name__ for unit in units if not any(unit is module for module in modules)]
    require(not strange, f"`units` names {', '.join(strange)}, which are no parts of the network")
    for i, unit in enumerate(units):
        outer = [type(earlier).__name__ for earlier in units[:i] if any(unit is m for m in earlier.modules())]
        require(
            not outer,
            f"`units` names {', '.join(outer)} before a part of it; inner parts come before outer ones",
        )


@torch.no_grad()
def _copies(spec: BackboneSpec) -> None:
    """Teachers and exports are copies. Whatever happens to the original, a copy answers as before."""
    net = _built(spec)
    answers = _answers(spec, net)
    twin = copy.deepcopy(net)
    for tensor in (*net.parameters(), *net.buffers()):
        tensor.zero_()
    for (what, before), (_, after) in zip(answers, _answers(spec, twin), strict=True):
        require(
            torch.allclose(before, after, rtol=SLACK, atol=SLACK),
            f"a copy's {what} follow the weights of the network it was copied from; no function that it keeps may hold "
            "on to that network: keep modules and methods, not closures",
        )


def _answers(spec: BackboneSpec, net: Backbone) -> list[tuple[str, Tensor]]:
    """All that can be asked of a network, as far as it does not refuse."""
    images = _images(spec, IMAGE)
    (tokens,) = net([Request(images, None, "drop", (0,))])
    answers = [("tokens", tokens.cls), ("tokens", tokens.patch), ("layers", tokens.layers[0])]
    with suppress(SpecError):
        answers += [("attentions", weights.clone()) for weights in net.attentions(images[0]).layers]
    with suppress(SpecError):
        (attending,) = net([Request(images, None, "drop", (), attention=True)])
        answers += [("attention", attending.attention)] if attending.attention is not None else []
    with suppress(SpecError):
        state = net.export().state
        answers += [(f"export of {name}", value.clone()) for name, value in state.items()]
    return answers


@torch.no_grad()
def _blind(spec: BackboneSpec, mode: Mode) -> None:
    """Other pixels in hidden patches change nothing."""
    net = _built(spec, mode)
    grid = net.grid(IMAGE)
    mask = _mask(grid)
    hidden = mask.hidden.reshape(2, IMAGES, *grid.shape)
    for axis, side in enumerate(grid.sides, start=2):
        hidden = hidden.repeat_interleave(side, axis)
    images = _images(spec, IMAGE)
    if images.ndim > hidden.ndim:  # channels
        hidden = hidden[:, :, None]
    changed = torch.where(hidden, _images(spec, IMAGE, "others"), images)
    (seen,), (other,) = (net([Request(x, mask, mode, ())]) for x in (images, changed))
    kept = mask.keep.shape[-1] if mode == "drop" else grid.patches
    _require_shape(seen.patch, (2, IMAGES, kept, net.dim), "patch")
    require(_close(seen, other), f"the pixels of hidden patches change the tokens in {mode!r} mode")


def _close(first: Tokens, second: Tokens) -> bool:
    pairs = ((first.cls, second.cls), (first.patch, second.patch))
    return all(torch.allclose(a, b, rtol=SLACK, atol=SLACK) for a, b in pairs)


def _own_weights(spec: BackboneSpec) -> None:
    """A run that begins with another's networks asks for them in its own sizes; these are."""
    net = _built(spec)
    state = net.state_dict()
    taken, changes = net.resized(state)
    require(
        taken.keys() == state.keys(),
        f"`resized` names other weights: {sorted(taken.keys() ^ state.keys())[:3]}",
    )
    for name, value in taken.items():
        require(torch.equal(value, state[name]), f"`resized` changes {name!r}, which has this network's size")
    require(not changes, f"`resized` says it changed its own weights: {'; '.join(changes)}")


def _exports(spec: BackboneSpec) -> None:
    exported = _built(spec).export()
    json.dumps(dict(exported.arguments))
    net = timm.create_model(exported.architecture, **exported.arguments)
    for statement in exported.changes:
        exec(statement, {"net": net, "torch": torch, "timm": timm})  # noqa: S102, a plugin's own statements
    net.load_state_dict(dict(exported.state))


def _exports_to_transformers(spec: BackboneSpec) -> None:
    """Refused as well where transformers is not installed; what `AutoModel` makes of it is for `sslkit export`."""
    exported = _built(spec).hugging_face()
    json.dumps(dict(exported.config))
    require("model_type" in exported.config, "`hugging_face` gives a config without its `model_type`")
    require(bool(exported.state), "`hugging_face` gives no weights")
