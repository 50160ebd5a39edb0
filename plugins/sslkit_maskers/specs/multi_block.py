"""Spec of multi-block masking. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, final

from pydantic import AfterValidator, Field

from sslkit.plugin import Count, Grid, MaskerSpec, SpecError
from sslkit_maskers.block_sizes import Size, block_sizes
from sslkit_maskers.patch_shares import visible_of
from sslkit_maskers.specs.unguided import ordered

if TYPE_CHECKING:
    from sslkit.interfaces import Masker
    from sslkit.plugin import Env

Scale = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]], AfterValidator(ordered)
]
Aspect = Annotated[
    tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]], AfterValidator(ordered)
]
SQUARE = (1.0, 1.0)


@final
class MultiBlockMasker(MaskerSpec):
    """Several target blocks to predict, and a context block without them for the encoder (I-JEPA).

    Blocks of a step have one size. `ijepa` predicts each target block; any other objective all hidden patches. Those of
    clips reach over all moments (V-JEPA).
    """

    axes: ClassVar[tuple[int, ...] | None] = (2, 3)
    kind: Literal["multi_block"] = "multi_block"
    ratio: float = Field(0.75, gt=0, lt=1)
    """Share of patches hidden from the encoder, which sees floor(N (1 - ratio)). I-JEPA cuts contexts to the shortest
    of the batch, with 64 images to 0.27 of 196 patches in the mean."""
    targets: Count = 4
    """Target blocks of an image; they may overlap (I-JEPA: 4)."""
    scale: Scale = (0.15, 0.2)
    """Lowest and highest area of target blocks, as a share of the image (I-JEPA: 0.15 to 0.2)."""
    aspect: Aspect = (0.75, 1.5)
    """Lowest and highest height / width of target blocks; the highest goes with the largest (I-JEPA: 0.75 to 1.5)."""
    context: Scale = (0.85, 1.0)
    """Lowest and highest area of the square context block (I-JEPA: 0.85 to 1)."""
    edges: bool = False
    """Let blocks reach the last row and column, which those of I-JEPA's code never do (V-JEPA 2: true)."""
    cut: Literal["end", "random"] = "end"
    """Which patches of the context are left out where it has too many: the last ones (I-JEPA), or any."""
    joined: bool = False
    """Predict all target blocks as one, each patch once (V-JEPA), not each block apart (I-JEPA)."""

    def build(self, env: Env, view: str) -> Masker:
        """The sampler. Raises SpecError where blocks are empty or leave the encoder too little."""
        whole = env.grid(view)
        moments = whole.shape[0] if len(whole.shape) == 3 else 1
        grid = Grid.of(whole.shape[-2:], whole.sides[-2:])
        visible = visible_of(grid, self.ratio)
        targets = block_sizes(grid, self.scale, self.aspect, self.edges)
        contexts = block_sizes(grid, self.context, SQUARE, self.edges)
        self._require_room(grid, visible, targets, contexts)
        from sslkit_maskers.unguided.multi_block import Layout, MultiBlockSampler

        layout = Layout(
            targets, contexts, self.targets, self.edges, self.cut == "random", self.joined, moments
        )
        return MultiBlockSampler(grid, visible, layout)

    def _require_room(
        self, grid: Grid, visible: int, targets: tuple[Size, ...], contexts: tuple[Size, ...]
    ) -> None:
        where = f"{grid.patches} patches ({grid.rows} x {grid.cols})"
        if min(size.area for size in targets) < 1:
            raise SpecError(
                f"scale {list(self.scale)} with aspect {list(self.aspect)} gives empty target blocks on {where}; "
                "use a larger scale or a smaller patch"
            )
        least = min(size.area for size in contexts) - max(size.area for size in targets)
        if least < visible:
            raise SpecError(
                f"ratio {self.ratio} shows {visible} of {where}, but a context of {list(self.context)} outside a "
                f"target block of {list(self.scale)} may have {max(least, 0)}; use a higher ratio, a smaller scale, a "
                "larger context or a smaller patch"
            )
