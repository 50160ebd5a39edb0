"""The target `vq_token`: codes of a tokenizer that sslkit trained, from its file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, final

import torch.nn.functional as F
from pydantic import BaseModel, TypeAdapter
from torch import Tensor, nn

from sslkit.functional.vector_quantization import nearest_code
from sslkit.interfaces import Loaded, Request, TokenTarget, read_part, token_target
from sslkit.nn.pixel_statistics import keep_statistics
from sslkit.nn.token_colors import code_colors
from sslkit.plugin import CheckpointError, Grid, JsonFile, SpecError, View
from sslkit_tokenizers.tokenizer_objective import PART, projection


@final
class _Settings(BaseModel):
    """Of an exported tokenizer."""

    metric: Literal["cosine", "euclidean"]


AGAIN = "write it again with `sslkit export RUN_DIR --part tokenizer --out FILE`"
SETTINGS = JsonFile(TypeAdapter(_Settings), CheckpointError, AGAIN)


@final
class TrainedTokenizer(nn.Module):
    """What `sslkit export --part tokenizer` wrote."""

    codes: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, loaded: Loaded, path: Path) -> None:
        """`path`: the file that was read, for messages. Raises CheckpointError where it is no tokenizer."""
        super().__init__()
        self.backbone = loaded.backbone
        settings = SETTINGS.check(loaded.settings, f"{path}: metadata 'settings'")
        codes, size = _codes(loaded, path), loaded.view.size
        self.grid = loaded.backbone.grid(size)
        self.project = projection(loaded.backbone.dim, codes.shape[1])
        prefix = "project."
        weights = {k.removeprefix(prefix): v for k, v in loaded.state.items() if k.startswith(prefix)}
        try:
            self.project.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f"{path}: its projection does not fit: {error}; {AGAIN}") from None
        self.unit = settings.metric == "cosine"
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


def _codes(loaded: Loaded, path: Path) -> Tensor:
    """`[codes, D]`. Raises CheckpointError where there are none."""
    codes = loaded.state.get("codes")
    if codes is None or codes.ndim != 2 or not len(codes) or not codes.is_floating_point():
        shape = "none" if codes is None else f"{codes.dtype} of shape {list(codes.shape)}"
        raise CheckpointError(f"{path}: `codes` should be a table of vectors, found {shape}; {AGAIN}")
    return codes


def trained_tokens(path: Path, view: View, grid: Grid) -> TokenTarget:
    """The target of the codes of the tokenizer that `sslkit export --part tokenizer` wrote to `path`.

    Raises:
        CheckpointError: the file is none.
        SpecError: its channels or patches are not those of `view` and `grid`.
    """
    loaded = read_part(path, PART)
    codes, channels = _codes(loaded, path), loaded.view.channels
    if channels != view.channels:
        raise SpecError(f"target: {path} reads images of {channels} channels, but these have {view.channels}")
    tokenizer = TrainedTokenizer(
        loaded, path
    )  # what it draws has always come before the initial weights of heads
    return token_target(
        lambda: tokenizer, view, grid,
        codes=len(codes), size=loaded.view.size, colors=code_colors(codes, channels), name=str(path),
    )  # fmt: skip
