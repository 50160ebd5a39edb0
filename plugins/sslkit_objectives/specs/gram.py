"""Spec of Gram anchoring. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from sslkit.plugin import CopyName, MaskerField, ObjectiveSpec, Problem, ViewName
from sslkit_objectives.specs.shared_crops import shared_crop_problems

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec


@final
class Gram(ObjectiveSpec):
    """Gram anchoring (Simeoni et al. 2025, DINOv3): similarities between patches stay those of an earlier net."""

    scores_patches: ClassVar[bool] = False

    kind: Literal["gram"] = "gram"
    view: ViewName = "global"
    """View that the student sees."""
    teacher_view: ViewName | None = None
    """View with the same crops at another size, for the teacher (DINOv3: of twice the size, without distortions); give
    it `crops_like`. Default: `view`."""
    net: CopyName = "gram"
    """Whose similarities to follow: a copy of the first weights, with `refresh` of a later net; or a moving average."""
    masker: MaskerField | None = None
    """Read the student's masked pass of a term with an equal masker (DINOv3: iBOT's); null for whole images."""
    normalized: bool = True
    """Compare cosines and not products of patches (DINOv3: true)."""
    image_level: bool = True
    """Compare the patches of an image with each other (DINOv3's recipe), and not those of all images (its default)."""
    remove_negative: bool = False
    """Put 0 for negative similarities (DINOv3's recipe: false; the default of its class is true)."""
    only_teacher_negative: bool = False
    """Put 0 for the teacher's negative similarities only."""
    resample: Literal["bicubic", "bilinear"] = "bicubic"
    """How the teacher's map gets the student's grid, where it has another (DINOv3: bicubic)."""
    antialias: bool = False
    """Average over what a patch covers in that (DINOv3: false)."""

    @classmethod
    def example(cls) -> Self:
        return cls(net="teacher")

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Both nets see the same crops, and one way to treat negatives is enough."""
        if self.remove_negative and self.only_teacher_negative:
            yield Problem("only_teacher_negative", "goes without `remove_negative`; keep one of them")
        yield from shared_crop_problems(self.view, self.teacher_view, run)

    def build(self, env: Env) -> Objective:
        from sslkit_objectives.anchors.gram_anchoring import GramObjective, Seen, Similarity

        seen = Seen(self.view, self.teacher_view or self.view, self.net, self.masker)
        similarity = Similarity(
            self.normalized,
            self.image_level,
            self.remove_negative,
            self.only_teacher_negative,
            self.resample,
            self.antialias,
        )
        return GramObjective(seen, similarity, env)
