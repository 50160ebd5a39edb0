"""The range of stored pixel values as a field of a spec. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal, Self, final

from pydantic import AfterValidator, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic.functional_validators import model_validator

from sslkit.specs.base import Spec

Percent = Annotated[float, Field(ge=0, le=100)]


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] < pair[1]:
        raise ValueError("low must be below high")
    return pair


Ends = Annotated[tuple[float, float], AfterValidator(_rising)]
"""What becomes 0, and what becomes 1."""


@final
class PercentileRange(Spec):
    """Two percentiles of each channel over the first images become 0 and 1."""

    percentile: tuple[Percent, Percent]
    """Percents of the pixels that lie below 0 and below 1, as in [1, 99]."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _rising(self.percentile)
        return self


def _one_of(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """One message for all forms."""
    try:
        return handler(value)
    except ValidationError:
        raise ValueError(
            "must be 'auto', 'type', [low, high] with low below high, a list of such pairs, one per channel, or "
            "{percentile: [low, high]} with percents from 0 to 100"
        ) from None


Range = Annotated[
    Literal["auto", "type"] | Ends | Annotated[tuple[Ends, ...], Field(min_length=1)] | PercentileRange,
    WrapValidator(_one_of),
]
"""Which stored values become 0 and 1, the pixels that `normalize` takes; what lies outside is cut off.

`auto`: by type, as `type`, and refused where the first images use hardly any of it. `type`: the whole range of an
integer type, 0 to 1 of floats. `[low, high]`: these; or a list of such pairs, one per channel.
`{percentile: [low, high]}`: these percentiles of each channel over the first images.
"""
