"""Spec of rotation by quarter turns. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, final

from pydantic import Field

from sslkit.plugin import AugmentSpec, Size

if TYPE_CHECKING:
    from sslkit.interfaces import Augment


@final
class Turn(AugmentSpec):
    """Turns every image by the same number of quarters, anticlockwise. Nothing in it is random."""

    oblong: ClassVar[bool] = True
    kind: Literal["turn"] = "turn"
    quarters: int = Field(1, ge=0, le=3)
    """Quarter turns: 1 for 90 degrees, 2 for 180, 3 for 270."""

    def build(self, size: Size) -> Augment:
        from sslkit_augments.rotate90 import Rotate90Augment

        return Rotate90Augment(self.quarters)
