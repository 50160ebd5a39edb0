"""The kit's second stream: words of noise images, a transform, a network and an objective that read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, final

import torch
from torch import Tensor, nn

from sslkit.core.backbone import Backbone, Exported
from sslkit.core.context import Env
from sslkit.core.objective import Objective
from sslkit.core.passes import Encode, Output, Request, Tokens
from sslkit.core.random_stream import Draw
from sslkit.core.source import Source, readable_samples
from sslkit.core.transform import Transform, bytes_of
from sslkit.core.view import Grid, Size, Stream, View, sides_of
from sslkit.errors import SpecError
from sslkit.runtime import seeds
from sslkit.specs.families import BackboneSpec, ObjectiveSpec, TransformSpec
from sslkit.specs.references import NetName, ViewName

STREAMS = {
    "image": Stream(),
    "text": Stream("text", 1),
    "audio": Stream("audio", 1),
    "video": Stream("video", 3),
}
"""What the kit's source gives of every sample: a stream of every type that it knows, by the type's name."""
FIRST_STREAM = next(iter(STREAMS))
_SHAPES = {"audio": (1, 400), "video": (3, 6, 32, 32)}
"""Of the first sample; the last axis grows from one to the next."""


def sample_of(stream: str, index: int) -> Tensor:
    """Sample `index` of a stream that is not the first."""
    if stream not in _SHAPES:
        return bytes_of(f"noise of class {index % 5}, number {index * index}")
    *shape, last = _SHAPES[stream]
    generator = seeds.generator(0, stream, index)
    return torch.randint(0, 256, (*shape, last + index), generator=generator).to(torch.uint8)


PAD, MASK, START, END, FIRST = 0, 1, 2, 3, 4
"""Symbols that stand for no byte, and that of the first byte."""
TOKENS = "tokens"
"""Type of what `Letters` makes."""


@final
class LetterTransform(Transform):
    """A symbol for each byte that was seen in training."""

    symbols = True

    def __init__(self, length: int, alphabet: bytes) -> None:
        self.length = length
        self.table = torch.zeros(256, dtype=torch.int64)
        self.table[list(alphabet)] = torch.arange(FIRST, FIRST + len(alphabet))
        special = {"pad": PAD, "mask": MASK, "start": START, "end": END}
        self.facts = {"vocabulary": FIRST + len(alphabet), **special}

    def __call__(self, samples: Sequence[Tensor], draw: Draw) -> Tensor:
        """`[B, L]`: as many bytes as fit between the start and the end, then padding."""
        bodies = [self.table[sample.flatten()[: self.length - 2].long()] for sample in samples]
        start, end = torch.tensor([START]), torch.tensor([END])
        rows = [torch.cat([start, body, end]) for body in bodies]
        return torch.stack([nn.functional.pad(row, (0, self.length - len(row)), value=PAD) for row in rows])


@final
class Letters(TransformSpec):
    """The kit's transform; no entry point offers it."""

    takes, gives, axes = "text", TOKENS, 1
    kind: Literal["letters"] = "letters"

    def learn(self, source: Source, stream: str) -> str:
        """The bytes that occur, in order."""
        seen = {byte for sample in readable_samples(source, stream) for byte in sample.flatten().tolist()}
        return "".join(map(chr, sorted(seen)))

    def build(self, size: Size, learned: str) -> Transform:
        (length,) = sides_of(size, 1)
        return LetterTransform(length, learned.encode("latin-1"))


@final
class LetterNet(Backbone):
    """Mean of neighbors' embeddings; hidden symbols have a token in their place, or are left out."""

    def __init__(self, width: int, view: View) -> None:
        super().__init__()
        self.dim, self.depth = width, 1
        self.embed = nn.Embedding(view.facts["vocabulary"], width)
        self.block = nn.Linear(width, width)
        self.mask_token: nn.Parameter | None = None

    def grid(self, size: Size) -> Grid:
        return Grid.of(sides_of(size, 1), (1,))

    def serve(self, passes: Sequence[Encode]) -> None:
        """A mask token only where a pass needs it."""
        if any(p.mask is not None and p.mode == "token" for p in passes):
            self.mask_token = nn.Parameter(torch.zeros(self.dim))

    def layer_of(self, name: str) -> int:
        """The embedding, then the block."""
        return 1 if name.startswith("block") else 0

    def units(self) -> Sequence[nn.Module]:
        return (self.block,)

    def forward(self, requests: Sequence[Request]) -> list[Tokens]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Tokens:
        if request.attention:
            raise SpecError("it has no attention")
        x_VBLD = self.embed(request.image)
        if request.mask is not None and request.mode == "token":
            assert self.mask_token is not None, "`serve` makes it"
            x_VBLD = torch.where(request.mask.hidden[..., None], self.mask_token.to(x_VBLD.dtype), x_VBLD)
        elif request.mask is not None:
            keep = request.mask.keep[..., None].expand(-1, -1, -1, self.dim)
            x_VBLD = x_VBLD.gather(2, keep)
        x_VBLD = x_VBLD + self.block(x_VBLD).tanh()
        cls = x_VBLD.mean(2)
        layers = (torch.cat([cls[:, :, None], x_VBLD], 2),) * len(request.layers)
        return request.answer(cls, x_VBLD, layers)

    def export(self) -> Exported:
        raise SpecError("timm has no such network: it reads symbols")


@final
class LetterTower(BackboneSpec):
    """The kit's network for symbols; no entry point offers it."""

    takes, tells_attention = TOKENS, False
    kind: Literal["letter_net"] = "letter_net"
    width: int = 8
    """Of its tokens."""

    def build(self, view: View) -> Backbone:
        return LetterNet(self.width, view)

    def grid(self, size: Size) -> Grid | None:
        return Grid.of(sides_of(size, 1), (1,))


@final
class PairLoss(Objective):
    """Images and their words are near each other: the squared distance of two projections."""

    def __init__(self, spec: Pairs, env: Env) -> None:
        super().__init__()
        self.passes = (Encode(spec.view), Encode(spec.words, spec.net))
        self.image = nn.Linear(env.net("student").dim, 4)
        self.words = nn.Linear(env.net(spec.net).dim, 4)

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        seen, read = tokens
        words = self.words(torch.cat([read.cls[:1, :, None], read.patch[:1]], 2))
        image = self.image(torch.cat([seen.cls[:1, :, None], seen.patch[:1]], 2)).mean(2, keepdim=True)
        return Output((image.float() - words.float()).square().mean() + words.float().square().mean())


@final
class Pairs(ObjectiveSpec):
    """The kit's objective of two streams; no entry point offers it."""

    kind: Literal["pairs"] = "pairs"
    view: ViewName = "global"
    """View of images."""
    words: ViewName = "words"
    """View of their words."""
    net: NetName = "text"
    """What reads the words."""

    def build(self, env: Env) -> Objective:
        return PairLoss(self, env)
