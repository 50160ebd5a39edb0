"""Evaluation of a run's masked objectives on images. Shapes: V crops, B images, N patches, L hidden patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.functional.pixel_normalization import normalized, unnormalized
from sslkit.functional.psnr_ssim import psnr, ssim
from sslkit.functional.resize import enlarged, resize_center
from sslkit.interfaces import (
    Encode,
    Mask,
    Masker,
    Objective,
    Pictures,
    Request,
    Scene,
    System,
    Tokens,
    make_mask,
    seeds,
)
from sslkit.plugin import Env, MaskerSpec, SpecError, View

END = 1 - 2**-30
"""Share of the run at which maskers that change are evaluated."""
MEASURES = ("loss", "blind", "psnr", "ssim", "hidden")
"""Measures of an image, NaN where the objective has none.

`blind`: the loss where a gray image is seen; `hidden`: the share of patches that are.
"""


class Hiding(NamedTuple):
    """A way to hide patches."""

    ratio: float | None
    """What replaced the masker's own ratio; None for the masker as it is in the run."""
    masker: Masker


def _masker_spec(request: Encode) -> MaskerSpec:
    assert isinstance(request.mask, MaskerSpec), (
        "a run whose passes take anything else is refused when it is built"
    )
    return request.mask


@final
class MaskedObjective:
    """One of the run's objectives that hide patches."""

    def __init__(
        self, name: str, objective: Objective, run: tuple[System, Env], view: View, seed: int
    ) -> None:
        """`view`: how the images are normalized; `seed`: of the masks."""
        self.name, self.objective, self.view, self.seed = name, objective, view, seed
        self.system, self.env = run
        self.place = next(i for i, request in enumerate(objective.passes) if request.mask is not None)
        self.masked = objective.passes[self.place]

    def hidings(self, ratios: tuple[float, ...]) -> tuple[list[Hiding], dict[str, str]]:
        """The masker of the run, the same at each of `ratios`, and why a ratio was left out.

        Only maskers with a number `ratio` can change it.
        """
        masker = _masker_spec(self.masked)
        hidings, refused = [Hiding(None, self._built(masker))], dict[str, str]()
        for ratio in ratios if "ratio" in type(masker).model_fields else ():
            try:
                hidings.append(Hiding(ratio, self._built(masker.model_copy(update={"ratio": ratio}))))
            except SpecError as error:
                refused[f"{ratio:g}"] = str(error)
        return hidings, refused

    def measure(self, images: Tensor, indices: Tensor, hiding: Hiding) -> Tensor:
        """`[B, 5]` float32: `MEASURES` of each of the images `[B, C, S, S]`, number `indices` in their source."""
        tokens = self._tokens(images, indices, hiding)
        mask = tokens[self.place].mask
        assert mask is not None, "this pass has a mask"
        loss, blind = self._losses(tokens), self._losses(self._blinded(tokens, images))
        quality = self._quality(self.objective.pictures(*tokens).get("reconstruction"), mask)
        return torch.stack([loss, blind, *quality, mask.hidden.float().mean((0, 2))], dim=1)

    def pictures(self, images: Tensor, indices: Tensor, hiding: Hiding) -> Pictures | None:
        """What the objective draws of a reconstruction; None where it draws none."""
        return self.objective.pictures(*self._tokens(images, indices, hiding)).get("reconstruction")

    @property
    def _now(self) -> Mapping[str, Tensor]:
        """Scheduled values at the end of the run."""
        last = self.env.length.steps
        device = next(self.system.parameters()).device
        return {
            name: torch.tensor(value(last), device=device) for name, value in self.objective.schedules.items()
        }

    def _built(self, spec: MaskerSpec) -> Masker:
        with torch.random.fork_rng(devices=[]):  # what is measured must not move the run's random numbers
            return spec.build(self.env, self.masked.view).at(END)

    def _mask(self, request: Encode, images: Tensor, indices: Tensor, masker: Masker) -> Mask:
        """Equal at every ratio but for how much is hidden, where the masker ranks patches."""
        masker, crops = masker.to(images.device), self._crops(images, request.view)
        views = len(crops)
        rows = indices * views + torch.arange(views, device=indices.device)[:, None]
        guides = tuple(self._answer(guide, self._crops(images, guide.view), None) for guide in masker.passes)
        draw = seeds.draw(self.seed, "mask", request.view, rows=rows)
        return make_mask(masker, draw, Scene(crops, guides))

    def _tokens(self, images: Tensor, indices: Tensor, hiding: Hiding) -> list[Tokens]:
        """The answers to the objective's passes; equal maskers on one view share a mask, as in training."""
        main, answers = (self.masked.view, self.masked.mask), []
        masks = {main: self._mask(self.masked, images, indices, hiding.masker)}
        for request in self.objective.passes:
            key, mask = (request.view, request.mask), None
            if request.mask is not None:
                if key not in masks:
                    masks[key] = self._mask(request, images, indices, self._built(_masker_spec(request)))
                mask = masks[key]
            answers.append(self._answer(request, self._crops(images, request.view), mask))
        return answers

    def _blinded(self, tokens: list[Tokens], images: Tensor) -> list[Tokens]:
        """`tokens`, but what the masked pass saw were images of the mean color; the goals are those of `images`."""
        seen, changed = tokens[self.place], list(tokens)
        blank = self._answer(self.masked, torch.zeros_like(self._crops(images, self.masked.view)), seen.mask)
        changed[self.place] = blank._replace(image=seen.image)
        return changed

    def _losses(self, tokens: list[Tokens]) -> Tensor:
        """Mean loss of the hidden patches of each image, `[B]`; NaN where the objective has none."""
        mask, scores = tokens[self.place].mask, self.objective(self._now, *tokens).scores
        assert mask is not None, "this pass has a mask"
        views, images, patches = mask.hidden.shape
        if scores is None:
            return torch.full((images,), torch.nan, device=mask.flat.device)
        share = (mask.per_image > 0).float() / mask.per_image.clamp(min=1)
        losses = torch.zeros(views * images, device=mask.flat.device)
        losses.index_add_(0, mask.flat // patches, scores.float() * share)
        return losses.view(views, images).mean(0)

    def _quality(self, shown: Pictures | None, mask: Mask) -> tuple[Tensor, Tensor]:
        """PSNR of the hidden pixels and SSIM of the filled images, `[B]` each; NaN where no pixels are predicted."""
        if shown is None or not {"input", "reconstruction"} <= set(shown.columns):
            nothing = torch.full((mask.hidden.shape[1],), torch.nan, device=mask.hidden.device)
            return nothing, nothing
        view = self.env.view(self.masked.view)
        goal, filled = (
            _unit(shown.images[:, shown.columns.index(name)].float(), view)
            for name in ("input", "reconstruction")
        )
        rows = self.env.grid(self.masked.view).rows
        hidden = mask.hidden[0].unflatten(-1, (rows, -1))
        side = goal.shape[-1] // rows
        return psnr(filled, goal, enlarged(hidden, side)), ssim(filled, goal)

    def _answer(self, request: Encode, crops: Tensor, mask: Mask | None) -> Tokens:
        net = self.system.nets[request.net]
        answer: Tokens = net([Request(crops, mask, request.mode, request.layers, request.attention)])[0]
        return answer

    def _crops(self, images: Tensor, view: str) -> Tensor:
        """The images as crops of `view`, `[V, B, C, S, S]`: as many as the objective needs, all alike."""
        wanted = self.env.view(view)
        if wanted._replace(crops=self.view.crops) != self.view:
            pixels = resize_center(_unit(images, self.view), wanted.size)
            images = normalized(pixels, wanted.mean, wanted.std)
        return images[None].expand(self.objective.crops.get(view, 1), -1, -1, -1, -1)


def masked_objectives(run: tuple[System, Env], view: View, seed: int) -> list[MaskedObjective]:
    """Those of a run, in order. `view` and `seed` as `MaskedObjective` takes them."""
    return [
        MaskedObjective(name, objective, run, view, seed)
        for name, objective in run[0].objectives.items()
        if any(request.mask is not None for request in objective.passes)
    ]


def _unit(images: Tensor, view: View) -> Tensor:
    """Pixels in [0, 1]."""
    return unnormalized(images, view.mean, view.std)
