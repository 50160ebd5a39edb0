"""A folder that `timm.create_model("local-dir:...", pretrained=True)` loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from sslkit.core.backbone import Exported
from sslkit.errors import CheckpointError, SpecError, reason_of
from sslkit.evaluate.exports.named_tokens import (
    TOLERANCE,
    Answers,
    difference,
    last_tokens,
    require_equal,
)
from sslkit.evaluate.exports.opened_model import OpenedModel
from sslkit.evaluate.exports.written import Reading, contiguous, left_out
from sslkit.runtime.atomic_files import write_json

TimmNet: TypeAlias = Any
"""A network of timm, whose attributes depend on its class."""
_POOLS: Mapping[str, Sequence[Mapping[str, object]]] = {
    "cls": ({"global_pool": "token"}, {}, {"global_pool": "avg"}),
    "mean": (
        {"global_pool": "avg", "fc_norm": False},
        {"global_pool": "avg", "use_fc_norm": False},
        {"global_pool": "avg"},
        {},
    ),
}
"""`readout.pool` -> arguments by which a network of timm may answer with it; classes of timm differ in their names."""


def fill_timm(model: OpenedModel, folder: Path, out: Path) -> Reading:
    """Write the network into `folder`, which becomes `out`, and read it back.

    Raises:
        SpecError: timm cannot make such a network by arguments alone.
        CheckpointError: what was written answers otherwise than the network.
    """
    exported = model.net.export()
    if exported.changes:
        raise SpecError(
            f"{model.what}: no argument of timm makes this network of {exported.architecture!r} "
            f"(`{'; '.join(exported.changes)}`); --to onnx or --to torch-export write any network"
        )
    net, arguments = _made(model, exported)
    write_json(folder / "config.json", _config(model, exported, net, arguments))
    save_file(contiguous(exported.state), folder / "model.safetensors", {"format": "pt"})
    tokens = last_tokens(model)
    again = _read(folder).eval()
    answers = (lambda images: _answers(again, images, tokens.first)) if _pools(net, model) else None
    deviation = require_equal(
        tokens, answers or (lambda images: {"patch_tokens": _patches(again, images)}), model
    )
    return Reading(deviation, _usage(model, out, pooled=answers is not None), _notes(model))


def _made(model: OpenedModel, exported: Exported) -> tuple[TimmNet, dict[str, object]]:
    """Timm's network, whose answer is what the readout pools where arguments can make it so, and the arguments."""
    stated = {name: value for name, value in exported.arguments.items() if name != "num_classes"}
    for pool in _POOLS[model.readout.pool]:
        arguments = {**stated, **pool}
        try:
            with torch.random.fork_rng(devices=[]):
                net = timm.create_model(exported.architecture, num_classes=0, **arguments).eval()
            net.load_state_dict(exported.state)
        except Exception:  # noqa: S112 -- whatever timm says of arguments that this class does not take
            continue
        if _pools(net, model):
            return net, arguments
    net = timm.create_model(exported.architecture, num_classes=0, **stated).eval()
    net.load_state_dict(exported.state)
    return net, stated


@torch.no_grad()
def _pools(net: TimmNet, model: OpenedModel) -> bool:
    """Whether what calling `net` gives is what the readout pools."""
    images, tokens = model.images(1), last_tokens(model)
    return difference(tokens(images)[tokens.first], net(images), model.what) <= TOLERANCE


def _answers(net: TimmNet, images: Tensor, pooled: str) -> Answers:
    return {pooled: net(images)}


def _patches(net: TimmNet, images: Tensor) -> Tensor:
    """`[B, N, D]` of timm's features, in each of their layouts."""
    features: Tensor = net.forward_features(images)
    if features.ndim == 3:
        return features[:, int(getattr(net, "num_prefix_tokens", 0)) :]
    last = str(getattr(net, "output_fmt", "NCHW")) == "NHWC"
    return features.flatten(1, 2) if last else features.flatten(2).mT


def _config(
    model: OpenedModel, exported: Exported, net: TimmNet, arguments: Mapping[str, object]
) -> dict[str, object]:
    """`config.json`, by which timm knows architecture, arguments and the images that the network reads."""
    view, usual = model.view, dict(net.pretrained_cfg or {})
    kept = {name: usual[name] for name in ("fixed_input_size", "first_conv", "classifier") if usual.get(name)}
    return {
        "architecture": exported.architecture,
        "num_classes": 0,
        "num_features": model.net.dim,
        "model_args": dict(arguments),
        "pretrained_cfg": {
            "input_size": [view.channels, view.size, view.size],
            "mean": list(view.mean),
            "std": list(view.std),
            "interpolation": "bicubic",  # as `resize_center`
            "crop_pct": model.readout.crop,
            "crop_mode": "center",
            "num_classes": 0,
            "custom_load": False,
            **kept,
        },
    }


def _read(folder: Path) -> TimmNet:
    try:
        with torch.random.fork_rng(devices=[]):
            return timm.create_model(f"local-dir:{folder}", pretrained=True)
    except Exception as error:
        raise CheckpointError(f"{folder}: timm cannot load what was written: {reason_of(error)}") from None


def _usage(model: OpenedModel, out: Path, *, pooled: bool) -> str:
    view = model.view
    call = f"net(images)  # [B, {model.net.dim}]" if pooled else "net.forward_features(images)"
    return (
        f"import timm\n\nnet = timm.create_model({f'local-dir:{out}'!r}, pretrained=True).eval()\n"
        f"images = timm.data.create_transform(**timm.data.resolve_model_data_config(net))(image)[None]"
        f"  # normalized, [B, {view.channels}, {view.size}, {view.size}]\nfeatures = {call}"
    )


def _notes(model: OpenedModel) -> tuple[str, ...]:
    layer = model.readout.layer
    call = f"`net.forward_intermediates(images, indices=[{layer}], norm=False)`"
    return (*left_out(model), *(() if layer == -1 else (f"has block {layer} in {call}",)))
