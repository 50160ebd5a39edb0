"""A folder that `transformers.AutoModel` and `AutoImageProcessor` load."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor

from sslkit.core.backbone import HuggingFaceModel
from sslkit.errors import CheckpointError, SpecError, reason_of
from sslkit.evaluate.exports.named_tokens import Answers, last_tokens, require_equal
from sslkit.evaluate.exports.opened_model import OpenedModel
from sslkit.evaluate.exports.written import Reading, contiguous, left_out, require_packages
from sslkit.runtime.atomic_files import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAP = 4
"""Dimensions of a feature map, `[B, D, h, w]`."""
BICUBIC = 3
"""PIL's number of the interpolation of `resize_center`."""


def fill_hugging_face(model: OpenedModel, folder: Path, out: Path) -> Reading:
    """Write the network into `folder`, which becomes `out`, and read it back.

    Raises:
        SpecError: transformers is not installed, or has no such architecture.
        CheckpointError: what was written answers otherwise than the network.
    """
    require_packages("hf", "transformers")
    with _silent():
        return _filled(model, folder, out)


def _filled(model: OpenedModel, folder: Path, out: Path) -> Reading:
    try:
        exported = model.net.hugging_face()
    except SpecError as error:
        raise SpecError(
            f"{model.what}: {error}; `--to timm` writes a folder that transformers loads too, where timm is installed"
        ) from None
    write_json(folder / "config.json", exported.config)
    write_json(folder / "preprocessor_config.json", _processor(model))
    save_file(contiguous(exported.state), folder / "model.safetensors", {"format": "pt"})
    net, registers = _read(folder).eval(), _registers(exported)
    deviation = require_equal(last_tokens(model), lambda images: _answers(net, images, registers), model)
    return Reading(deviation, _usage(model, out, _features(model, exported, registers)), left_out(model))


def _registers(exported: HuggingFaceModel) -> int:
    """Tokens between the class token and those of the patches."""
    count = exported.config.get("num_register_tokens", 0)
    assert type(count) is int, "a number in every configuration that has it"
    return count


def _answers(net: PreTrainedModel, images: Tensor, registers: int) -> Answers:
    output = net(pixel_values=images)
    hidden = output.last_hidden_state
    patches = hidden.flatten(2).mT if hidden.ndim == MAP else hidden[:, 1 + registers :]
    return {"class_token": output.pooler_output.flatten(1), "patch_tokens": patches}


def _processor(model: OpenedModel) -> dict[str, object]:
    """`preprocessor_config.json`: the shorter side resized, the center cut, mean and deviation of the view."""
    view = model.view
    return {
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": view.channels == len("RGB"),
        "do_resize": True,
        "size": {"shortest_edge": round(view.size / model.readout.crop)},
        "resample": BICUBIC,
        "do_center_crop": True,
        "crop_size": {"height": view.size, "width": view.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(view.mean),
        "image_std": list(view.std),
    }


def _read(folder: Path) -> PreTrainedModel:
    """What transformers makes of `folder`, model and processor."""
    import transformers

    try:
        with torch.random.fork_rng(devices=[]):
            transformers.AutoImageProcessor.from_pretrained(folder)
            net: PreTrainedModel = transformers.AutoModel.from_pretrained(folder)
    except Exception as error:
        reason = reason_of(error).splitlines()[0]
        raise CheckpointError(f"{folder}: transformers cannot load what was written: {reason}") from None
    return net


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without the progress bars and remarks of transformers."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _features(model: OpenedModel, exported: HuggingFaceModel, registers: int) -> str:
    """The expression that gives what the readout pools."""
    if exported.config["model_type"] == "resnet":  # whose class token is the mean of the map
        return "output.pooler_output.flatten(1)"
    mean = f"output.last_hidden_state[:, {1 + registers} :].mean(1)"
    return mean if model.readout.pool == "mean" else "output.pooler_output"


def _usage(model: OpenedModel, out: Path, features: str) -> str:
    return (
        f"from transformers import AutoImageProcessor, AutoModel\n\n"
        f"processor = AutoImageProcessor.from_pretrained({str(out)!r})\n"
        f"net = AutoModel.from_pretrained({str(out)!r}).eval()\n"
        f'output = net(**processor(image, return_tensors="pt"))\n'
        f"features = {features}  # [B, {model.net.dim}]"
    )
