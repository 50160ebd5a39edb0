"""Specs of ALBEF's terms alone. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import NetName, ObjectiveSpec, Problem, ViewName
from sslkit_text.specs.albef_parts import (
    UNCHECKED,
    Average,
    FusionSize,
    TextAverage,
    built,
    hidden_words,
    one_crop,
    room,
)

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec


@final
class ITC(ObjectiveSpec):
    """ALBEF's contrast alone: soft targets of moving averages, and queues. The nets are those of `albef`."""

    scores_patches: ClassVar[bool] = False
    unchecked: ClassVar[str] = UNCHECKED
    kind: Literal["itc"] = "itc"
    view: ViewName = "global"
    """View of images; 1 crop."""
    net: NetName = "student"
    """Network that reads them."""
    text_view: ViewName = "text"
    """View of texts; 1 crop."""
    text_net: NetName = "text"
    """Network that reads them."""
    teacher: Average = "teacher"
    """Moving average of `net`."""
    text_teacher: TextAverage = "text_teacher"
    """Moving average of `text_net`."""
    dim: int = Field(256, ge=1)
    """Width of the embeddings (ALBEF: 256)."""
    queue: int = Field(65536, ge=1)
    """Embeddings of earlier batches, of each side (ALBEF: 65536)."""
    temperature: float = Field(0.07, ge=0.001, le=0.5)
    """First value of what cosines are divided by (ALBEF: 0.07); learned, from 0.001 to 0.5."""
    alpha: float = Field(0.4, ge=0, le=1)
    """Share of the moving averages' targets, reached linearly in the first epoch (ALBEF: 0.4)."""
    gather: bool = True
    """Negatives from all ranks, so that ranks equal one process."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    @property
    def min_batch(self) -> int:
        return 2

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from one_crop(run, view=self.view, text_view=self.text_view)
        yield from room(run, self.queue)

    def build(self, env: Env) -> Objective:
        return built(self, FusionSize(), env, contrast=1.0)


@final
class ITM(ObjectiveSpec):
    """ALBEF's matching alone: does the text belong to the image? Negatives are drawn evenly; `albef` has hard ones."""

    scores_patches: ClassVar[bool] = False
    unchecked: ClassVar[str] = UNCHECKED
    kind: Literal["itm"] = "itm"
    view: ViewName = "global"
    """View of images; 1 crop."""
    net: NetName = "student"
    """Network that reads them."""
    text_view: ViewName = "text"
    """View of texts; 1 crop."""
    text_net: NetName = "text"
    """Network that reads them."""
    fusion: FusionSize = FusionSize()
    """The network with cross-attention."""
    gather: bool = True
    """Negatives from all ranks, so that ranks equal one process; ALBEF's are from the rank's own pairs."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    @property
    def min_batch(self) -> int:
        return 2

    @property
    def min_rank_batch(self) -> int:
        return 1 if self.gather else 2

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from one_crop(run, view=self.view, text_view=self.text_view)

    def build(self, env: Env) -> Objective:
        return built(self, self.fusion, env, matching=1.0)


@final
class CrossMLM(ObjectiveSpec):
    """ALBEF's hidden words alone: guessed from the text and, through cross-attention, from the image."""

    scores_patches: ClassVar[bool] = False
    unchecked: ClassVar[str] = UNCHECKED
    kind: Literal["cross_mlm"] = "cross_mlm"
    view: ViewName = "global"
    """View of images; 1 crop."""
    net: NetName = "student"
    """Network that reads them."""
    masked_view: ViewName = "masked_text"
    """View of texts with hidden words, of `transform: {kind: masked_bpe, hide_end: true}`; 1 crop."""
    text_net: NetName = "text"
    """Network that reads them."""
    teacher: Average = "teacher"
    """Moving average of `net`."""
    text_teacher: TextAverage = "text_teacher"
    """Moving average of `text_net`."""
    alpha: float = Field(0.4, ge=0, le=1)
    """Share of the moving averages' targets, reached linearly in the first epoch (ALBEF: 0.4)."""
    fusion: FusionSize = FusionSize()
    """The network with cross-attention."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from one_crop(run, view=self.view, masked_view=self.masked_view)
        yield from hidden_words(run, self.masked_view)

    def build(self, env: Env) -> Objective:
        return built(self, self.fusion, env, words=1.0)
