"""Types of timm's networks, which come without annotations."""

from __future__ import annotations

from typing import Any, TypeAlias

from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos

TimmModule: TypeAlias = Any
"""A network of timm, or a part of one, whose attributes depend on its class."""
ViTNet: TypeAlias = VisionTransformer | Beit | VisionTransformerRelPos | Eva
"""Vision transformers whose parts this package knows."""
