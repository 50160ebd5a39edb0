"""Copies of networks that never train."""

from __future__ import annotations

import copy

from sslkit.core.backbone import Backbone


def frozen_copy(net: Backbone) -> Backbone:
    """A copy that never trains: no gradients, no dropout or stochastic depth."""
    return copy.deepcopy(net).requires_grad_(False).eval()
