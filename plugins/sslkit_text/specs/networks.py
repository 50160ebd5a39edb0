"""Spec of `text_transformer`. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import BackboneSpec, Grid, Problem
from sslkit_text.specs.lengths import length_of

if TYPE_CHECKING:
    from sslkit.interfaces import Backbone
    from sslkit.plugin import RunSpec, Size, View


@final
class TextTransformer(BackboneSpec):
    """A transformer on tokens: open_clip's text tower (causal, pooled at the end token), or BERT's form of it."""

    takes: ClassVar[str] = "tokens"
    oblong: ClassVar[bool] = True
    tells_attention: ClassVar[bool] = False
    kind: Literal["text_transformer"] = "text_transformer"
    width: int = Field(512, ge=1)
    """Width of the tokens (CLIP ViT-B: 512)."""
    depth: int = Field(12, ge=1)
    """Blocks (CLIP: 12)."""
    heads: int = Field(8, ge=1)
    """Attention heads; they divide the width (CLIP ViT-B: 8)."""
    causal: bool = True
    """Whether a token sees only those before it (CLIP). SigLIP, BERT: no."""
    mask_padding: bool = False
    """Whether padding is hidden from attention (BERT). CLIP needs it not: what follows the end is not seen anyway."""
    pool: Literal["end", "first", "last", "mean"] = "end"
    """Which token stands for the text: the first end token (CLIP), the first (BERT), the last, whatever stands there
    (SigLIP), or the mean of all that are no padding."""
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    """What the perceptrons apply; OpenAI's weights need `quick_gelu`."""
    epsilon: float = Field(1e-5, gt=0)
    """Of layer norms (CLIP: 1e-5; SigLIP: 1e-6)."""

    @classmethod
    def example(cls) -> Self:
        return cls(width=16, depth=1, heads=2, pool="mean")

    @property
    def blocks(self) -> int:
        return self.depth

    def grid(self, size: Size) -> Grid:
        return Grid.of((length_of(size),), (1,))

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The heads divide the width."""
        if self.width % self.heads:
            yield Problem("heads", f"{self.heads} heads do not divide the width {self.width}")

    def build(self, view: View) -> Backbone:
        from sslkit_text.text_transformer import TextShape, TextTransformerBackbone

        shape = TextShape(
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            causal=self.causal,
            mask_padding=self.mask_padding,
            pool=self.pool,
            activation=self.activation,
            epsilon=self.epsilon,
        )
        return TextTransformerBackbone(shape, view)
