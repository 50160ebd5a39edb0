"""Spec of the distillation of a network into another. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, final

from pydantic import Field

from sslkit.plugin import Count, NetName, ObjectiveSpec, Problem, ViewName
from sslkit_objectives.specs.shared_crops import shared_crop_problems

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec


@final
class Distill(ObjectiveSpec):
    """A student of any kind learns the features of a frozen teacher of any other: of whole images or patch by patch."""

    scores_patches: ClassVar[bool] = False

    kind: Literal["distill"] = "distill"
    view: ViewName = "global"
    """View that the student sees."""
    teacher_view: ViewName | None = None
    """View with the same crops at another size, with `crops_like`; or, for whole images, one that does not change, as
    a teacher with `cache` needs. Default: `view`."""
    net: NetName = "teacher"
    """The teacher, a name under `nets`: with a `backbone` and its `checkpoint`, a frozen network."""
    tokens: Literal["class", "mean", "patch"] = "class"
    """Class token (the mean of patches where a network has none), mean of patches, or every patch."""
    form: Literal["cosine", "mse", "queue"] = "cosine"
    """1 minus the cosine, mean squared error, or the similarities to a queue of the teacher's embeddings (SEED)."""
    layers: int = Field(1, ge=0, le=16)
    """Linear layers, with ReLU between them, from the student's width to the teacher's (SEED: 2); 0 for none."""
    hidden: Count | None = None
    """Width between them. Default: the student's (SEED)."""
    whiten: bool = False
    """Layer norm without scale and shift of the teacher's tokens, so that none of their numbers dominates `mse`."""
    resample: Literal["bicubic", "bilinear"] = "bilinear"
    """How the teacher's patches get the student's grid, averaged over what a larger patch covers."""
    queue: Count = 65536
    """Places of the queue (SEED: 65,536)."""
    student_temperature: float = Field(0.2, gt=0)
    """What the student's similarities to the queue are divided by (SEED: 0.2)."""
    teacher_temperature: float = Field(0.01, gt=0)
    """The same of the teacher (SEED, the paper: 0.01; the default of its code: 0.0001)."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The student learns from another net; a queue holds whole images, and those of a step."""
        if self.net == "student":
            yield Problem("net", "the student cannot teach itself; name a net with a `backbone` of its own")
        if self.form == "queue":
            if self.tokens == "patch":
                yield Problem("tokens", "a queue compares whole images; use `class` or `mean`")
            rows = run.batch_size * run.views[self.view].crops
            if self.queue < rows:
                yield Problem("queue", f"{self.queue} places do not hold the {rows} embeddings of one step")
        fixed = self.teacher_view is not None and run.views[self.teacher_view].fixed
        yield from shared_crop_problems(
            self.view, self.teacher_view, run, alike=self.tokens == "patch" or not fixed
        )

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        """Fields of other forms."""
        yield from super().unused(run)
        if self.form != "queue":
            for field in ("queue", "student_temperature", "teacher_temperature"):
                yield Problem(field, f"is for `form: queue`, found {self.form!r}; leave it out")
        if self.tokens != "patch":
            yield Problem("resample", f"is for `tokens: patch`, found {self.tokens!r}; leave it out")
        if self.layers < 2:
            yield Problem("hidden", "is for 2 `layers` or more; leave it out")

    def build(self, env: Env) -> Objective:
        """The loss. Raises SpecError where widths differ and there is no projector."""
        from sslkit_objectives.distillation.teacher_to_student import Comparison, DistillObjective, Lesson

        teacher_view = self.teacher_view or self.view
        lesson = Lesson(self.view, teacher_view, self.net, self.tokens, self.whiten, self.resample)
        comparison = Comparison(self.form, self.queue, self.student_temperature, self.teacher_temperature)
        return DistillObjective(lesson, comparison, self.layers, self.hidden, env)
