"""Gradient caching: micro-batches of losses that compare images (GradCache, Gao et al. 2021).

Micro-batches go through the networks one by one, and only the tokens that objectives read are kept. Objectives then see
those of the whole share of a rank, and differentiate their losses to them. Last, micro-batches go through the student
once more, under the same random numbers, and the gradient on its tokens goes back through it. That is the gradient of
the whole batch, for a student that treats each image alone, at the price of a second forward of the student.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit.core.passes import Mask, Tokens
from sslkit.core.random_stream import Draw
from sslkit.core.system import Now, Stepped, System
from sslkit.core.whole_batch import Gathered, made_by_nets, rebuilt, rows_of
from sslkit.data.loaders import Batch
from sslkit.errors import SpecError
from sslkit.functional.submodules import named_submodules
from sslkit.nn.batch_norm import mode_of
from sslkit.runtime import seeds
from sslkit.train.step.backward import Backward
from sslkit.train.step.masking import Masking


class Prepared(NamedTuple):
    """A micro-batch that is ready for the networks."""

    batch: Batch
    looked: list[Tokens]
    """What ran before the masks were drawn."""
    masks: list[Mask | None]


class Whole(NamedTuple):
    """A rank's share of a step: all that objectives and maskers read of it."""

    batch: Batch
    looked: list[Tokens]
    masks: list[Mask | None]
    answers: list[Tokens]
    leaves: list[Tensor]
    """The tensors of `answers` that the student made with a gradient."""
    parts: list[tuple[slice, list[Mask | None]]]
    """Rows and masks of each micro-batch."""


class _Kept(NamedTuple):
    """Tensors of the micro-batches so far."""

    crops: Gathered
    looked: Gathered
    trained: Gathered
    others: Gathered


@final
class Cached:
    """Makes a rank's share of a step with one micro-batch at a time in the networks."""

    def __init__(
        self,
        system: System,
        masking: Masking,
        autocast: Callable[[], AbstractContextManager[object]],
        seed: int,
        rank: int,
        micro_batches: int,
    ) -> None:
        self._system, self._masking, self._autocast = system, masking, autocast
        self._key, self._rank, self._count = seed, rank, micro_batches

    def __call__(
        self,
        step: int,
        micro_batches: Iterable[Prepared],
        now: Now,
        progress: float,
        backward: Backward,
        run: nn.Module,
        measured: bool,
        draw: Draw,
    ) -> tuple[Stepped, Whole]:
        """Make the losses, and leave their gradients with `backward`, which exchanges them as of the module `run`.

        Raises:
            ValueError: there are not as many micro-batches as the spec's batch sizes make.
        """
        whole = self._encoded(step, micro_batches, progress)
        seeds.seed_torch(self._key, step, "heads", self._rank)
        with self._autocast():
            stepped: Stepped = self._system.losses_of(whole.answers, now, whole.looked)
        backward.to_cut(stepped, whole.leaves, measured, draw)
        nets = [self._system.nets[name] for name in self._system.trained]
        counted = [buffer.clone() for net in nets for buffer in net.buffers()]
        for i, (rows, masks) in enumerate(whole.parts):
            with backward.exchange(run, i == self._count - 1, measured):
                answers = self._of_trained(step, i, rows_of(whole.batch.images, rows), masks)
                backward.through([t for t in made_by_nets(answers) if t.requires_grad], rows)
        with torch.no_grad():  # what a forward counts, it counted the first time
            for buffer, value in zip((b for net in nets for b in net.buffers()), counted, strict=True):
                buffer.copy_(value)
        return stepped, whole

    def _of_trained(
        self, step: int, i: int, images: dict[str, Tensor], masks: list[Mask | None]
    ) -> list[Tokens]:
        """The answers of trained nets for micro-batch i, under the same random numbers whenever it is asked."""
        seeds.seed_torch(self._key, step, "torch", self._rank, *([i] if i else []))
        with self._autocast():
            answers: list[Tokens] = self._system.trained_answers(images, masks)
        return answers

    def _encoded(self, step: int, micro_batches: Iterable[Prepared], progress: float) -> Whole:
        """The first round."""
        parts: list[tuple[slice, list[Mask | None]]] = []
        rows_of_images: list[Tensor] = []
        views: list[str] = []
        kept = _Kept(*(Gathered() for _ in range(4)))
        for i, one in enumerate(micro_batches):
            size, views = len(one.batch.rows), list(one.batch.images)
            rows = slice(i * size, (i + 1) * size)
            self._keep(step, i, one, kept, rows)
            parts.append((rows, one.masks))
            rows_of_images.append(one.batch.rows)
        if len(parts) != self._count:
            raise ValueError(f"step {step}: {len(parts)} micro-batches, expected {self._count}")
        images = dict(zip(views, kept.crops.whole, strict=True))
        masks = self._masking.joined([masks for _, masks in parts], progress)
        early = self._system.early.runs
        return Whole(
            Batch(images, torch.cat(rows_of_images)),
            rebuilt(early, kept.looked.whole, images, [None] * len(early)),
            masks,
            self._answers(kept.trained.whole, kept.others.whole, images, masks),
            kept.trained.leaves(),
            parts,
        )

    def _keep(self, step: int, i: int, one: Prepared, kept: _Kept, rows: slice) -> None:
        """A micro-batch of it. The graph is made as in the second one, so that the same code runs, and let go."""
        images = self._count * len(one.batch.rows)
        kept.crops.add(list(one.batch.images.values()), rows, images)
        kept.looked.add(made_by_nets(one.looked), rows, images)
        kept.trained.add(made_by_nets(self._of_trained(step, i, one.batch.images, one.masks)), rows, images)
        with self._autocast():
            others = self._system.other_answers(one.batch.images, one.masks)
        kept.others.add(made_by_nets(others), rows, images)

    def _answers(
        self,
        trained: list[Tensor],
        others: list[Tensor],
        images: dict[str, Tensor],
        masks: list[Mask | None],
    ) -> list[Tokens]:
        """One for each pass of `late`, in its order."""
        system = self._system
        answers: dict[int, Tokens] = {}
        for places, tensors in ((system.by_trained, trained), (system.by_others, others)):
            runs = [system.late.runs[i] for i in places]
            tokens = rebuilt(runs, tensors, images, [masks[system.places[i]] for i in places])
            answers.update(zip(places, tokens, strict=True))
        return [answers[i] for i in range(len(system.late.runs))]


def needs_whole(system: System) -> bool:
    """Whether objectives must see all micro-batches of a rank at once."""
    features = system.balancer.weighs_gradients and system.balancer.space == "features"
    return system.compares or features


def require_images_apart(student: nn.Module, micro_batches: int) -> None:
    """A step in several micro-batches can be that of the whole batch only where the student treats each image alone.

    Batch norm in mode `local` is let pass: whoever asks for it wants statistics of one forward.

    Raises:
        SpecError: names the batch norm.
    """
    if micro_batches == 1:
        return
    for name, norm in named_submodules(student, _BatchNorm):
        mode = mode_of(norm)
        if norm.training and mode != "local":
            what = type(norm).__name__ if mode is None else f"batch norm of mode {mode!r}"
            raise SpecError(
                f"micro_batch_size: the backbone has statistics of all images of a step ({name}, {what}), which no "
                f"step in {micro_batches} micro-batches has; leave `micro_batch_size` out, give each micro-batch "
                "statistics of its own (`backbone.batch_norm: local`, which is another step), or take a backbone "
                "without batch norm"
            )
