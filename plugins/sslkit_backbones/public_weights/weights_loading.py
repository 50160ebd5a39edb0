"""Loading of public weights into a network of timm, with a report."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from timm.models import load_checkpoint
from torch import Tensor, nn

from sslkit.plugin import CheckpointError, reason_of, require_regular
from sslkit_backbones.public_weights.attention_names import with_biases_of, with_layer_scale_of
from sslkit_backbones.public_weights.fitting_name import fitting_name
from sslkit_backbones.public_weights.layout_table import ROOTS, layout_of
from sslkit_backbones.public_weights.nested_weights import weights_in
from sslkit_backbones.public_weights.weight_files import Config, Contents, contents
from sslkit_backbones.public_weights.weight_layout import Layout, State, Target
from sslkit_backbones.public_weights.weight_sizes import fitting
from sslkit_backbones.public_weights.weights_report import Loaded, left_out, mismatch
from sslkit_backbones.resample_bias import TABLE
from sslkit_backbones.timm_types import TimmModule

ACTIVATIONS = {
    "GELU": "gelu",
    "GELUTanh": "gelu_tanh",
    "QuickGELU": "quick_gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
"""Classes of timm, and names of Hugging Face, -> timm's names of the same."""


class Naming(NamedTuple):
    """What messages call weights and the network that takes them."""

    place: str
    """Field of the spec, and file."""
    file: str
    network: str


def load(net: TimmModule, path: Path, name: str) -> Loaded:
    """Load weights into `net`, which is called `name`.

    Args:
        net: a network of timm.
        path: a file, or a folder of Hugging Face, in a layout of `LAYOUTS`; or a numpy archive that timm reads.
        name: timm's of the network.

    Raises:
        CheckpointError: the file cannot be read, or its weights do not fit; the message names them.
    """
    if path.suffix in (".npz", ".npy"):
        return _numpy(net, path, name)
    arrays, report = converted(contents(path), net, Naming(f"backbone.checkpoint: {path}", path.name, name))
    net.load_state_dict(arrays, strict=False)  # what may be lacking are counts of batches
    return report


def converted(file: Contents, net: TimmModule, naming: Naming) -> tuple[State, Loaded]:
    """What `net` takes of a file, under its names and in its sizes, and a report.

    Raises:
        CheckpointError: the weights do not fit; the message names them.
    """
    names = net.state_dict()
    first = next((key for key in names if ".0." in key), next(iter(names)))
    try:
        weights = weights_in(file.values, (*ROOTS, first))
    except CheckpointError as error:
        raise CheckpointError(f"{naming.place}: {error}") from None
    layout, target = layout_of(weights.state, weights.prefix), Target(net, names.keys(), [])
    state = _with_last_norm(layout.convert(dict(weights.state), target), target)
    state = with_layer_scale_of(with_biases_of(state, target), target)
    mask_token, positions = state.pop("mask_token", None), state.get("pos_embed")
    resized: list[str] = []
    try:
        fitted = _by_timm(fitting(state, net, resized), net)
    except Exception as error:
        raise _unfit(naming, layout, [reason_of(error)], state) from None
    groups, others = left_out([key for key in fitted if key not in target.names])
    wrong = [*_differences(fitted, others, net), *_other_function(net, layout, file.config)]
    if wrong:
        raise _unfit(naming, layout, wrong, state)
    arrays = {key: value for key, value in fitted.items() if key in target.names}
    source = ", ".join(f"`{part}`" for part in (*weights.entries, weights.prefix.rstrip(".")) if part)
    left = (*weights.beside, *groups)
    return arrays, Loaded(
        naming.file, layout.title, source, len(arrays), resized, target.remarks, left, positions, mask_token
    )


def _with_last_norm(state: State, target: Target) -> State:
    """The norm after pooling as the one before it, where the file has that one and the network the other."""
    names = {f"fc_norm.{kind}": f"norm.{kind}" for kind in ("weight", "bias")}
    if any(old not in state or new in state for old, new in names.items()):
        return state
    if any(old in target.names or new not in target.names for old, new in names.items()):
        return state
    target.remarks.append("the norm after pooling, `fc_norm`, taken as the last norm of each token")
    return {names.get(name, name): value for name, value in state.items()}


def _by_timm(state: State, net: nn.Module) -> State:
    """`state` after timm's own conversion for networks of this class, which needs an owner for each bias table."""
    convert = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", lambda weights, _: weights)
    names = net.state_dict()
    ownerless = {key: value for key, value in state.items() if key.endswith(TABLE) and key not in names}
    rest: State = convert({key: value for key, value in state.items() if key not in ownerless}, net)
    return {**rest, **ownerless}


def _differences(state: Mapping[str, Tensor], unexpected: list[str], net: nn.Module) -> Iterator[str]:
    expected = net.state_dict()
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    shapes = [
        f"{key} ({_shape(state[key])} in the file, {_shape(value)} in the network)"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    yield from mismatch(missing, unexpected, shapes)


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "one number"


def _other_function(net: TimmModule, layout: Layout, config: Config) -> Iterator[str]:
    """What makes another network of the same arrays: heads and activation, where the file tells them."""
    block = next(iter(getattr(net, "blocks", ())), None)
    heads = getattr(getattr(block, "attn", None), "num_heads", None)
    expected = config.get("num_attention_heads") or layout.heads
    if heads is not None and expected is not None and heads != expected:
        yield f"its authors use {expected} heads, the network has {heads}: set `heads: {expected}`"
    activation = _activation(type(getattr(getattr(block, "mlp", None), "act", None)).__name__)
    wanted = _activation(config.get("hidden_act", ""))
    if {activation, wanted} <= set(ACTIVATIONS.values()) and activation != wanted:
        yield f"its activation is `{wanted}`, the network's `{activation}`: set `activation: {wanted}`"


def _activation(name: str) -> str:
    return ACTIVATIONS.get(name, name)


def _unfit(naming: Naming, layout: Layout, reasons: list[str], state: State) -> CheckpointError:
    """The error for weights of another network."""
    fields = fitting_name(state)
    remedy = f"These weights fit `{fields}`" if fields else "Give weights of the same architecture"
    lines = "\n  ".join(reasons)
    return CheckpointError(
        f"{naming.place}, under {layout.title} names, does not fit {naming.network!r}:\n  {lines}\n{remedy}."
    )


def _numpy(net: TimmModule, path: Path, name: str) -> Loaded:
    """JAX's weights of vision transformers and ResNets, which timm reads by itself."""
    require_regular(path, CheckpointError)
    try:
        load_checkpoint(net, str(path))
    except Exception as error:
        raise CheckpointError(
            f"backbone.checkpoint: {path} does not fit {name!r}: {reason_of(error)}"
        ) from None
    arrays = len(net.state_dict())
    return Loaded(path.name, "JAX's", "", arrays, (), (), (), getattr(net, "pos_embed", None))
