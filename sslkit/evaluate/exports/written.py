"""What the writers of formats are told and answer, and what they share."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import NamedTuple

from torch import Tensor

from sslkit.errors import SpecError
from sslkit.evaluate.exports.opened_model import OpenedModel

OPSET = 20
"""Of ONNX: torch's default, which onnxruntime reads from 1.17 on."""


class Options(NamedTuple):
    """What a caller may choose."""

    normalize: bool = False
    """Whether the file normalizes pixels in [0, 1] itself."""
    opset: int = OPSET


def nearness(deviation: float) -> str:
    """How near answers are, in words."""
    return "exactly" if deviation == 0 else f"to {deviation:.0e} of the largest value"


class Reading(NamedTuple):
    """How what was written is read."""

    deviation: float
    """Largest difference to the network when it was read back, relative to the largest value."""
    usage: str
    """Lines of Python that load it."""
    notes: tuple[str, ...] = ()
    """What people should know of it, in sentences."""


def contiguous(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` as safetensors takes it: on the CPU, no two arrays in one memory."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}


def require_packages(extra: str, *names: str) -> None:
    """Pass where all packages of an extra of sslkit are installed. Raises SpecError where one is not."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise SpecError(
            f"--to {extra}: needs {', '.join(missing)}, not installed here: pip install 'sslkit[{extra}]'"
        )


def images_read(model: OpenedModel, *, normalize: bool) -> str:
    """Which images it wants, in words."""
    view = model.view
    shape = f"float32 [B, {', '.join(map(str, view.shape))}]"
    if normalize:
        return f"{shape}, pixels in [0, 1]"
    numbers = [", ".join(f"{value:.6g}" for value in values) for values in (view.mean, view.std)]
    return f"{shape}, normalized: (pixels in [0, 1] - ({numbers[0]})) / ({numbers[1]})"


def description(model: OpenedModel, names: tuple[str, ...], options: Options) -> dict[str, object]:
    """What a file says of itself."""
    view, readout = model.view, model.readout
    return {
        "images": images_read(model, normalize=options.normalize),
        "size": view.extent,
        "mean": view.mean,
        "std": view.std,
        "normalizes": options.normalize,
        "outputs": names,
        "layer": readout.layer,
        "crop": readout.crop,
    }


def left_out(model: OpenedModel) -> tuple[str, ...]:
    """What a format lacks that holds the network alone, of what the readout reads."""
    readout, notes = model.readout, []
    if readout.layer != -1:
        notes.append(f"answers with the last block, and the run reads block {readout.layer}")
    if readout.pyramid:
        notes.append(f"answers with one mean, and the run reads those of {list(readout.pyramid)} parts")
    if model.head is not None:
        notes.append(f"lacks the run's head `{readout.head}`; --to onnx or --to torch-export take it along")
    return tuple(notes)
