"""Grids of patches of images. Torch-free."""

from __future__ import annotations

from sslkit.plugin import Grid, Size, SpecError, sides_of


def grid_of_patches(size: Size, patch: int) -> Grid:
    """Images of `size` in patches of `patch`. Raises SpecError where they do not divide it."""
    return _cut(size, patch, f"patch {patch}")


def grid_of_last_stage(size: Size, stride: int) -> Grid:
    """Images of `size` in tokens of `stride`. Raises SpecError where they do not divide it."""
    return _cut(size, stride, f"a token of the last stage of {stride} pixels")


def _cut(size: Size, patch: int, what: str) -> Grid:
    rows, cols = (_count(side, patch, what) for side in sides_of(size, 2))
    return Grid(rows, cols, patch)


def _count(side: int, patch: int, what: str) -> int:
    if side % patch:
        lower = side // patch * patch
        near = f"{lower} or {lower + patch}" if lower else str(patch)
        raise SpecError(f"{what} does not divide the image size {side}; use an image size of {near}")
    return side // patch
