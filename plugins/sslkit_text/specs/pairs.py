"""Specs of `clip` and `siglip`: images and texts that belong together. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import NetName, ObjectiveSpec, Problem, ViewName, suggest
from sslkit_text.specs.albef import ALBEF
from sslkit_text.specs.albef_terms import ITC

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec


@final
class CLIP(ObjectiveSpec):
    """CLIP (Radford et al. 2021): every image finds its text among those of the batch, and every text its image.

    The run needs a tower that reads texts: `towers: {text: {kind: text_transformer}}`.
    """

    scores_patches: ClassVar[bool] = False
    kind: Literal["clip"] = "clip"
    view: ViewName = "global"
    """View of images."""
    net: NetName = "student"
    """Network that reads them."""
    text_view: ViewName = "text"
    """View of texts."""
    text_net: NetName = "text"
    """Network that reads them."""
    dim: int = Field(512, ge=1)
    """Width of the embeddings: each network's output through a linear layer without bias (CLIP ViT-B: 512)."""
    temperature: float = Field(0.07, gt=0)
    """First value of what cosines are divided by (CLIP: 0.07); its logarithm is learned."""
    max_scale: float | None = Field(100.0, ge=1)
    """Largest inverse of the temperature, after each step (CLIP: 100); null for no bound."""
    gather: Literal["gradient", "values", "none"] = "gradient"
    """Embeddings of other ranks: with gradient, so that ranks equal one process; without (open_clip's default, whose
    gradient is 1/ranks of that); none."""

    @classmethod
    def example(cls) -> Self:
        """Of two views of images, which every run of images can have."""
        return cls(text_view="local", text_net="student", dim=8)

    @property
    def min_batch(self) -> int:
        return 2

    @property
    def min_rank_batch(self) -> int:
        return 2 if self.gather == "none" else 1

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from _view_problems(self)

    def build(self, env: Env) -> Objective:
        from sslkit_text.pair_objective import PairObjective, Pairs, clip_loss

        pairs = Pairs(self.view, self.net, self.text_view, self.text_net)
        return PairObjective(
            pairs, env, clip_loss(self.gather), self.dim, 1 / self.temperature, None, self.max_scale
        )


@final
class SigLIP(ObjectiveSpec):
    """SigLIP (Zhai et al. 2023): every pair of an image and a text by itself, whether they belong together.

    The run needs a tower that reads texts: `towers: {text: {kind: text_transformer}}`.
    """

    scores_patches: ClassVar[bool] = False
    kind: Literal["siglip"] = "siglip"
    view: ViewName = "global"
    """View of images."""
    net: NetName = "student"
    """Network that reads them."""
    text_view: ViewName = "text"
    """View of texts."""
    text_net: NetName = "text"
    """Network that reads them."""
    dim: int = Field(768, ge=1)
    """Width of the embeddings: each network's output through a linear layer without bias (SigLIP B: 768)."""
    scale: float = Field(10.0, gt=0)
    """First value of what cosines are multiplied by (SigLIP: 10); its logarithm is learned."""
    bias: float = -10.0
    """First value of what is added to that, learned too (SigLIP: -10; big_vision's LiT example: -2.71)."""
    max_scale: float | None = Field(None, ge=1)
    """Largest scale, after each step; null for no bound (big_vision), 100 in open_clip."""
    gather: bool = True
    """Whether texts of other ranks are negatives, with gradient, so that ranks equal one process."""
    chunk: int = Field(256, ge=1)
    """Texts that a batch of images is compared with at a time: memory grows with it, and the loss does not change."""

    @classmethod
    def example(cls) -> Self:
        """Of two views of images, which every run of images can have."""
        return cls(text_view="local", text_net="student", dim=8, chunk=3)

    @property
    def min_batch(self) -> int:
        return 2

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from _view_problems(self)

    def build(self, env: Env) -> Objective:
        from sslkit_text.pair_objective import PairObjective, Pairs, siglip_loss

        pairs = Pairs(self.view, self.net, self.text_view, self.text_net)
        loss = siglip_loss(self.gather, self.chunk)
        return PairObjective(pairs, env, loss, self.dim, self.scale, self.bias, self.max_scale)


KINDS = frozenset({"clip", "siglip", "albef", "itc"})
"""Objectives whose embeddings evaluators read."""
PAIRS = "an objective of pairs (`clip`, `siglip`, `itc` or `albef`)"


def pair_problems(objective: str | None, run: RunSpec) -> Iterator[Problem]:
    """What an evaluator of pairs finds missing in `run`; `objective` is the name that it was given."""
    names = [term.name for term in run.all_terms() if term.spec.kind_name() in KINDS]
    if not names:
        yield Problem("", f"needs {PAIRS}, and this run has none")
    elif objective is not None and objective not in names:
        yield Problem("objective", f"{objective!r} is not {PAIRS}. {suggest(objective, names)}")


def caption_problems(objective: str | None, run: RunSpec) -> Iterator[Problem]:
    """As `pair_problems`, and that the images of `run` have the texts that this evaluator compares them with."""
    problems = list(pair_problems(objective, run))
    yield from problems
    specs = [term.spec for term in run.all_terms() if objective in (None, term.name)]
    names = [spec.text_view for spec in specs if isinstance(spec, CLIP | SigLIP | ITC | ALBEF)]
    view = run.views.get(names[0]) if names and not problems else None
    if view is not None and view.stream_in(run.data) not in run.data.streams:
        yield Problem(
            "", f"reads {view.stream!r} of a sample, and {run.data.kind_name()!r} gives images only"
        )


def _view_problems(spec: CLIP | SigLIP) -> Iterator[Problem]:
    """Both sides are there, and they differ."""
    if spec.view == spec.text_view:
        yield Problem("text_view", "is `view` itself; name a view of another stream")
