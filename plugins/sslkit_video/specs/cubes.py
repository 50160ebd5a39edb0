"""Clips cut in cubelets. Torch-free."""

from __future__ import annotations

from sslkit.plugin import Grid, Size, SpecError, sides_of


def cubes(size: Size, tubelet: int, patch: int) -> Grid:
    """The cubelets of clips of this `size`: `tubelet` frames, `patch` rows and columns each.

    Raises:
        SpecError: a side is no multiple of its extent.
    """
    sides, cube = sides_of(size, 3), (tubelet, patch, patch)
    for side, extent, what in zip(sides, cube, ("frames", "rows", "columns"), strict=True):
        if side % extent:
            raise SpecError(
                f"video_vit: {side} {what} cannot be cut in cubelets of {extent}; use a multiple as the view's size"
            )
    return Grid.of(tuple(side // extent for side, extent in zip(sides, cube, strict=True)), cube)


def maps(size: Size, alpha: int, stride: int) -> Grid:
    """The places of the last maps of `slowfast` on clips of this size: `alpha` frames by `stride` pixels, or less.

    Raises:
        SpecError: the frames are not a multiple of `alpha`.
    """
    frames, *sides = sides_of(size, 3)
    if frames % alpha:
        raise SpecError(f"slowfast: {frames} frames are not a multiple of `alpha`, {alpha}; change either")
    places = (-(-side // stride) for side in sides)
    return Grid.of((frames // alpha, *places), (alpha, stride, stride))
