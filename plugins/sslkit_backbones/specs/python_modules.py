"""Spec of the backbone that Python hands over. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, cast, final

from pydantic import Field, model_validator

from sslkit.plugin import (
    BackboneSpec,
    BatchNormMode,
    Count,
    Held,
    Problem,
    Size,
    group_problems,
    holding,
    missing_objects,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from sslkit.interfaces import Backbone
    from sslkit.plugin import Grid, RunSpec, View

MASKLESS = "simclr, moco_v3, byol, simsiam, barlow_twins, vicreg, swav or dino"


def _network(value: object) -> dict[str, str | int]:
    from sslkit_backbones.python_network import described

    return described(value)


def _function(value: object) -> dict[str, str | int]:
    from sslkit_backbones.python_network import function_described

    return function_described(value)


@final
class PythonModule(BackboneSpec):
    """Any `torch.nn.Module` that Python hands over. The run trains a copy; the module itself stays as it is.

    It gives tokens `[B, N, D]`, a map `[B, D, h, w]`, vectors `[B, D]`, or an answer of transformers. A `Backbone` of
    `sslkit.interfaces` is taken as it is, masks included.
    """

    unchecked: ClassVar[str] = "it takes objects of Python"
    tells_attention: ClassVar[bool] = False
    first_weights: ClassVar[tuple[str, ...]] = ("weights",)
    kind: Literal["python_module"] = "python_module"
    network: Annotated[Held, holding(_network)]
    """The network, with the weights to begin with."""
    forward: Annotated[Held, holding(_function)] | None = None
    """What gives its features, told the network and images, as `lambda net, images: net.features(images)`; or a method
    of it. Default: the network itself."""
    prefix: int = Field(0, ge=0)
    """Tokens before those of the patches, as class and register tokens."""
    has_class: bool = True
    """Whether the first of them is a class token; false: they are registers only, and are left out."""
    channels_last: bool = False
    """Whether maps are `[B, h, w, D]`."""
    batch_norm: BatchNormMode = "sync"
    """Images that share statistics, where the network has batch norm: all, so that ranks change nothing; those of a
    rank; or those of one of `splits` groups, `shuffled` for a moving average."""
    splits: Count = 1
    """Groups of `split` and `shuffled`."""
    weights: str | None = None
    """Digest of the weights to begin with, which the run notes by itself."""

    @model_validator(mode="before")
    @classmethod
    def _noted(cls, fields: Any) -> Any:  # noqa: ANN401  # whatever is given
        """The digest of a network that is given now."""
        network: Any = fields.get("network") if isinstance(fields, Mapping) else None
        if "weights" in fields or not hasattr(network, "state_dict") or isinstance(network, type):
            return fields
        from sslkit_backbones.python_network import weights_digest

        return {**fields, "weights": weights_digest(network)}

    @classmethod
    def example(cls) -> Self | None:
        return None

    def grid(self, size: Size) -> Grid | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from missing_objects(self)
        yield from group_problems(self.batch_norm, self.splits)
        if run.backbone is not self or self.network.about.get("reads") != "whole images":
            return
        for term in run.all_terms():
            if getattr(term.spec, "masker", None) is not None:
                yield Problem(
                    "network",
                    f"a {self.network.about['python']} reads whole images, and {term.path} ({term.spec.kind_name()}) "
                    f"hides patches from the network: use an objective without a masker ({MASKLESS}), a 'vit', or a "
                    "`Backbone` of sslkit.interfaces that reads masks",
                )

    def build(self, view: View) -> Backbone:
        from sslkit.nn.wrapped_network import Layout
        from sslkit_backbones.python_network import built

        return built(
            cast("nn.Module", self.network.get("backbone.network")),
            view,
            Layout(self.prefix, self.channels_last, self.has_class),
            None
            if self.forward is None
            else cast("Callable[..., object]", self.forward.get("backbone.forward")),
            batch_norm=self.batch_norm,
            splits=self.splits,
            weights=self.weights,
        )
