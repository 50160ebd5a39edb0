"""Specs of maskers that look at images, features, attention or losses. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Self, final

from pydantic import Field

from sslkit.plugin import MaskerSpec, NetName, Problem, SpecError
from sslkit_maskers.patch_shares import counts_of, share_of, visible_of

if TYPE_CHECKING:
    from sslkit.interfaces import Masker
    from sslkit.plugin import Env, RunSpec


@final
class ComplexityMasker(MaskerSpec):
    """Hides the most complex patches, or the plainest, and random ones of the rest."""

    kind: Literal["complexity"] = "complexity"
    ratio: float = Field(0.75, gt=0, lt=1)
    """Share of patches to hide (MAE: 0.75). The visible count is floor(N (1 - ratio)), computed exactly."""
    measure: Literal["gradient", "entropy"] = "gradient"
    """Mean length of the Sobel gradient in a patch, or entropy of the histogram of its gray levels."""
    hide: Literal["high", "low"] = "high"
    """Whether the patches of the highest or of the lowest complexity are hidden."""
    share: float = Field(0.5, ge=0, le=1)
    """Share of the mask that complexity decides; the rest is random. At 1 an image has the same mask in every step."""
    bins: int = Field(32, ge=2, le=256)
    """Gray levels of the histogram, between black and white. Only `entropy` reads it."""

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if self.measure != "entropy":
            yield Problem("bins", f"is for `measure: entropy`, found {self.measure!r}; leave it out")
        yield from _by_chance(self.share, "measure", "hide", "bins")

    def build(self, env: Env, view: str) -> Masker:
        from sslkit_maskers.guided.complexity import ComplexitySampler, Measure

        grid = env.grid(view)
        counts, measure = counts_of(grid, self.ratio, self.share), Measure(self.measure, self.bins)
        return ComplexitySampler(measure, counts, grid.patch, env.view(view), low=self.hide == "low")


@final
class InformationMasker(MaskerSpec):
    """Hides the patches of which the visible ones tell least, or most, under a Gaussian model of patches."""

    kind: Literal["information"] = "information"
    ratio: float = Field(0.75, gt=0, lt=1)
    """Share of patches to hide (MAE: 0.75). The visible count is floor(N (1 - ratio)), computed exactly."""
    maximize: bool = True
    """Choose for the highest conditional entropy of the hidden patches (hard), or for the lowest (easy)."""
    temperature: float = Field(0.1, ge=0)
    """Scale of the Gumbel noise on the entropies that are compared, in nats. At 0 only the first patch is random."""
    cells: int | None = Field(None, ge=1, le=16)
    """A patch is described by `cells` x `cells` averages of each channel. Default: 4, or the most below that the
    patch can be cut into."""
    feature_length: float = Field(1.0, gt=0)
    """Difference of whitened descriptors, root mean square over their numbers, at which covariance falls to
    exp(-1/2). Between unrelated patches it is about 1.4."""
    position_length: float = Field(2.0, gt=0)
    """Distance at which covariance falls to exp(-1/2), in patches."""
    noise: float = Field(0.05, gt=0)
    """Variance of a patch that no other patch tells of, over the mean variance of patches."""
    decay: float = Field(0.99, ge=0, lt=1)
    """Share of the old moments kept at each step; the first steps are averaged."""

    def build(self, env: Env, view: str) -> Masker:
        """The sampler. Raises SpecError where it would hide no patch or all, or `cells` does not divide the patch."""
        grid = env.grid(view)
        cells = self.cells or max(n for n in range(1, 5) if grid.patch % n == 0)
        if grid.patch % cells:
            raise SpecError(
                f"cells {cells} does not divide the patch of {grid.patch} pixels; use a divisor of it"
            )
        from sslkit_maskers.guided.information import InformationSampler, Model

        model = Model(
            self.maximize,
            self.temperature,
            self.feature_length,
            self.position_length,
            self.noise,
            self.decay,
        )
        visible = visible_of(grid, self.ratio)
        return InformationSampler(model, grid, visible, env.view(view).channels, cells)


def _by_chance(share: float, *fields: str) -> Iterator[Problem]:
    """Fields of what decides none of the mask."""
    if not share:
        for field in fields:
            yield Problem(field, "has no effect, as `share` is 0 and masks are random", note=True)


@final
class AttentionMasker(MaskerSpec):
    """Hides the patches that a teacher's class token attends to, the same number in every image (AttMask).

    A patch's score is the attention of the class token in the last block, averaged over heads. It is read from a pass
    over the whole image.
    """

    kind: Literal["attention"] = "attention"
    net: NetName = "teacher"
    """Whose attention guides: a name under `nets`, or the student itself (AttMask: the teacher)."""
    ratio: float = Field(0.75, gt=0, lt=1)
    """Share of patches to hide (MAE: 0.75; AttMask, with mask tokens: one number from 0.1 to 0.5 for each batch). The
    visible count is floor(N (1 - ratio)), computed exactly."""
    variant: Literal["high", "low", "hint"] = "high"
    """Hide the most attended patches, the least attended ones, or the most attended ones but for some hints (AttMask
    `--pred_shape`: high)."""
    hints: float = Field(0.1, gt=0, le=1)
    """Only for `hint`. Of this share of all patches, the most attended ones, floor(N ratio hints) stay visible at
    random (AttMask `--show_max`: 0.1). The next in order take their places in the mask."""
    share: float = Field(1.0, ge=0, le=1)
    """Share of the mask that attention decides; the rest is random (AttMask: 1)."""

    @classmethod
    def example(cls) -> Self:
        """With hints, so that an image's masks vary."""
        return cls(variant="hint")

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if self.variant != "hint":
            yield Problem("hints", f"is for `variant: hint`, found {self.variant!r}; leave it out")
        yield from _by_chance(self.share, "variant")

    def build(self, env: Env, view: str) -> Masker:
        """The sampler. Raises SpecError where the net's patches are not the student's, or a count is impossible."""
        env.same_patches(self.net, view)
        counts = counts_of(env.grid(view), self.ratio, self.share)
        shown, pool = self._hints(env.grid(view).patches, counts.visible)
        from sslkit_maskers.guided.attention import AttentionSampler

        low = self.variant == "low"
        return AttentionSampler(view, self.net, counts, low=low, shown=shown, pool=pool)

    def _hints(self, patches: int, visible: int) -> tuple[int, int]:
        """Hints to show, and the number of most attended patches that they are taken from."""
        if self.variant != "hint":
            return 0, 0
        shown, pool = share_of(patches, self.ratio, self.hints), share_of(patches, self.hints)
        if not 0 < shown <= visible:
            raise SpecError(
                f"hints {self.hints} at ratio {self.ratio} shows {shown} of {patches} patches where {visible} stay "
                "visible; at least one must be shown, and no more than stay: change `hints`, the ratio or the patch"
            )
        return shown, pool


@final
class SemanticMasker(MaskerSpec):
    """Hides whole groups of similar patches, the same number of patches in every image (after SemMAE).

    Each image's patches are grouped by k-means on a teacher's features. Groups are hidden in random order until the
    count is reached; of the last one, random patches are hidden. SemMAE learns its parts from attention instead.
    """

    kind: Literal["semantic"] = "semantic"
    net: NetName = "teacher"
    """Whose patch features are grouped: a name under `nets`, or the student itself."""
    ratio: float = Field(0.75, gt=0, lt=1)
    """Share of patches to hide (SemMAE: 0.75). The visible count is floor(N (1 - ratio)), computed exactly."""
    clusters: int = Field(7, ge=2, lt=2**31)
    """Groups of an image (SemMAE: 7 parts)."""
    iterations: int = Field(5, ge=0, le=100)
    """Lloyd's iterations of k-means."""
    metric: Literal["cosine", "euclidean"] = "cosine"
    """What is near: a small angle between features, or a small distance."""
    share: float = Field(1.0, ge=0, le=1)
    """Share of the mask that groups decide; the rest is random (SemMAE: grows from 0 to 1)."""

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from _by_chance(self.share, "clusters", "iterations", "metric")

    def build(self, env: Env, view: str) -> Masker:
        """The sampler. Raises SpecError where the net's patches are not the student's, or a count is impossible."""
        env.same_patches(self.net, view)
        patches, counts = env.grid(view).patches, counts_of(env.grid(view), self.ratio, self.share)
        if self.clusters > patches:
            raise SpecError(f"clusters {self.clusters} are more than the {patches} patches; use fewer")
        from sslkit_maskers.guided.semantic import KMeans, SemanticSampler

        means = KMeans(self.clusters, self.iterations, self.metric == "cosine")
        return SemanticSampler(view, self.net, counts, means)


@final
class DifficultyMasker(MaskerSpec):
    """Hides the patches whose loss is predicted to be the highest, the same number in every image (after HPM).

    The objective tells the losses of hidden patches. They are standardized within each image and predicted from a
    teacher's patch features by ridge regression over all that was hidden so far, older steps weighing less. HPM
    trains a second decoder for that. Until a loss is known, masks are random.
    """

    kind: Literal["difficulty"] = "difficulty"
    net: NetName = "teacher"
    """Whose patch features predict losses: a name under `nets`, or the student itself (HPM: the teacher)."""
    ratio: float = Field(0.75, gt=0, lt=1)
    """Share of patches to hide (HPM: 0.75). The visible count is floor(N (1 - ratio)), computed exactly."""
    share: float = Field(0.5, ge=0, le=1)
    """Share of the mask that the prediction decides; the rest is random (HPM: grows from 0 to 0.5)."""
    decay: float = Field(0.99, ge=0, lt=1)
    """Share of the old moments kept at each step."""
    ridge: float = Field(0.01, gt=0)
    """Penalty of the regression, over the mean variance of a feature."""

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from _by_chance(self.share, "decay", "ridge")

    def build(self, env: Env, view: str) -> Masker:
        """The sampler. Raises SpecError where the net's patches are not the student's, or a count is impossible."""
        dim = env.same_patches(self.net, view).dim
        counts = counts_of(env.grid(view), self.ratio, self.share)
        from sslkit_maskers.guided.difficulty import DifficultySampler

        return DifficultySampler(view, self.net, counts, dim=dim, decay=self.decay, ridge=self.ridge)
