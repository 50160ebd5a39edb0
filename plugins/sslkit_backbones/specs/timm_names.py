"""What a spec may ask of timm: networks that it knows, from settings that name no files or addresses. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

SOURCES: Mapping[str, str] = {
    "pretrained": "set the field `pretrained`",
    "pretrained_cfg": "weights are the field `checkpoint`",
    "pretrained_cfg_overlay": "weights are the field `checkpoint`",
    "pretrained_model_args": "weights are the field `checkpoint`",
    "pretrained_filter_fn": "weights are the field `checkpoint`",
    "checkpoint_path": "weights are the field `checkpoint`",
    "cache_dir": "set the environment variable `HF_HOME`",
}
"""Argument of `timm.create_model` that names a file, an address or what is done with them -> what to do instead."""


def _network(name: str) -> str:
    if any(sign in name for sign in ":/\\"):
        raise ValueError(
            "is no network of timm: `hf-hub:` and `local-dir:` take architecture and weights from elsewhere. Name the "
            "architecture and give its weights as `checkpoint`"
        )
    return name


def network_settings(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """`arguments` of `timm.create_model`, which shape the network. Raises ValueError where one names a source."""
    for name in arguments:
        if name in SOURCES:
            raise ValueError(f"{name!r} is not for `arguments`: {SOURCES[name]}")
    return arguments


TimmName = Annotated[str, Field(min_length=1), AfterValidator(_network)]
"""The name of a network of timm."""
