"""Conformance checks of targets, besides those by training."""

from __future__ import annotations

from functools import cached_property
from typing import final

import torch
from torch import Tensor

from sslkit.core.context import Env
from sslkit.core.passes import Encode, Request, Tokens
from sslkit.core.system import System
from sslkit.core.target import Target
from sslkit.core.view import Grid
from sslkit.specs.families import TargetSpec
from sslkit.specs.run import RunSpec
from sslkit.testing.kit_report import Checks, require
from sslkit.testing.promises.purity import called_purely, part_of
from sslkit.testing.promises.training_promises import Trial

VIEW = "global"
IMAGES = 4
SLACK = 1e-4
"""Float error that is let pass between the goals of a batch and of its parts."""


@final
class Targets:
    """A target on the images of the kit's run, and the answers that it reads."""

    def __init__(self, spec: TargetSpec, run: RunSpec) -> None:
        self.spec, self.run = spec, run

    def checks(self) -> Checks:
        """By name."""
        return {
            "makes goals and scores of the promised shapes": self._shapes,
            "its goals depend on images and its passes only": self._blind,
            "a goal depends on its own image only": self._independent,
            "tells metrics as scalars": self._metrics,
            "draws pictures of the image's shape": self._pictures,
        }

    @cached_property
    def _trial(self) -> Trial:
        return Trial(self.run)

    @cached_property
    def target(self) -> Target:
        """Built as its objective builds it."""
        torch.manual_seed(1)
        return self.spec.build(self._env, VIEW)

    @property
    def _env(self) -> Env:
        return self._trial.composed.env

    @property
    def _grid(self) -> Grid:
        return self._env.grid(VIEW)

    @cached_property
    def seen(self) -> Tokens:
        """What an objective with a mask has of the student."""
        trial = self._trial
        tokens = trial.composed.step.encode(trial.batch(), 0)
        masked = [one for one in tokens.values() if one.mask is not None]
        require(bool(masked), "the kit's objective reads no masked pass")
        return masked[0]

    @cached_property
    def more(self) -> tuple[Tokens, ...]:
        """The answers to the target's passes."""
        return tuple(self._answer(self._trial.system, request) for request in self.target.passes)

    def _answer(self, system: System, request: Encode) -> Tokens:
        image = self._trial.batch().images[request.view]
        net = system.nets[request.net]
        (tokens,) = net([Request(image, None, request.mode, request.layers, request.attention)])
        answer: Tokens = tokens
        return answer

    @torch.no_grad()
    def _goal(self, seen: Tokens, more: tuple[Tokens, ...]) -> Tensor:
        return self.target(seen, *more)  # type: ignore[no-any-return]

    @property
    def goal(self) -> Tensor:
        """What is to be predicted of every patch."""
        return self._goal(self.seen, self.more)

    def _guess(self, *shape: int) -> Tensor:
        return torch.randn(*shape, self.target.dim, generator=torch.Generator().manual_seed(0))

    def _shapes(self) -> None:
        goal = called_purely(self.target, lambda: self.goal, "`forward`")
        lead = (*self.seen.image.shape[:2], self._grid.patches)
        require(
            goal.shape[:3] == lead,
            f"`forward` gives {tuple(goal.shape)}, expected (views, images, patches, ...) with {lead}",
        )
        rows = goal.flatten(0, 2)
        guess = self._guess(len(rows)).requires_grad_()
        score = called_purely(self.target, lambda: self.target.score(guess, rows), "`score`")
        require(score.shape == (len(rows),), f"`score` gives {tuple(score.shape)}, expected ({len(rows)},)")
        wide = score.dtype in (torch.float32, torch.float64)
        require(wide, f"`score` gives {score.dtype}; compute it in float32 or wider")
        require(bool(score.isfinite().all()), "`score` is not finite for a guess of unit variance")
        few = self.target.score(guess[:5], rows[:5])
        same = torch.allclose(few, score[:5], rtol=SLACK, atol=SLACK)
        require(same, "`score` of a patch depends on the other patches; give one number a row")

    def _blind(self) -> None:
        """Tokens of the student are what is trained; a goal that reads them can be met by making them alike."""
        goal = self.goal
        other = self.seen._replace(
            cls=torch.full_like(self.seen.cls, torch.nan),
            patch=torch.full_like(self.seen.patch, torch.nan),
            layers=tuple(torch.full_like(layer, torch.nan) for layer in self.seen.layers),
        )
        require(
            torch.equal(goal, self._goal(other, self.more)),
            "`forward` reads tokens of the student, which training could make easy to predict; read `seen.image`, and "
            "name what else is needed in `passes`",
        )

    def _independent(self) -> None:
        goal, target = self.goal, self.target
        for part in (slice(0, 1), slice(1, IMAGES)):
            more = tuple(part_of(tokens, part) for tokens in self.more)
            same = torch.allclose(
                self._goal(part_of(self.seen, part), more).double(),
                goal[:, part].double(),
                rtol=SLACK,
                atol=SLACK,
            )
            require(
                same, f"the goals of an image depend on the others of its batch ({type(target).__name__})"
            )

    @torch.no_grad()
    def _metrics(self) -> None:
        rows = self.goal.flatten(0, 2)
        real = torch.arange(len(rows)) % 3 > 0
        for name, value in self.target.metrics(self._guess(len(rows)), rows, real).items():
            require(value.ndim == 0, f"metric {name!r} has the shape {tuple(value.shape)}; give one number")
            require(bool(value.isfinite()), f"metric {name!r} is {value.item()}")
        self.target.metrics(
            self._guess(len(rows)), rows, torch.zeros_like(real)
        )  # a batch that hides nothing

    @torch.no_grad()
    def _pictures(self) -> None:
        image = self.seen.image
        guess = self._guess(*image.shape[:2], self._grid.patches)
        picture = self.target.to_image(guess, self.seen, *self.more)
        drawn = self.target.goal_image(self.goal, self.seen)
        if picture is None:
            require(
                drawn is None,
                "`goal_image` gives a picture and `to_image` none; figures show both or neither",
            )
            return
        shape = tuple(picture.shape)
        if drawn is None:
            require(
                shape == image.shape,
                f"`to_image` gives {shape} for images {tuple(image.shape)}; without a `goal_image` its pixels fill the "
                "gaps of the image, so they must be as many",
            )
        else:
            require(drawn.shape == shape, f"`goal_image` gives {tuple(drawn.shape)} and `to_image` {shape}")
            times = shape[-1] // image.shape[-1]
            larger = (*image.shape[:3], *(times * side for side in image.shape[3:]))
            require(
                times > 0 and shape == larger,
                f"`to_image` gives {shape}, no multiple of {tuple(image.shape)}",
            )
        require(bool(picture.isfinite().all()), "`to_image` is not finite")


def checks(spec: TargetSpec, run: RunSpec) -> Checks:
    """The checks of a target in `run`, whose objective has it."""
    return Targets(spec, run).checks()
