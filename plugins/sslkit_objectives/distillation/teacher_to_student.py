"""Distillation of a frozen network into a student of another kind. V crops, B images, N patches, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.functional.feature_std import feature_std
from sslkit.functional.feature_targets import plain_layer_norm
from sslkit.functional.patch_maps import Resampling, resample_patches
from sslkit.functional.precision import at_least_float32
from sslkit.functional.queue_similarity import queue_similarity
from sslkit.functional.regression_losses import regression
from sslkit.interfaces import Encode, Objective, Output, Patches, Tokens
from sslkit.nn.negative_queue import Queue
from sslkit.nn.projection_head import ProjectionHead
from sslkit.plugin import Env, Projection, SpecError

Read = Literal["class", "mean", "patch"]
"""Which tokens are compared."""
PATCHES: Mapping[Read, Patches] = {"class": "none", "mean": "mean", "patch": "all"}
"""What is read of the teacher's patches, so that no more of them is cached."""


class Lesson(NamedTuple):
    """Who teaches, and what."""

    view: str
    teacher_view: str
    net: str
    tokens: Read
    whiten: bool
    """Layer norm without scale and shift of the teacher's tokens."""
    resample: Resampling


class Comparison(NamedTuple):
    """How tokens are compared."""

    form: Literal["cosine", "mse", "queue"]
    queue: int
    student_temperature: float
    teacher_temperature: float


@final
class DistillObjective(Objective):
    """The student's tokens, projected to the teacher's width, become the teacher's."""

    def __init__(
        self, lesson: Lesson, comparison: Comparison, layers: int, hidden: int | None, env: Env
    ) -> None:
        """`layers`: linear layers of the projector, `hidden` the width between them."""
        super().__init__()
        teacher, ours = env.net(lesson.net), env.grid(lesson.view)
        theirs = env.patches(lesson.net, lesson.teacher_view)
        read = Encode(lesson.teacher_view, net=lesson.net, patches=PATCHES[lesson.tokens])
        self.passes = (Encode(lesson.view), read)
        self.crops = {lesson.view: 1, lesson.teacher_view: 1}
        self.lesson, self.comparison = lesson, comparison
        self.sides, self.teacher_sides = (ours.rows, ours.cols), (theirs.rows, theirs.cols)
        self.projector = _projector(layers, hidden, env.net("student").dim, teacher.dim, lesson.net)
        self.queue = Queue(comparison.queue, teacher.dim) if comparison.form == "queue" else None

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The mean over crops and images, and over patches."""
        student, teacher = tokens
        guess = self.projector(_read(student, self.lesson.tokens))
        with torch.no_grad():
            goal = self._goal(teacher)
        loss = self._errors(guess, goal).mean()
        with torch.no_grad():
            cosine = F.cosine_similarity(at_least_float32(guess), goal, dim=-1).mean()
            metrics = {"cosine": cosine, "feature_std": feature_std(student.cls)}
            rows = {} if self.queue is None else {"rows": F.normalize(goal, dim=-1).transpose(0, 1)}
        return Output(loss, metrics, rows)

    def commit(self, carry: Mapping[str, Tensor]) -> None:
        """Put the teacher's embeddings of the step into the queue, crop by crop."""
        if self.queue is not None:
            self.queue.commit(carry["rows"].transpose(0, 1).flatten(0, 1))

    def _goal(self, teacher: Tokens) -> Tensor:
        """What the teacher has: `[V, B, D]`, or `[V, B, N, D]` at the student's patches."""
        goal = _read(teacher, self.lesson.tokens)
        if self.lesson.tokens == "patch":
            goal = resample_patches(
                goal, self.teacher_sides, self.sides, self.lesson.resample, antialias=True
            )
        return plain_layer_norm(goal) if self.lesson.whiten else at_least_float32(goal)

    def _errors(self, guess: Tensor, goal: Tensor) -> Tensor:
        how = self.comparison
        if self.queue is not None:
            return queue_similarity(
                guess, goal, self.queue(), how.student_temperature, how.teacher_temperature
            )
        return regression(guess, goal, "l2" if how.form == "mse" else "cosine")


def _read(tokens: Tokens, which: Read) -> Tensor:
    if which == "mean":
        return tokens.patch.mean(2)
    return tokens.cls if which == "class" else tokens.patch


def _projector(layers: int, hidden: int | None, width: int, goal: int, net: str) -> nn.Module:
    if layers:
        spec = Projection.model_construct(
            layers=layers, hidden=hidden, out=goal, norm=False, bias=True, out_bias=True
        )
        return ProjectionHead(spec, width)
    if width != goal:
        raise SpecError(
            f"the student's tokens have width {width} and those of net {net!r} {goal}; let `layers` be at least 1"
        )
    return nn.Identity()
