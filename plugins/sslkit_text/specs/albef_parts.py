"""What the specs of `albef` and of its terms share. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, final

from pydantic import Field

from sslkit.plugin import ObjectiveSpec, Problem, Reference, Spec

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec

Average = Annotated[str, Reference("average", settings="{momentum: 0.995, update: before_forward}")]
"""A moving average with ALBEF's momentum."""
TextAverage = Annotated[
    str, Reference("average", settings="{of: text, momentum: 0.995, update: before_forward}")
]
UNCHECKED = "it reads tokens, and the kit's runs have views of images"


@final
class FusionSize(Spec):
    """The network whose text tokens attend to image tokens: layers of BERT's form, as wide as the texts' network."""

    depth: int = Field(6, ge=1)
    """Layers, each with cross-attention (ALBEF: 6, the upper half of BERT)."""
    heads: int = Field(12, ge=1)
    """Attention heads; they divide the width of the texts' network (BERT: 12)."""


def built(spec: ObjectiveSpec, fusion: FusionSize, env: Env, **weights: float) -> Objective:
    """The terms with these weights; what they do not read keeps its default."""
    from sslkit_text.albef import ALBEFObjective
    from sslkit_text.albef_settings import Fusion

    fields = {name: getattr(spec, name) for name in Fusion._fields if name in type(spec).model_fields}
    sizes = {"depth": fusion.depth, "heads": fusion.heads}
    return ALBEFObjective(Fusion(**{**fields, **weights, **sizes}), env)


def one_crop(run: RunSpec, **views: str) -> Iterator[Problem]:
    """Each view has one crop, and they differ."""
    for field, name in views.items():
        view = run.views.get(name)
        if view is not None and view.crops != 1:
            yield Problem(field, f"{name!r} has {view.crops} crops; pairs are of 1")
    if len(set(views.values())) < len(views):
        yield Problem(list(views)[-1], "names the view of another field; name a view of its own")


def hidden_words(run: RunSpec, name: str) -> Iterator[Problem]:
    """The view hides words."""
    view = run.views.get(name)
    kind = None if view is None or view.transform is None else view.transform.kind_name()
    if view is not None and kind != "masked_bpe":
        yield Problem(
            "masked_view",
            f"{name!r} hides no words; give it `transform: {{kind: masked_bpe, hide_end: true}}`",
        )


def room(run: RunSpec, queue: int) -> Iterator[Problem]:
    """The queue holds a step's embeddings."""
    if queue < run.batch_size:
        yield Problem("queue", f"{queue} places do not hold the {run.batch_size} embeddings of one step")
