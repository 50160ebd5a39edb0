"""A pre-norm transformer on tokens, as open_clip's text tower. B texts, L tokens, D width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.interfaces import Backbone, Encode, Exported, Request, Tokens
from sslkit.plugin import Grid, Size, SpecError, View
from sslkit_text.specs.lengths import length_of


class TextShape(NamedTuple):
    """The network, as the fields of `text_transformer` say."""

    width: int
    depth: int
    heads: int
    causal: bool
    mask_padding: bool
    pool: Literal["end", "first", "last", "mean"]
    activation: Literal["gelu", "quick_gelu"]
    epsilon: float


@final
class TextBlock(nn.Module):
    """Attention and a perceptron of 4 times the width, each after a layer norm and beside a shortcut."""

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.heads, self.quick = shape.heads, shape.activation == "quick_gelu"
        self.norm1 = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.proj = nn.Linear(shape.width, shape.width)
        self.norm2 = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.fc1 = nn.Linear(shape.width, 4 * shape.width)
        self.fc2 = nn.Linear(4 * shape.width, shape.width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """`[B, L, D]` -> the same. `mask`: bool, True where a query sees a key, broadcast to `[B, heads, L, L]`."""
        query, key, value = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + self.proj(attended.transpose(1, 2).flatten(2))
        hidden = self.fc1(self.norm2(x))
        hidden = hidden * torch.sigmoid(1.702 * hidden) if self.quick else F.gelu(hidden)
        out: Tensor = x + self.fc2(hidden)
        return out


@final
class TextTransformerBackbone(Backbone):
    """Token and position embeddings, blocks, a layer norm, and one token that stands for the text."""

    def __init__(self, shape: TextShape, view: View) -> None:
        """`view`: its `facts` say how many tokens there are, and which are special.

        Raises:
            SpecError: they do not.
        """
        super().__init__()
        for fact in ("vocabulary", "pad", *(("end",) if shape.pool == "end" else ())):
            if fact not in view.facts:
                raise SpecError(f"text_transformer: the transform of its view tells no {fact!r}; use `bpe`")
        self.shape, self.facts, self.length = shape, dict(view.facts), view.sides[-1]
        self.dim, self.depth = shape.width, shape.depth
        self.embedding = nn.Embedding(self.facts["vocabulary"], shape.width)
        self.positions = nn.Parameter(torch.empty(self.length, shape.width))
        blocks = [TextBlock(shape) for _ in range(shape.depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self._initialize(blocks)

    def _initialize(self, blocks: Sequence[TextBlock]) -> None:
        """open_clip's (`transformer.py:1664-1685`)."""
        width = self.shape.width
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.01)
        inner = width**-0.5 * (2 * self.depth) ** -0.5
        for block in blocks:
            for layer, std in ((block.qkv, width**-0.5), (block.proj, inner)):
                nn.init.normal_(layer.weight, std=std)
                nn.init.zeros_(layer.bias)
            nn.init.normal_(block.fc1.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.fc2.weight, std=inner)

    def grid(self, size: Size) -> Grid:
        return Grid.of((length_of(size),), (1,))

    def serve(self, passes: Sequence[Encode]) -> None:
        """Tokens are hidden by the mask token and never left out."""
        masked = [p for p in passes if p.mask is not None]
        if any(p.mode == "drop" for p in masked):
            raise SpecError(
                "text_transformer: leaves no tokens out; use `mode: token`, which puts the mask token in"
            )
        if masked and "mask" not in self.facts:
            raise SpecError("text_transformer: the tokenizer has no mask token; name it in its field `mask`")

    def units(self) -> Sequence[nn.Module]:
        return list(self.blocks)

    def layer_of(self, name: str) -> int:
        """0 for the embeddings, one for each block, and the last norm after them."""
        part, _, rest = name.partition(".")
        if part == "blocks":
            return int(rest.partition(".")[0]) + 1
        return self.depth + 1 if part == "norm" else 0

    def export(self) -> Exported:
        raise SpecError("timm has no text transformers; `sslkit export` writes networks of images only")

    def forward(self, requests: Sequence[Request]) -> list[Tokens]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Tokens:
        if request.attention:
            raise SpecError("text_transformer: does not tell its attention")
        tokens = request.image.flatten(0, 1)
        if (
            tokens.ndim == 3
        ):  # a masked text, and below it what is to be guessed, which is not for the network
            tokens = tokens[:, 0]
        read = tokens
        if request.mask is not None:
            read = torch.where(request.mask.hidden.flatten(0, 1), self.facts["mask"], tokens)
        x = self.embedding(read) + self.positions[: tokens.shape[1]]
        mask, layers = self._visible(tokens), {}
        for number, block in enumerate(self.blocks):
            x = block(x, mask)
            layers[number] = x
        outputs = tuple(self._with_pooled(layers[self._block(layer)], tokens) for layer in request.layers)
        last = self.norm(x)
        views = request.image.shape[:2]
        return request.answer(
            self._pooled(last, tokens).unflatten(0, views),
            last.unflatten(0, views),
            tuple(output.unflatten(0, views) for output in outputs),
        )

    def _block(self, layer: int) -> int:
        if not -self.depth <= layer < self.depth:
            raise SpecError(f"layer {layer} does not exist: text_transformer has {self.depth} blocks")
        return layer % self.depth

    def _visible(self, tokens: Tensor) -> Tensor | None:
        """Keys that queries see, `[B or 1, 1, L, L or 1]`; None for all."""
        visible = None
        if self.shape.causal:
            length = tokens.shape[1]
            visible = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()[None, None]
        if self.shape.mask_padding:
            words = (tokens != self.facts["pad"])[:, None, None]
            visible = words if visible is None else visible & words
        return visible

    def _pooled(self, x: Tensor, tokens: Tensor) -> Tensor:
        """`[B, L, D]` -> `[B, D]`."""
        if self.shape.pool == "mean":
            words = (tokens != self.facts["pad"]).to(x.dtype)[..., None]
            return (x * words).sum(1) / words.sum(1).clamp(min=1)
        if self.shape.pool == "first":
            return x[:, 0]
        if self.shape.pool == "last":
            return x[:, -1]
        # The first end token, whatever its number is: open_clip's argmax needs it to be the largest.
        place = (tokens == self.facts["end"]).int().argmax(1)
        return x[torch.arange(len(x), device=x.device), place]

    def _with_pooled(self, x: Tensor, tokens: Tensor) -> Tensor:
        return torch.cat([self._pooled(x, tokens)[:, None], x], dim=1)
