"""Prediction targets of patches, and the loss of a prediction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from sslkit.core.passes import Encode, Tokens


class Target(nn.Module, ABC):
    """Turns images (and passes of other nets) into what should be predicted for each patch."""

    dim: int
    """Length of a prediction."""
    passes: tuple[Encode, ...] = ()
    """Further passes that it reads, such as a teacher's."""
    compares: bool = False
    """Whether what to predict of an image depends on the other images of the batch."""

    @abstractmethod
    def forward(self, seen: Tokens, *more: Tokens) -> Tensor:
        """What to predict for all patches, `[V, B, N, ...]`; `more` answers `passes`.

        It reads the image of `seen` and never the student's tokens, which training could make easy to predict.
        """

    @abstractmethod
    def score(self, guess: Tensor, goal: Tensor) -> Tensor:
        """Loss of each patch, `[L]`, for `guess` `[L, dim]` and `goal` `[L, ...]`."""

    def metrics(self, guess: Tensor, goal: Tensor, real: Tensor) -> Mapping[str, Tensor]:
        """Scalars to record beside the loss, from what `score` gets; without autograd.

        `real` `[L]` bool tells the rows of hidden patches from those that only fill up a fixed length.
        """
        return {}

    def to_image(self, guess: Tensor, seen: Tokens, *more: Tokens) -> Tensor | None:
        """The image `[V, B, C, H, W]` that predictions `[V, B, N, dim]` describe; None if they describe none.

        `seen` and `more` are what `forward` got.
        """
        return None

    def goal_image(self, goal: Tensor, seen: Tokens) -> Tensor | None:
        """The image that goals `[V, B, N, ...]` describe, shown beside that of the predictions, which is as large.

        `[V, B, C, k H, k W]` for any whole k.
        None, the default, where predictions are pixels of the image itself: figures then fill its gaps with them.
        """
        return None
