"""Spec of `text_mim`. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from sslkit.plugin import MaskerField, NetName, ObjectiveSpec, Problem, TargetField, ViewName, slot_default
from sslkit_text.specs.albef_parts import FusionSize

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec


@final
class TextMIM(ObjectiveSpec):
    """Masked image modeling from text: hidden patches are guessed from the others and, by cross-attention, from words.

    The image side of masked multi-modal modeling (MaskVLM, Kwon et al. 2022); ALBEF has the text side only.
    """

    unchecked: ClassVar[str] = "it reads tokens, and the kit's runs have views of images"
    kind: Literal["text_mim"] = "text_mim"
    view: ViewName = "global"
    """View of images whose patches are hidden, with mask tokens in their place."""
    text_view: ViewName = "text"
    """View of texts; 1 crop, which goes with every crop of its image."""
    text_net: NetName = "text"
    """Network that reads them."""
    masker: MaskerField = slot_default("random", ratio=0.6)
    """Which patches to hide (MaskVLM: random, 0.6)."""
    target: TargetField = slot_default("normalized_pixel")
    """What to predict."""
    fusion: FusionSize = FusionSize(depth=1)
    """Layers in which patches attend to words; the heads divide the width of the images' network."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        view = run.views.get(self.text_view)
        if view is not None and view.crops != 1:
            yield Problem("text_view", f"{self.text_view!r} has {view.crops} crops; 1 goes with every image")
        if self.text_view == self.view:
            yield Problem("text_view", "is `view` itself; name a view of texts")

    def build(self, env: Env) -> Objective:
        from sslkit_text.text_mim import TextMIMObjective

        text = self.text_view, self.text_net
        size = self.fusion
        return TextMIMObjective(self.view, text, self.masker, self.target, size.depth, size.heads, env)
