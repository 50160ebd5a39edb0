"""Files of weights and folders of Hugging Face, read without running what they hold."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import (
    NamedTuple,
    NotRequired,  # pydantic takes those of `typing` from Python 3.12 on
    final,
)

import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file
from typing_extensions import TypedDict

from sslkit.plugin import CheckpointError, JsonFile, require_regular

NO_WEIGHTS = "it is no file of weights, or a damaged one"
"""Instead of torch's advice to load it as code."""
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
"""What a folder may hold, the first one first."""
CONFIG = "config.json"
_ADVICE = "download the folder again"


@final
class Config(TypedDict):
    """What `config.json` says of a network that no array shows."""

    model_type: NotRequired[str]
    num_attention_heads: NotRequired[int]
    hidden_act: NotRequired[str]
    vision_config: NotRequired[Config]


@final
class Index(TypedDict):
    """`model.safetensors.index.json`."""

    weight_map: dict[str, str]


class Contents(NamedTuple):
    """What a file or folder holds."""

    values: Mapping[str, object]
    config: Config


def contents(path: Path) -> Contents:
    """Weights and configuration at `path`: a safetensors or torch file, or a folder of Hugging Face.

    Raises:
        CheckpointError: it cannot be read, or holds more than weights, which could run code.
    """
    file = _file_in(path) if path.is_dir() else path
    config = file.parent / CONFIG
    settings: Config = {}
    if file.name in WEIGHTS and config.is_file():
        settings = JsonFile(TypeAdapter(Config), CheckpointError, _ADVICE).read(config)
    return Contents(_values(file), settings.get("vision_config", settings))


def _file_in(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(f"backbone.checkpoint: {folder} is a folder without {' or '.join(WEIGHTS)}")


def _values(path: Path) -> Mapping[str, object]:
    if path.name.endswith(".index.json"):
        return _sharded(path)
    require_regular(path, CheckpointError)
    try:
        return _read(path)
    except Exception as error:
        text = str(error)
        if "TorchScript" in text:
            raise _script(path) from None
        if "weights_only" in text.lower() and ("GLOBAL" in text or "class" in text):
            raise _objects(path) from None
        raise CheckpointError(f"backbone.checkpoint: {path}: {NO_WEIGHTS}") from None


def _read(path: Path) -> Mapping[str, object]:
    if path.suffix == ".safetensors":
        return dict(load_file(path))
    with torch.serialization.safe_globals(
        [argparse.Namespace]
    ):  # settings of training scripts: data, no code
        value: object = torch.load(path, map_location="cpu", weights_only=True)
    return TypeAdapter(dict[str, object]).validate_python(value)


def _sharded(path: Path) -> Mapping[str, object]:
    """The weights of all files that the index at `path` names beside it."""
    names = JsonFile(TypeAdapter(Index), CheckpointError, _ADVICE).read(path)["weight_map"].values()
    files = [Path(name) for name in dict.fromkeys(names)]
    for file in files:
        if file.name != str(file) or file.suffix != ".safetensors":
            raise CheckpointError(
                f"backbone.checkpoint: {path} names {str(file)!r}; expected safetensors files beside it"
            )
    return {name: value for file in files for name, value in _values(path.parent / file).items()}


def _objects(path: Path) -> CheckpointError:
    """The error for a file whose pickle holds more than weights; loading that could run code."""
    return CheckpointError(
        f"backbone.checkpoint: {path} holds Python objects beside its weights, which could run code, so that it is "
        "not loaded. Ask its author for the weights alone, as safetensors; or, if you trust the file, write them: "
        "`torch.save(torch.load(FILE, weights_only=False)['state_dict'], 'weights.pt')`, with the name that it has "
        "for its weights"
    )


def _script(path: Path) -> CheckpointError:
    """The error for a TorchScript archive, as OpenAI's CLIP."""
    return CheckpointError(
        f"backbone.checkpoint: {path} is a TorchScript archive, which holds code, so that it is not loaded. If you "
        "trust the file, write its weights: `torch.save(torch.jit.load(FILE, 'cpu').state_dict(), 'weights.pt')`"
    )
