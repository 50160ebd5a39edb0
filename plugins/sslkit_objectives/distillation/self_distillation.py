"""Self-distillation: a student predicts the outputs of its moving average.

S student crops, V teacher crops, B images, N patches, L hidden patches, D width, K prototypes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.functional.distillation_losses import between_crops, cross_entropy
from sslkit.functional.feature_std import feature_std
from sslkit.functional.koleo import koleo
from sslkit.functional.precision import at_least_float32
from sslkit.interfaces import Encode, Mask, Objective, Output, Tokens
from sslkit.nn.dino_head import PrototypeHead, Prototypes
from sslkit.plugin import Env, MaskerSpec
from sslkit_objectives.all_ranks import of_all_ranks
from sslkit_objectives.distillation.teacher_centering import Center, tallied
from sslkit_objectives.distillation.teacher_entropy import entropy, entropy_shares

Temperature = Callable[[int], float]
"""The temperature at a step."""


class Crops(NamedTuple):
    """What is encoded, and by whom."""

    view: str
    """View that both nets see."""
    local: str | None
    """View that only the student sees."""
    teacher: str
    """Name of the moving average."""
    masker: MaskerSpec | None = None
    """What hides patches of `view` from the student."""
    fewest: int = 2
    """Crops of `view` that are needed."""

    @property
    def passes(self) -> tuple[Encode, ...]:
        """The student on `view`, the teacher on it, the student on `local`."""
        seen = Encode(self.view, mask=self.masker, mode="drop" if self.masker is None else "token")
        both = (seen, Encode(self.view, net=self.teacher))
        return both if self.local is None else (*both, Encode(self.local))


class Terms(NamedTuple):
    """The loss beside its heads and centers."""

    student_temperature: float
    temperature: Temperature | None
    """Of the teacher's class logits, where there is a term of them."""
    freeze_epochs: int
    """Epochs at the beginning in which the last layers stay as they are."""
    koleo: float = 0.0
    """Weight of KoLeo."""
    class_weight: float = 1.0
    patch_temperature: Temperature | None = None
    """Of the teacher's patch logits, where there is a term of them."""
    patch_weight: float = 0.0
    center_all: bool = True
    """All patches move their center, not only the hidden ones."""


@final
class SelfDistillationObjective(Objective):
    """Cross-entropy between a student's and a teacher's crops, and of hidden patches, each where it has a center."""

    def __init__(
        self,
        crops: Crops,
        terms: Terms,
        head: PrototypeHead,
        center: Center | None,
        patch_center: Center | None,
        env: Env,
    ) -> None:
        super().__init__()
        self.passes = crops.passes
        self.crops = {crops.view: crops.fewest} | ({} if crops.local is None else {crops.local: 1})
        self.twins, self.follows = {"student_head": "teacher_head"}, crops.teacher
        self.terms, self.freeze_steps = terms, terms.freeze_epochs * env.length.steps_per_epoch
        temperatures = {"temperature": terms.temperature, "patch_temperature": terms.patch_temperature}
        self.schedules = {name: value for name, value in temperatures.items() if value is not None}
        self.student_head = head
        self.teacher_head = copy.deepcopy(head).requires_grad_(False)
        self.center, self.patch_center = center, patch_center
        self.compares = bool(terms.koleo) or any(c is not None and c.compares for c in (center, patch_center))

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The weighted sum of the terms."""
        student, teacher, *local = tokens
        metrics: dict[str, Tensor] = {"feature_std": feature_std(student.cls)}
        patch = None
        if self.patch_center is not None:
            assert student.mask is not None, "the system samples a mask for every pass that names a masker"
            patch = self.patch_term(now["patch_temperature"], student.mask, student.patch, teacher.patch)
        if self.center is None:
            assert patch is not None, "there is a center for each term"
            return Output(patch.loss, {**metrics, **patch.metrics}, patch.carry, patch.scores)
        cls = self.class_term(now["temperature"], student.cls, teacher.cls, *(t.cls for t in local))
        loss, carry = self.terms.class_weight * cls.loss, dict(cls.carry)
        metrics |= cls.metrics
        if patch is not None:
            loss = loss + self.terms.patch_weight * patch.loss
            metrics |= {"class_loss": cls.loss.detach(), "patch_loss": patch.loss.detach(), **patch.metrics}
            carry |= patch.carry
        scores = None if patch is None else patch.scores
        if self.terms.koleo:
            term = apart(student.cls)
            loss, metrics["koleo"] = loss + self.terms.koleo * term, term
        return Output(loss, metrics, carry, scores)

    def class_term(
        self, temperature: Tensor, student_VBD: Tensor, teacher_VBD: Tensor, *local_VBD: Tensor
    ) -> Output:
        """The loss of class tokens, without its weight."""
        logits = self.student_head(torch.cat([student_VBD, *local_VBD]))
        with torch.no_grad():
            teacher_logits = self.teacher_head(teacher_VBD)
        return self.class_loss(temperature, logits, teacher_logits)

    def class_loss(self, temperature: Tensor, student_SBK: Tensor, teacher_VBK: Tensor) -> Output:
        """The loss of class logits, without its weight."""
        assert self.center is not None, "asked only where class tokens are predicted"
        scores = at_least_float32(student_SBK) / self.terms.student_temperature
        with torch.no_grad():
            goal = self.center(teacher_VBK, temperature)
        loss = between_crops(scores, goal)
        with torch.no_grad():
            shares = entropy_shares(goal)
            teacher_entropy = shares["teacher_entropy_share"] * math.log(max(2, goal.shape[-1]))
            metrics = {"teacher_entropy": teacher_entropy, "kl": loss - teacher_entropy, **shares}
            metrics["student_entropy"] = entropy(scores[: len(goal)].softmax(-1))
            total = at_least_float32(teacher_VBK).sum((0, 1))
            rows = tallied(total, teacher_VBK[..., 0].numel()) if self.center.moves else {}
        return Output(loss, metrics, rows)

    def patch_term(
        self, temperature: Tensor, mask: Mask, student_VBND: Tensor, teacher_VBND: Tensor
    ) -> Output:
        """The loss of hidden patches, without its weight."""
        guess = self.student_head.patch_layer(self.student_head.embed(mask.pick(student_VBND)))
        with torch.no_grad():
            targets, carry = self._teacher_patches(mask, teacher_VBND)
        output = self.patch_loss(temperature, mask, guess, targets)
        rows = {f"patch_{name}": values for name, values in carry.items()}
        return Output(output.loss, output.metrics, rows, output.scores)

    def patch_loss(self, temperature: Tensor, mask: Mask, student_LK: Tensor, teacher_LK: Tensor) -> Output:
        """The loss of the hidden patches' logits: mean over images, those without hidden patches included, as 0."""
        assert self.patch_center is not None, "asked only where patches are predicted"
        real = mask.per_image > 0
        with torch.no_grad():
            goal = self.patch_center(teacher_LK, temperature, real)
        errors = cross_entropy(at_least_float32(student_LK) / self.terms.student_temperature, goal)
        with torch.no_grad():
            each = torch.special.entr(goal).sum(-1)
            metrics = {"patch_teacher_entropy": mask.batch_mean(each)}
        return Output(mask.mean(errors), metrics, scores=errors.detach())

    def _teacher_patches(self, mask: Mask, teacher_VBND: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The teacher's logits of hidden patches `[L, K]`, and what moves their center."""
        assert self.patch_center is not None, "asked only where patches are predicted"
        head, layer = self.teacher_head, self.teacher_head.patch_layer
        if not self.patch_center.moves:
            return layer(head.embed(mask.pick(teacher_VBND))), {}
        if self.terms.center_all:
            embedded = head.embed(teacher_VBND)
            hidden, count = mask.pick(embedded), embedded[..., 0].numel()
            return layer(hidden), tallied(of_sum(layer, embedded.flatten(0, 2)), count)
        hidden = head.embed(mask.pick(teacher_VBND))
        real = (mask.per_image > 0).to(hidden.dtype)
        return layer(hidden), tallied(of_sum(layer, hidden * real[:, None]), real.sum())

    def before_update(self, step: int) -> None:
        """Leave the last layers as they are in the first epochs (DINO `cancel_gradients_last_layer`)."""
        if step < self.freeze_steps:
            for layer in self.student_head.last_layers:
                for parameter in layer.parameters():
                    parameter.grad = None

    def commit(self, carry: Mapping[str, Tensor]) -> None:
        """Move the centers."""
        if self.center is not None and "sum" in carry:
            self.center.commit(carry)
        if self.patch_center is not None and "patch_sum" in carry:
            self.patch_center.commit({"sum": carry["patch_sum"], "count": carry["patch_count"]})


def of_sum(layer: Prototypes, embedded: Tensor) -> Tensor:
    """The sum `[K]` of the layer's outputs for `embedded` `[M, D]`, as its output for their sum: it has no bias.

    So the mean over all patches costs one row of logits, not M.
    """
    with torch.autocast(embedded.device.type, enabled=False):
        total: Tensor = layer(embedded.sum(0))
    return total


def apart(cls_VBD: Tensor) -> Tensor:
    """KoLeo of each crop's images, of all ranks, summed over crops (DINOv2 `ssl_meta_arch.py`)."""
    return koleo(of_all_ranks(cls_VBD)).sum()
