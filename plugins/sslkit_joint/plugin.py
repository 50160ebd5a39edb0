"""Specs of joint-embedding objectives. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.registry.hookspecs import hookimpl
from sslkit.spec.base import Spec
from sslkit_joint.contrastive import InfoNCE, MoCoV2, MoCoV3, SimCLR
from sslkit_joint.negative_free import NEGATIVE_FREE


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The kinds of this package."""
    return [InfoNCE, SimCLR, MoCoV2, MoCoV3, *NEGATIVE_FREE]
