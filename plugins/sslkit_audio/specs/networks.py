"""Spec of `spectrogram_network`. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from sslkit.plugin import BackboneField, BackboneSpec, Grid, Problem, SpecError, slot_default
from sslkit_audio.specs.streams import SPECTROGRAM

if TYPE_CHECKING:
    from sslkit.interfaces import Backbone
    from sslkit.plugin import RunSpec, Size, View


@final
class SpectrogramNetwork(BackboneSpec):
    """A network of images that reads spectrograms as images of one channel, time downwards (AudioMAE: ViT-B/16)."""

    takes: ClassVar[str] = SPECTROGRAM
    oblong: ClassVar[bool] = True
    kind: Literal["spectrogram_network"] = "spectrogram_network"
    network: BackboneField = slot_default("vit")
    """Any backbone of images."""

    @classmethod
    def example(cls) -> Self:
        sizes = {"name": "vit_tiny_patch16_224", "patch": 8, "width": 16, "depth": 1, "heads": 2}
        return cls(network={"kind": "vit", **sizes})

    @property
    def has_first_weights(self) -> bool:
        return self.network.has_first_weights

    @property
    def blocks(self) -> int | None:
        return self.network.blocks

    def grid(self, size: Size) -> Grid | None:
        return self.network.grid(size)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The network is one of images, and its patches divide every spectrogram."""
        kind = self.network.kind_name()
        if self.network.takes != BackboneSpec.takes:
            yield Problem("network", f"{kind!r} reads {self.network.takes}; name a network of images")
            return
        for name, view in run.views.items():
            if view.type_in(run.data) != SPECTROGRAM:
                continue
            if not isinstance(view.size, int) and not self.network.oblong:
                yield Problem(
                    "network", f"{kind!r} reads equal sides only; set `views.{name}.size` to one number"
                )
                continue
            try:
                self.network.grid(view.size)
            except SpecError as error:
                yield Problem("network", f"{error} (view {name!r})")

    def build(self, view: View) -> Backbone:
        return self.network.build(view)
