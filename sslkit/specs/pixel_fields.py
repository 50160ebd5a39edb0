"""Fields of sources that decode files: channels, bands, alpha, limits. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator, Field, StringConstraints

from sslkit.specs.pixel_range import Range

Name = Annotated[str, StringConstraints(min_length=1)]
Band = Annotated[int, Field(ge=0)] | Name
Alpha = Literal["drop", "composite", "channel"]
"""What becomes of transparency: left out, on white, or a channel."""


def _distinct(bands: tuple[int | str, ...]) -> tuple[int | str, ...]:
    twice = next((band for band in bands if bands.count(band) > 1), None)
    if twice is not None:
        raise ValueError(f"names band {twice!r} twice")
    return bands


Bands = Annotated[tuple[Band, ...], Field(min_length=1), AfterValidator(_distinct)]
"""Planes of a file by place from 0, through the samples of a pixel and then the pages; or by the file's names."""


class PixelFields(Protocol):
    """The specs that have these fields."""

    @property
    def channels(self) -> int:
        """Of every image."""
        ...

    @property
    def convert(self) -> bool:
        """Whether gray and color become one another."""
        ...

    @property
    def bands(self) -> tuple[int | str, ...] | None:
        """Planes that are read."""
        ...

    @property
    def alpha(self) -> Alpha:
        """What becomes of transparency."""
        ...

    @property
    def range(self) -> Range:
        """Which values become 0 and 1."""
        ...

    @property
    def shrink(self) -> int | None:
        """Pixels that a JPEG keeps on its sides."""
        ...

    @property
    def max_pixels(self) -> int:
        """Of an image."""
        ...

    @property
    def max_metadata(self) -> int:
        """Bytes."""
        ...


def require_fitting(spec: PixelFields) -> None:
    """Pass where the fields fit each other. Raises ValueError otherwise."""
    if spec.bands is not None and len(spec.bands) != spec.channels:
        raise ValueError(
            f"`bands` names {len(spec.bands)} but channels is {spec.channels}; set `channels: {len(spec.bands)}`"
        )
    if spec.bands is not None and spec.alpha != "drop":
        raise ValueError(
            f"`bands` says all that is read, so `alpha: {spec.alpha}` has no effect; leave one out"
        )
    if spec.alpha == "channel" and spec.channels not in (2, 4):
        raise ValueError(
            f"`alpha: channel` makes 2 channels of gray and 4 of color, but channels is {spec.channels}; set "
            "`channels: 4`"
        )
