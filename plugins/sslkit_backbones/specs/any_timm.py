"""Spec of the backbone `timm`. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, final

from pydantic import AfterValidator

from sslkit.plugin import BackboneSpec, BatchNormMode, Count, Problem, Size, group_problems
from sslkit_backbones.specs.timm_names import TimmName, network_settings
from sslkit_backbones.specs.weights_file import weights_problems

if TYPE_CHECKING:
    from sslkit.interfaces import Backbone
    from sslkit.plugin import Grid, RunSpec, View


@final
class Timm(BackboneSpec):
    """Any network of timm as timm makes it: to be evaluated, to be a frozen teacher, or to be trained without masks.

    Its patches are the last feature map or the last tokens; its class token is the network's own, or their mean.
    """

    tells_attention: ClassVar[bool] = False
    kind: Literal["timm"] = "timm"
    name: TimmName
    """Its name in timm (https://huggingface.co/docs/timm): `tf_efficientnet_lite0`, `convnext_tiny`, ..."""
    arguments: Annotated[Mapping[str, Any], AfterValidator(network_settings)] = {}
    """Further arguments of `timm.create_model`, as `{img_size: 128}` for a vision transformer."""
    checkpoint: Path | None = None
    """Weights: a public file of timm and others, or a folder of Hugging Face (docs/weights.md)."""
    batch_norm: BatchNormMode = "sync"
    """Images that share statistics, where the network has batch norm: all, so that ranks change nothing; those of a
    rank; or those of one of `splits` groups, `shuffled` for a moving average."""
    splits: Count = 1
    """Groups of `split` and `shuffled`."""
    pretrained: bool = False
    """Whether timm loads the weights that it knows for this name; it may download them."""

    @classmethod
    def example(cls) -> Self:
        return cls(name="test_resnet")

    def grid(self, size: Size) -> Grid | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The weights must exist, and groups are of the modes that make them."""
        yield from group_problems(self.batch_norm, self.splits)
        yield from weights_problems(self.checkpoint)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if self.checkpoint is not None:
            yield Problem(
                "pretrained", "has no effect, as the weights of `checkpoint` replace timm's; keep one of them"
            )

    def build(self, view: View) -> Backbone:
        from sslkit_backbones.timm_backbone import wrapped

        return wrapped(
            self.name,
            self.arguments,
            view,
            batch_norm=self.batch_norm,
            splits=self.splits,
            checkpoint=self.checkpoint,
            pretrained=self.pretrained,
        )
