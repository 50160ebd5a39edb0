"""Maskers without a run: an environment of one view, and a scene for those that look at nothing."""

from __future__ import annotations

import torch

from sslkit.core.context import Env
from sslkit.core.masker import Scene
from sslkit.core.view import Grid
from sslkit.testing.fake_scene import VIEW, env_of

UNSEEN = Scene(torch.empty(0))
"""For maskers that do not look."""


def on(grid: Grid) -> tuple[Env, str]:
    """What `MaskerSpec.build` takes, for a view that is cut into the patches of `grid`."""
    return env_of(grid), VIEW
