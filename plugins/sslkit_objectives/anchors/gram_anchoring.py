"""Gram anchoring: patch similarities stay those of an earlier net. V crops, B images, N patches, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.patch_maps import Resampling, resample_patches
from sslkit.functional.patch_similarity import gram_loss
from sslkit.functional.precision import at_least_float32
from sslkit.interfaces import Encode, Objective, Output, Tokens
from sslkit.plugin import Env, MaskerSpec
from sslkit_objectives.all_ranks import of_all_ranks


class Similarity(NamedTuple):
    """How similarities are compared."""

    normalized: bool
    image_level: bool
    remove_negative: bool
    only_teacher_negative: bool
    resample: Resampling
    antialias: bool


class Seen(NamedTuple):
    """Who sees what."""

    view: str
    teacher_view: str
    net: str
    masker: MaskerSpec | None

    @property
    def passes(self) -> tuple[Encode, ...]:
        """The student's pass, and the teacher's, which sees whole crops."""
        student = Encode(self.view, mask=self.masker, mode="drop" if self.masker is None else "token")
        return student, Encode(self.teacher_view, net=self.net)


@final
class GramObjective(Objective):
    """Mean squared difference between the patch similarities of the student and those of another net."""

    def __init__(self, seen: Seen, similarity: Similarity, env: Env) -> None:
        super().__init__()
        ours, theirs = env.grid(seen.view), env.patches(seen.net, seen.teacher_view)
        self.passes = seen.passes
        self.crops = {seen.view: 1, seen.teacher_view: 1}
        self.compares = not similarity.image_level
        self.similarity = similarity
        self.sides, self.teacher_sides = (ours.rows, ours.cols), (theirs.rows, theirs.cols)

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The mean over crops and images, or the one of all patches of all images."""
        student, teacher = (seen.patch for seen in tokens)
        how = self.similarity
        with torch.no_grad():
            goal = resample_patches(
                teacher, self.teacher_sides, self.sides, how.resample, antialias=how.antialias
            )
            metrics = {"similarity": mean_similarity(student), "teacher_similarity": mean_similarity(goal)}
        if not how.image_level:
            student, goal = of_all_images(student), of_all_images(goal)
        loss = gram_loss(
            student,
            goal,
            normalized=how.normalized,
            remove_negative=how.remove_negative,
            only_teacher_negative=how.only_teacher_negative,
        )
        return Output(loss.mean(), metrics)


def of_all_images(patches_VBND: Tensor) -> Tensor:
    """The patches of all crops of all ranks' images, `[M, D]`, with gradient."""
    joined = of_all_ranks(patches_VBND.flatten(2))
    patches: Tensor = joined.unflatten(-1, patches_VBND.shape[2:]).flatten(0, 2)
    return patches


def mean_similarity(patches_VBND: Tensor) -> Tensor:
    """Mean cosine of two patches of an image: near 1, all patches look alike."""
    unit = F.normalize(at_least_float32(patches_VBND.detach()), dim=-1)
    return unit.mean(-2).square().sum(-1).mean()
