"""Spec of `mlm`. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from sslkit.plugin import NetName, ObjectiveSpec, Problem, ViewName

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec


@final
class MLM(ObjectiveSpec):
    """Masked language modelling (BERT): guess the hidden words of a text.

    Alone, with `backbone: {kind: text_transformer, causal: false, mask_padding: true, pool: first}`, or of a tower.
    """

    scores_patches: ClassVar[bool] = False
    unchecked: ClassVar[str] = "it reads tokens, and the kit's runs have views of images"
    kind: Literal["mlm"] = "mlm"
    view: ViewName = "masked_text"
    """View of texts with hidden words, of `transform: {kind: masked_bpe}`."""
    net: NetName = "student"
    """Network that reads them."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The view hides words."""
        view = run.views.get(self.view)
        kind = None if view is None or view.transform is None else view.transform.kind_name()
        if view is not None and kind != "masked_bpe":
            yield Problem("view", f"{self.view!r} hides no words; give it `transform: {{kind: masked_bpe}}`")

    def build(self, env: Env) -> Objective:
        from sslkit_text.masked_words import MaskedWordsObjective

        return MaskedWordsObjective(self.view, self.net, env)
