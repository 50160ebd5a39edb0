"""Masked image modeling: hide patches, predict a target of the hidden ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from sslkit.functional.all_gather import all_rows
from sslkit.functional.known_values import known_now
from sslkit.functional.resize import enlarged
from sslkit.interfaces import Encode, Mask, Mode, Objective, Output, Pictures, Target, Tokens
from sslkit.plugin import Env, MaskerSpec, SpecError, TargetSpec
from sslkit_objectives.regularizers.regularization import Regularization, regularization


class MaskedPrediction(NamedTuple):
    """What a masked objective hides and predicts, and how."""

    view: str
    """View whose crops are masked."""
    masker: MaskerSpec
    target: TargetSpec
    mode: Mode
    """How the encoder meets hidden patches."""
    decoder: Callable[[int], nn.Module]
    """Makes the module that turns the encoder's `Tokens` into predictions `[V, B, N, dim]`, for a given `dim`.

    With a `Mask` as second argument it predicts the patches `Mask.flat` only, `[L, dim]`.
    """
    reduce: Callable[[Mask, Tensor], Tensor]
    """From a mask and the scores of its hidden patches `[L]` to the loss: `Mask.mean` or `mean_of_hidden`."""
    regularizer: Regularization | None
    """What keeps the features of different images apart."""
    by_block: bool = False
    """Predict the patches of each target block of the mask, not all that are hidden."""


def mean_of_hidden(mask: Mask, scores: Tensor) -> Tensor:
    """Mean over all hidden patches of the batch, on all ranks, for `scores` `[L]`; 0 where none is hidden.

    An image with more hidden patches weighs more (SimMIM, BEiT). Of a rank it is what makes the mean over ranks that of
    one process: its own sum over an equal share of all that are hidden.
    """
    real = (mask.per_image > 0).to(scores.dtype)
    counts = all_rows(real.sum()[None])
    return (scores * real).sum() / (counts.sum() / len(counts)).clamp(min=1 / len(counts))


def shortened(mask: Mask) -> Mask:
    """Without the padding that no target block needs, where values are there to look at: not in a compiled graph."""
    if mask.blocks is None or not known_now(mask.blocks):
        return mask
    longest = int((mask.blocks >= 0).sum(-1).max())
    return mask._replace(blocks=mask.blocks[..., :longest])


def _varies(settings: MaskedPrediction, env: Env) -> bool:
    """Whether images hide unequal numbers of patches, so that their weights are known with the whole batch only."""
    try:
        with torch.random.fork_rng(devices=[]):  # what it is built from must not move the weights of the run
            masker = settings.masker.build(env, settings.view)
    except SpecError:  # who builds the masks of the run says what is wrong
        return False
    return any(stage.visible is None for stage in masker.stages())


@final
class MaskedPredictionObjective(Objective):
    """Scores predictions of the hidden patches only."""

    def __init__(self, settings: MaskedPrediction, env: Env) -> None:
        super().__init__()
        self.target: Target = settings.target.build(env, settings.view)
        self.passes = (Encode(settings.view, mask=settings.masker, mode=settings.mode), *self.target.passes)
        self.crops = {settings.view: 1}
        self.grid = env.grid(settings.view)
        self.decoder = settings.decoder(self.target.dim)
        self.regularizer = settings.regularizer
        weighed = settings.reduce is mean_of_hidden and _varies(settings, env)
        equal = settings.reduce is mean_of_hidden and not weighed
        self.by_block = settings.by_block
        self.reduce = (
            Mask.batch_mean if equal else settings.reduce
        )  # the same number, and nothing to ask other ranks
        self.compares = self.target.compares or self.regularizer is not None or weighed

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The loss of the hidden patches."""
        seen, *more = tokens
        assert seen.mask is not None, "the system samples a mask for every pass that names a masker"
        mask = shortened(seen.mask).of_targets() if self.by_block else seen.mask
        with torch.no_grad():
            goal = self.target(seen, *more)
        picked = self.decoder(seen, mask), mask.pick(goal)
        scores = self.target.score(*picked)
        with torch.no_grad():
            metrics = self.target.metrics(*picked, mask.per_image > 0)
        loss = self.reduce(mask, scores)
        if self.regularizer is not None:
            term = regularization(self.regularizer, seen.cls)
            loss, metrics = loss + self.regularizer.weight * term, {**metrics, "regularization": term}
        of_hidden = mask is seen.mask  # what maskers learn from
        return Output(loss, metrics, scores=scores.detach() if of_hidden else None)

    def pictures(self, *tokens: Tokens) -> Mapping[str, Pictures]:
        """Input, what the encoder saw, and the predictions: in the image's gaps, or in those of the drawn goal."""
        seen, *more = tokens
        assert seen.mask is not None, "the system samples a mask for every pass that names a masker"
        predicted = self.target.to_image(self.decoder(seen), seen, *more)
        if predicted is None:
            return {}
        goal = self.target.goal_image(self.target(seen, *more), seen)
        self._require_shape(predicted, seen.image if goal is None else goal)
        hidden = self._pixels(seen.mask.hidden, seen.image)
        columns = {
            "input": seen.image,
            "masked": torch.where(hidden, torch.zeros_like(seen.image), seen.image),
        }
        if goal is None:
            columns["reconstruction"] = self._filled(seen.mask, predicted, seen.image)
        else:
            columns |= {"target": goal, "prediction": self._filled(seen.mask, predicted, goal)}
        largest = max(column.shape[-1] for column in columns.values())
        images = [enlarged(c[0].to(seen.image.dtype), largest // c.shape[-1]) for c in columns.values()]
        return {"reconstruction": Pictures(tuple(columns), torch.stack(images, dim=1))}

    def _require_shape(self, predicted: Tensor, shown: Tensor) -> None:
        """Raises ValueError where the target's image is not as large as what it is shown beside."""
        if predicted.shape != shown.shape:
            raise ValueError(
                f"{type(self.target).__name__}.to_image returned {list(predicted.shape)}, "
                f"expected {list(shown.shape)} as of the image"
            )

    def _filled(self, mask: Mask, predicted: Tensor, image: Tensor) -> Tensor:
        return torch.where(self._pixels(mask.hidden, image), predicted.to(image.dtype), image)

    def _pixels(self, hidden_VBN: Tensor, images: Tensor) -> Tensor:
        """Hidden patches as a mask of the pixels of `images`, `[V, B, 1, *axes]`."""
        pixels: Tensor = hidden_VBN.unflatten(-1, self.grid.shape)[:, :, None]
        for axis, patches in enumerate(self.grid.shape, start=-len(self.grid.shape)):
            pixels = pixels.repeat_interleave(images.shape[axis] // patches, dim=axis)
        return pixels
