"""Specs of targets. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, final

from pydantic import Field

from sslkit.plugin import NetName, Problem, SpecError, TargetSpec

if TYPE_CHECKING:
    from sslkit.interfaces import Target
    from sslkit.plugin import Env, Grid, RunSpec


Loss = Literal["l2", "l1", "smooth_l1"]


FeatureLoss = Literal["smooth_l1", "l2", "l1", "cosine"]


Blocks = Annotated[tuple[Annotated[int, Field(gt=-1000, lt=1000)], ...], Field(min_length=1)]


Weights = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]


@final
class Pixel(TargetSpec):
    """The patch's own pixels, as the view normalizes them (MAE without `--norm_pix_loss`)."""

    kind: Literal["pixel"] = "pixel"
    loss: Loss = "l2"
    """Error of a pixel, averaged over the patch (MAE: l2; SimMIM: l1)."""

    def build(self, env: Env, view: str) -> Target:
        from sslkit_targets.pixel import PixelTarget

        return PixelTarget(env.grid(view), env.view(view).channels, self.loss, normalized=False)


@final
class NormalizedPixel(TargetSpec):
    """The patch's pixels with the patch's mean removed and its scale divided out (MAE with `--norm_pix_loss`)."""

    kind: Literal["normalized_pixel"] = "normalized_pixel"
    loss: Loss = "l2"
    """Error of a pixel, averaged over the patch (MAE: l2)."""

    def build(self, env: Env, view: str) -> Target:
        from sslkit_targets.pixel import PixelTarget

        return PixelTarget(env.grid(view), env.view(view).channels, self.loss, normalized=True)


@final
class HOG(TargetSpec):
    """Histograms of oriented gradients of the patch's cells (MaskFeat; Dalal and Triggs 2005).

    They are computed on the whole normalized crop, for each channel, so that a cell's border pixels see beyond the
    patch. `slowfast` is MaskFeat's reference implementation: Sobel gradients, reflected borders, and the angle
    taken from the vertical axis. `conventional` is scikit-image's: central differences that are 0 at the
    border, and the angle taken from the horizontal axis.
    """

    kind: Literal["hog"] = "hog"
    bins: int = Field(9, ge=2)
    """Orientations, without a sign: opposite directions share a bin (MaskFeat: 9)."""
    cell: int = Field(8, ge=1)
    """Side of a cell, in pixels; it divides the patch (MaskFeat: 8 for patches of 16)."""
    variant: Literal["slowfast", "conventional"] = "slowfast"
    """Arithmetic of MaskFeat's reference, or scikit-image's."""
    loss: Loss = "l2"
    """Error of a value, averaged over the patch (MaskFeat: l2)."""

    def build(self, env: Env, view: str) -> Target:
        """The target for the patches of `view`. Raises SpecError where the cell does not divide the patch."""
        self._check(env.grid(view))
        from sslkit_targets.hog import Cells, HOGTarget

        cells = Cells(self.bins, self.cell, self.variant)
        return HOGTarget(cells, self.loss, env.grid(view), env.view(view))

    def _check(self, grid: Grid) -> None:
        if grid.patch % self.cell:
            fitting = [str(n) for n in range(2, grid.patch + 1) if grid.patch % n == 0] or ["1"]
            raise SpecError(
                f"target.cell: cells of {self.cell} pixels do not divide patches of {grid.patch}; "
                f"use a cell of {' or '.join(fitting)}"
            )


@final
class Frequency(TargetSpec):
    """The patch's pixels after the crop's high frequencies are removed by an ideal low-pass filter (PixMIM)."""

    kind: Literal["frequency"] = "frequency"
    cutoff: float = Field(round(40 / 112, 6), gt=0)
    """Radius kept in the spectrum, as a share of the Nyquist frequency (PixMIM: 40 of 112 for crops of 224)."""
    normalized: bool = False
    """Remove each filtered patch's mean and divide out its deviation, as `normalized_pixel` does (PixMIM: true)."""
    loss: Loss = "l2"
    """Error of a pixel, averaged over the patch (PixMIM: l2)."""

    def build(self, env: Env, view: str) -> Target:
        from sslkit_targets.frequency import FrequencyTarget

        return FrequencyTarget(self.cutoff, self.normalized, self.loss, env.grid(view), env.view(view))


@final
class TeacherFeature(TargetSpec):
    """What another net has for the patch when it sees the whole image (data2vec, EVA).

    The net is a moving average of the student (`nets: {teacher: {}}`) or a frozen network; it may be of another width.
    The defaults are data2vec's. EVA: `layers: final`, both norms off, `loss: cosine`.
    """

    kind: Literal["teacher_feature"] = "teacher_feature"
    net: NetName = "teacher"
    """A name under `nets`."""
    layers: Literal["top_half", "final"] | Blocks = "top_half"
    """Blocks whose outputs are read, from 0, negative ones from the end; `top_half` of them (data2vec: 6 to 11 of 12);
    or `final`, the net's end after its own final norm (EVA)."""
    normalize: bool = True
    """Layer norm without scale and shift of each block's output (data2vec: true)."""
    average: bool = True
    """Mean over the blocks (data2vec: true); otherwise they stand one after the other."""
    final_norm: bool = True
    """Layer norm without scale and shift of the result (data2vec's recipe: true)."""
    loss: FeatureLoss = "smooth_l1"
    """Error of a value, averaged over the patch (data2vec: smooth_l1), or 1 minus the cosine (EVA: cosine)."""
    beta: float = Field(2.0, gt=0)
    """Error at which `smooth_l1` turns from squares to absolute values (data2vec's recipe: 2)."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from _net_problems(self.net)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if self.layers == "final":
            yield Problem("average", "has no effect, as `layers: final` reads one output; leave it out")
        yield from _bend(self.loss)

    def build(self, env: Env, view: str) -> Target:
        """The target for the patches of `view`. Raises SpecError where the net or its blocks or patches do not fit."""
        depth = _depth(self.net, env, view)
        from sslkit_targets.teacher_feature import Features, FeatureTarget

        blocks = _blocks(self._layers(depth), self.net, depth)
        shape = Features(
            self.net, blocks, self.normalize, self.average, self.final_norm, self.loss, self.beta
        )
        return FeatureTarget(shape, env, view)

    def _layers(self, depth: int) -> tuple[int, ...]:
        if isinstance(self.layers, tuple):
            return self.layers
        return tuple(range(depth // 2, depth)) if self.layers == "top_half" else ()


@final
class Perceptual(TargetSpec):
    """What a net has for the patch at several depths, each layer-normed and weighed (perceptual losses; PeCo).

    The net is a frozen network, or a moving average of the student. The prediction is that of all depths, one after the
    other.
    """

    kind: Literal["perceptual"] = "perceptual"
    net: NetName = "teacher"
    """A name under `nets`."""
    layers: Blocks | None = None
    """Blocks whose outputs are read, from 0, negative ones from the end. Default: the last block of each quarter of the
    net (2, 5, 8 and 11 of 12), our choice."""
    weights: Weights | None = None
    """Weight of each depth's error. Default: equal ones whose sum is 1."""
    loss: FeatureLoss = "l2"
    """Error of a value, averaged over the depth's values (perceptual losses: l2), or 1 minus the cosine."""
    beta: float = Field(1.0, gt=0)
    """Error at which `smooth_l1` turns from squares to absolute values (torch: 1)."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from _net_problems(self.net)
        if self.layers is not None:
            yield from self._weight_problems(len(self.layers))

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from _bend(self.loss)

    def build(self, env: Env, view: str) -> Target:
        """The target for the patches of `view`. Raises SpecError where net, blocks or weights do not fit."""
        depth = _depth(self.net, env, view)
        blocks = _blocks(self.layers or _quarters(depth), self.net, depth)
        for problem in self._weight_problems(len(blocks)):
            raise SpecError(f"target.{problem.path}: {problem.message}")
        from sslkit_targets.teacher_feature import Features, FeatureTarget

        weights = self.weights or (1 / len(blocks),) * len(blocks)
        return FeatureTarget(
            Features(self.net, blocks, True, False, False, self.loss, self.beta, weights), env, view
        )

    def _weight_problems(self, depths: int) -> Iterator[Problem]:
        if self.weights is not None and len(self.weights) != depths:
            yield Problem(
                "weights", f"has {len(self.weights)} weights for {depths} depths; give one for each"
            )


def _bend(loss: FeatureLoss) -> Iterator[Problem]:
    if loss != "smooth_l1":
        yield Problem("beta", f"is for `loss: smooth_l1`, found {loss!r}; leave it out")


def _net_problems(net: str) -> Iterator[Problem]:
    """What is wrong with `net` as the source of goals."""
    if net == "student":
        yield Problem(
            "net", "the student cannot be its own target; add `nets: {teacher: {}}` and name `teacher`"
        )


def _depth(net: str, env: Env, view: str) -> int:
    """Blocks of `net`. Raises SpecError where it is not there or its patches are not the student's."""
    for problem in _net_problems(net):
        raise SpecError(f"target.{problem.path}: {problem.message}")
    return env.same_patches(net, view).depth


def _blocks(layers: tuple[int, ...], net: str, depth: int) -> tuple[int, ...]:
    """`layers` counted from 0. Raises SpecError where one does not exist."""
    for layer in layers:
        if not -depth <= layer < depth:
            raise SpecError(f"target.layers: block {layer} does not exist; net {net!r} has {depth} blocks")
    return tuple(layer % depth for layer in layers)


def _quarters(depth: int) -> tuple[int, ...]:
    """The last block of each quarter of `depth` blocks."""
    return tuple(sorted({-(-depth * quarter // 4) - 1 for quarter in range(1, 5)}))
