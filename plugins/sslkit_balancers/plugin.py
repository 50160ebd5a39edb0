"""The plugin `balancers`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl

KINDS = {
    "balancer": {
        "fixed": "sslkit_balancers.specs:FixedWeights",
        "uncertainty": "sslkit_balancers.specs:UncertaintyWeighting",
        "dwa": "sslkit_balancers.specs:DWA",
        "pcgrad": "sslkit_balancers.specs:PCGrad",
        "gradnorm": "sslkit_balancers.specs:GradNorm",
        "cagrad": "sslkit_balancers.specs:CAGrad",
        "mgda": "sslkit_balancers.specs:MGDA",
        "imtl_g": "sslkit_balancers.specs:IMTLG",
        "nash": "sslkit_balancers.specs:NashMTL",
        "torchjd": "sslkit_balancers.specs:TorchJD",
    },
}
"""Family -> kind -> its class, which the registry imports when a spec names the kind."""


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The balancers of this package."""
    from pkgutil import resolve_name

    return [resolve_name(path) for kinds in KINDS.values() for path in kinds.values()]
