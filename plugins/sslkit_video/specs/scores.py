"""Specs of evaluators of videos. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import HIGHER, NEITHER, Count, EvaluatorSpec, Metrics, Problem, own_fields, protocol

if TYPE_CHECKING:
    from sslkit.interfaces import Evaluator
    from sslkit.plugin import RunSpec


@final
class TemporalCoherence(EvaluatorSpec):
    """What features at one time tell of those k frames later, I(x_t; x_t+k): protocol `temporal_coherence@1`.

    InfoNCE's lower bound in nats, log N minus the loss of picking out the later frame of a video among those of N test
    videos, by a critic that training videos fit for each k; 0 where it learns nothing. Metrics: `information_K`, with
    intervals; a figure of the curve.
    """

    unchecked: ClassVar[str] = "it reads videos, and the kit's samples are images"
    oblong: ClassVar[bool] = True
    kind: Literal["temporal_coherence"] = "temporal_coherence"
    lags: tuple[Count, ...] = Field((1, 2, 4, 8), min_length=1)
    """Frames between the two times, k."""
    of: Literal["frames", "clips"] = "frames"
    """What is encoded at each time: one frame, repeated to a clip, or the clip that begins there."""
    max_videos: int = Field(512, ge=2)
    """Videos of each split at most, the first ones; log of those of the test split is the most that can be told."""
    dim: Count = 64
    """Width of the critic's two linear maps."""
    steps: Count = 200
    """Steps of AdamW that fit it at most, each on four fifths of the training videos at one time; the rest choose
    when to stop."""
    learning_rate: float = Field(1e-2, gt=0)
    """Of AdamW."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def reported_metrics(self) -> Metrics:
        """Descriptions: features that never change tell most of what follows, and are of no use for motion."""
        return {f"information_{lag}": NEITHER for lag in self.lags}

    def build(self) -> Evaluator:
        from sslkit_video.temporal_coherence import Critic, TemporalCoherenceEvaluator

        return TemporalCoherenceEvaluator(
            self.lags,
            self.max_videos,
            Critic(self.dim, self.steps, self.learning_rate),
            still=self.of == "frames",
            protocol=protocol(self, "temporal_coherence@1", own_fields(TemporalCoherence)),
        )


@final
class LabelPropagation(EvaluatorSpec):
    """The first frame's mask carried through a video by similar patches (DAVIS protocol): `label_propagation@1`.

    Jabri et al. 2020, as in DINO's code. Frames are encoded one by one, each repeated to a clip. Metrics: `j_and_f`;
    `j`, intersection over union; `f`, agreement of borders; and `j_of_still`, of the first mask left where it is. Means
    over objects and videos, first frames left out; with intervals.
    """

    unchecked: ClassVar[str] = "it reads masks of videos, and the kit's samples are images"
    oblong: ClassVar[bool] = True
    kind: Literal["label_propagation"] = "label_propagation"
    max_videos: Count = 100
    """Test videos at most, the first ones."""
    frames: int = Field(7, ge=0)
    """Frames before that vote besides the first (DINO: 7)."""
    neighbors: Count = 5
    """Patches that vote for each patch (DINO: 5)."""
    radius: float = Field(3.0, gt=0)
    """How far they may lie, in patches (DINO: 12, of frames of 60 x 107 patches)."""
    temperature: float = Field(0.1, gt=0)
    """What cosines are divided by (DINO: 0.1)."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if self.baselines:
            yield Problem("baselines", "raw pixels have no patch tokens; leave this out")

    def reported_metrics(self) -> Metrics:
        return {"j_and_f": HIGHER, "j": HIGHER, "f": HIGHER, "j_of_still": NEITHER}

    def build(self) -> Evaluator:
        from sslkit_video.label_propagation import LabelPropagationEvaluator, Voting

        voting = Voting(self.frames, self.neighbors, self.radius, self.temperature)
        name = protocol(self, "label_propagation@1", own_fields(LabelPropagation))
        return LabelPropagationEvaluator(self.max_videos, voting, name)
