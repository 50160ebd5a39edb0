"""Pixel ranges: which stored values become 0 and 1 before the network's normalization. C channels, H x W pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, Protocol, Self, final

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from sslkit.errors import DataError

Raw = NDArray[np.generic]
"""Pixels as a file holds them, `[C, H, W]` of any numeric type."""

PASSED_ON = frozenset({"uint8", "uint16", "int16"})
"""Types that `Source.load` may give as they are; their whole range stands for 0 to 1."""
FEWEST = 0.02
"""Share of its type's range that `auto` expects the samples to use at least."""
MOST_VALUES = 1 << 18
"""Values of a channel of one sample that percentiles are taken of; larger images are read in steps."""


class Percentiles(Protocol):
    """The setting `{percentile: [low, high]}`."""

    @property
    def percentile(self) -> tuple[float, float]:
        """Percents, from 0 to 100."""


Setting = Literal["auto", "type"] | tuple[float, float] | tuple[tuple[float, float], ...] | Percentiles
"""What a field of the type `sslkit.plugin.Range` holds."""


@final
class PixelRange(NamedTuple):
    """The values that become 0 and 1; what lies outside is cut off."""

    low: tuple[float, ...]
    """What becomes 0: one value, or one per channel."""
    high: tuple[float, ...]
    """What becomes 1: as many, each above its `low`."""

    @classmethod
    def of_type(cls, dtype: np.dtype[np.generic]) -> Self:
        """Everything that an integer type can hold; 0 to 1 of floats and booleans.

        Raises:
            DataError: `dtype` is no type of real numbers.
        """
        if dtype.kind in "fb":
            return cls((0.0,), (1.0,))
        if dtype.kind not in "iu":
            raise DataError(f"pixels are {dtype}; expected integers, floats or booleans")
        limits = np.iinfo(str(dtype))
        return cls((float(limits.min),), (float(limits.max),))

    def __call__(self, raw: Raw) -> Tensor:
        """`raw` `[C, H, W]` as float32 in [0, 1], clipped; NaN becomes `low`, so 0.

        Raises:
            DataError: there are ranges for another number of channels.
        """
        if len(self.low) not in (1, len(raw)):
            raise DataError(f"there are ranges of {len(self.low)} channels for an image of {len(raw)}")
        wide = raw.dtype.itemsize > 2 and raw.dtype != np.float32
        inner: DTypeLike = np.float64 if wide else np.float32
        values: NDArray[np.float64] = np.array(raw, dtype=inner)
        low, high = (np.array(ends, values.dtype)[:, None, None] for ends in (self.low, self.high))
        with np.errstate(over="ignore", invalid="ignore"):  # infinities are cut off below
            values -= low
            values /= high - low
        np.nan_to_num(values, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
        return torch.from_numpy(values.clip(0, 1, out=values).astype(np.float32, copy=False))


def to_pixels(raw: Raw, pixel_range: PixelRange | None) -> Tensor:
    """`raw` `[C, H, W]` as `Source.load` gives it: float32 by `pixel_range`, or without one as its type says.

    By type uint8, uint16 and int16 stay what they are, and all others become float32 in [0, 1].

    Raises:
        DataError: `raw` holds no real numbers, or `pixel_range` is of another number of channels.
    """
    if pixel_range is not None:
        return pixel_range(raw)
    if raw.dtype.name in PASSED_ON:
        copied = not raw.flags.writeable or min(raw.strides) < 0  # neither is for torch
        return torch.from_numpy(
            raw.astype(raw.dtype.newbyteorder("="), order="C" if copied else "K", copy=copied)
        )
    return PixelRange.of_type(raw.dtype)(raw)


def resolve_range(setting: Setting, samples: Sequence[Raw], field: str) -> PixelRange | None:
    """The range that `setting` stands for, given the first images; None where each image's type says it.

    Args:
        setting: value of a field of the type `sslkit.plugin.Range`.
        samples: some images, `[C, H, W]` each, as their files hold them. None are needed but by percentiles.
        field: path of the field in the spec, for messages.

    Raises:
        DataError: with `auto`, the samples are constant, use under 2 % of the range of their type, or are floats
            outside 0 to 1; or percentiles have no samples, or coincide; or ranges are of another number of channels.
    """
    if setting == "auto":
        _require_use(samples, field)
    if setting in ("auto", "type"):
        return None
    percentile = getattr(setting, "percentile", None)
    pairs = np.atleast_2d(np.array(setting if percentile is None else _ends(percentile, samples, field)))
    for sample in samples:
        if len(pairs) not in (1, len(sample)):
            raise DataError(
                f"{field}: gives ranges of {len(pairs)} channels but the images have {len(sample)}; give one "
                f"[low, high] for all, or {len(sample)}"
            )
    low, high = pairs.T.tolist()
    return PixelRange(tuple(low), tuple(high))


def _ends(percentile: tuple[float, float], samples: Sequence[Raw], field: str) -> list[list[float]]:
    """Both percentiles of each channel over all samples."""
    if len({len(sample) for sample in samples}) != 1:
        counts = ", ".join(str(count) for count in sorted({len(sample) for sample in samples})) or "no"
        raise DataError(
            f"{field}: percentiles need images of one number of channels, and there are {counts}; give "
            "[low, high], or one such pair per channel"
        )
    pairs = []
    for channel in range(len(samples[0])):
        values = np.concatenate(
            [_finite(sample[channel])[:: _stride(sample)] for sample in samples], dtype=np.float64
        )
        low, high = np.percentile(values, percentile).tolist() if len(values) else (0.0, 0.0)
        if low >= high:
            raise DataError(
                f"{field}: the percentiles {percentile[0]:g} and {percentile[1]:g} of channel {channel} are both "
                f"{low:g}; give [low, high], or one such pair per channel"
            )
        pairs.append([low, high])
    return pairs


def _stride(sample: Raw) -> int:
    return max(1, sample.size // len(sample) // MOST_VALUES)


def _finite(values: Raw) -> Raw:
    """`[N]`, without NaN and infinities."""
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values.reshape(-1)


def _require_use(samples: Sequence[Raw], field: str) -> None:
    """Raises DataError where the samples of a type use hardly anything of its range; 8 bits are always right."""
    for dtype in dict.fromkeys(sample.dtype for sample in samples):
        if dtype.itemsize > 1:
            ends = list(_extremes(sample for sample in samples if sample.dtype == dtype))
            _require_use_of(dtype, ends, field)


def _extremes(samples: Iterator[Raw]) -> Iterator[float]:
    """Lowest and highest finite value of each sample that has any."""
    for sample in samples:
        values = _finite(sample)
        if len(values):
            yield from (values.min().item(), values.max().item())


def _require_use_of(dtype: np.dtype[np.generic], ends: list[float], field: str) -> None:
    if not ends:
        raise DataError(f"{field}: the first images hold NaN or infinity only ({dtype}); check the files")
    low, high = min(ends), max(ends)
    whole = PixelRange.of_type(dtype)
    begin, end = whole.low[0], whole.high[0]
    if low == high:
        raise DataError(
            f"{field}: all pixels of the first images are {low:g} ({dtype}); check the files, or write the range of "
            f"the other images, as in `range: {_suggestion(dtype, min(low, 0), max(high, 1))}`"
        )
    outside = low < begin or high > end
    if outside or (high - low) < FEWEST * (end - begin):
        why = "so that others would be cut off" if outside else f"of which that is less than {FEWEST:.0%}"
        kind = "floats are" if dtype.kind == "f" else f"{dtype} is"
        raise DataError(
            f"{field}: the first images have values of {low:g} to {high:g} ({dtype}), and {kind} read from {begin:g} "
            f"to {end:g}, {why}; write what their values mean, as in `range: {_suggestion(dtype, low, high)}`, or "
            "`range: type` to read them so"
        )


def _suggestion(dtype: np.dtype[np.generic], low: float, high: float) -> str:
    """A range around the values: as many whole bits of integers from 0 on."""
    if dtype.kind == "f":
        return f"[{low:.4g}, {high:.4g}]"
    if low >= 0:
        return f"[0, {(1 << int(high).bit_length()) - 1}]"
    return f"[{int(low)}, {int(high)}]"
