"""Grids of patches of square images. Torch-free."""

from __future__ import annotations

from sslkit.plugin import Grid, SpecError


def grid_of_patches(size: int, patch: int) -> Grid:
    """`size` pixels in patches of `patch`. Raises SpecError where they do not divide it."""
    return _cut(size, patch, f"patch {patch}")


def grid_of_last_stage(size: int, stride: int) -> Grid:
    """`size` pixels in tokens of `stride`. Raises SpecError where they do not divide it."""
    return _cut(size, stride, f"a token of the last stage of {stride} pixels")


def _cut(size: int, patch: int, what: str) -> Grid:
    if size % patch:
        lower = size // patch * patch
        near = f"{lower} or {lower + patch}" if lower else str(patch)
        raise SpecError(f"{what} does not divide the image size {size}; use an image size of {near}")
    return Grid(size // patch, size // patch, patch)
