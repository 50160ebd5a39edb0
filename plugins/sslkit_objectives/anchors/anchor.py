"""Features that stay near those of an earlier net. V crops, B images, N patches, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, final

from torch import Tensor

from sslkit.functional.regression_losses import regression
from sslkit.interfaces import Encode, Objective, Output, Tokens
from sslkit.plugin import Env, SpecError


class Distance(NamedTuple):
    """How far features are from those of the other net."""

    loss: Literal["cosine", "l2"]
    class_weight: float
    patch_weight: float


@final
class AnchorObjective(Objective):
    """Distance of class tokens, and of patches, to those that another net has for the same crops."""

    def __init__(self, view: str, net: str, distance: Distance, env: Env) -> None:
        super().__init__()
        theirs, width = env.same_patches(net, view), env.net("student").dim
        if theirs.dim != width:
            raise SpecError(
                f"net {net!r} has tokens of width {theirs.dim} and the student of {width}; compare copies of one "
                "network, or use `distill`, which projects"
            )
        self.passes = (Encode(view), Encode(view, net=net))
        self.crops = {view: 1}
        self.distance = distance

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The weighted sum of both means, over crops and images and over their patches."""
        student, anchor = tokens
        how = self.distance
        classes = regression(student.cls, anchor.cls, how.loss).mean()
        patches = regression(student.patch, anchor.patch, how.loss).mean()
        metrics = {"class_distance": classes.detach(), "patch_distance": patches.detach()}
        return Output(how.class_weight * classes + how.patch_weight * patches, metrics)
