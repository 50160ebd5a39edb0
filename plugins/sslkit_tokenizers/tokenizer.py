"""Frozen tokenizers: images in [0, 1] to code ids."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Self, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.functional.vector_quantization import nearest_code
from sslkit.interfaces import Loaded, Request, read_part
from sslkit.nn.pixel_normalization import keep_statistics
from sslkit.plugin import SpecError, reason_of
from sslkit_tokenizers.palette import code_colors, fixed_colors
from sslkit_tokenizers.tokenizer_objective import PART, projection

MOVED = {"sslkit_tokens.colours:PatchColours": "sslkit_tokenizers.patch_colors:PatchColors"}
"""Names that specs of earlier versions have -> where the callable is now."""


class Source(NamedTuple):
    """A tokenizer, its codes and its image size."""

    module: nn.Module
    """Images `[B, C, size, size]` in [0, 1] -> ids `[B, rows, columns]` or `[B, patches]`."""
    codes: int
    size: int
    colors: Tensor
    """`[codes, C]` in [0, 1], for figures."""
    name: str
    """What people call it."""


@final
class TrainedTokenizer(nn.Module):
    """What `sslkit export --part tokenizer` wrote."""

    codes: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.backbone = loaded.backbone
        codes, size = loaded.state["codes"], loaded.view.size
        self.grid = loaded.backbone.grid(size)
        self.project = projection(loaded.backbone.dim, codes.shape[1])
        prefix = "project."
        self.project.load_state_dict(
            {k.removeprefix(prefix): v for k, v in loaded.state.items() if k.startswith(prefix)}
        )
        self.unit = loaded.settings["metric"] == "cosine"
        self.register_buffer("codes", codes)
        keep_statistics(self, loaded.view.mean, loaded.view.std, persistent=True)

    def forward(self, images: Tensor) -> Tensor:
        """`[B, C, S, S]` in [0, 1] -> `[B, rows, columns]` int64."""
        normalized = (images - self.mean) / self.std
        (tokens,) = self.backbone([Request(normalized[None], None, "drop", ())])
        vectors = self.project(tokens.patch[0])
        vectors = F.normalize(vectors, dim=-1) if self.unit else vectors
        ids = nearest_code(vectors.flatten(0, 1), self.codes)
        return ids.view(-1, self.grid.rows, self.grid.cols)


@final
class Frozen(nn.Module):
    """A module without gradients that stays in evaluation mode."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """The module's output, from float32 images."""
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            out: Tensor = self.module(images.float())
        return out

    def train(self, mode: bool = True) -> Self:
        """Always evaluation mode."""
        return super().train(False)


def load_tokenizer(path: Path) -> Source:
    """The tokenizer that `sslkit export --part tokenizer` wrote to `path`. Raises CheckpointError if it is none."""
    loaded = read_part(path, PART)
    colors = code_colors(loaded.state["codes"], loaded.view.channels)
    size, codes = loaded.view.size, len(loaded.state["codes"])
    return Source(Frozen(TrainedTokenizer(loaded)), codes, size, colors, str(path))


def tokenizer_of_module(
    module: str, arguments: Mapping[str, object], codes: int, size: int, channels: int
) -> Source:
    """The tokenizer of `codes` codes that `module`, a `package.module:callable`, makes of `arguments`.

    Args:
        module: where the callable is.
        arguments: of the callable.
        codes: number of codes.
        size: side of the images that it takes.
        channels: of the images.

    Raises:
        SpecError: it cannot be imported or made.
    """
    place, _, name = MOVED.get(module, module).partition(":")
    try:
        make = getattr(import_module(place), name)
    except (ImportError, AttributeError) as error:
        raise SpecError(f"target.module: cannot import {module!r}: {reason_of(error)}") from None
    try:
        with torch.random.fork_rng(devices=[]):  # its weights must not move those of the run
            tokenizer = make(**arguments)
    except (TypeError, ValueError) as error:
        raise SpecError(f"target.arguments: {module} refuses them: {reason_of(error)}") from None
    if not isinstance(tokenizer, nn.Module):
        raise SpecError(
            f"target.module: {module} gives a {type(tokenizer).__name__}, expected a torch module"
        )
    colors = fixed_colors(codes, channels)
    return Source(Frozen(tokenizer), codes, size, colors, module)
