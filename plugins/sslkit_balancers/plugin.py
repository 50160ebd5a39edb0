"""The plugin `balancers`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl
from sslkit_balancers.specs import (
    DWA,
    IMTLG,
    MGDA,
    CAGrad,
    FixedWeights,
    GradNorm,
    NashMTL,
    PCGrad,
    TorchJD,
    UncertaintyWeighting,
)


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The balancers of this package."""
    return [FixedWeights, UncertaintyWeighting, DWA, PCGrad, GradNorm, CAGrad, MGDA, IMTLG, NashMTL, TorchJD]
