"""Spec of the convolutional backbone. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, final

from pydantic import AfterValidator, Field

from sslkit.plugin import BackboneSpec, BatchNormMode, Count, Problem, Size, group_problems
from sslkit_backbones.specs.timm_names import TimmName, network_settings
from sslkit_backbones.specs.weights_file import weights_problems

if TYPE_CHECKING:
    from sslkit.interfaces import Backbone
    from sslkit.plugin import Grid, RunSpec, View


@final
class CNN(BackboneSpec):
    """A convolutional network of timm, for objectives without masks (MoCo, SimCLR, BYOL, DINO)."""

    oblong: ClassVar[bool] = True
    tells_attention: ClassVar[bool] = False
    kind: Literal["cnn"] = "cnn"
    name: TimmName = "resnet50"
    """Its name in timm (https://huggingface.co/docs/timm): `resnet18`, `convnext_tiny`, `efficientnet_b0`, ..."""
    arguments: Annotated[Mapping[str, Any], AfterValidator(network_settings)] = {}
    """Further arguments of `timm.create_model`, as `{channels: [16, 32, 64, 128], stem_width: 8}` for a quarter of
    `resnet10t`'s width."""
    stem: Literal["named", "cifar"] = "named"
    """First layers: the named network's; or, of a ResNet, one 3 x 3 convolution of stride 1 and no pooling, for
    images of about 32 pixels (MoCo's CIFAR-10 notebook, lightly's benchmark)."""
    batch_norm: BatchNormMode = "sync"
    """Images that share statistics: all (SimCLR, BYOL, MoCo v3); those of a rank; or those of one of `splits` groups,
    `shuffled` for a moving average (MoCo v2)."""
    splits: Count = 1
    """Groups of `split` and `shuffled` (MoCo's CIFAR-10 notebook: 8)."""
    views_apart: bool = True
    """Whether each crop of a view is a batch of its own to batch norm (MoCo, BYOL, SimSiam, Barlow Twins, VICReg,
    lightly), or all crops of a view share one (SimCLR's TensorFlow code, SwAV, DINO). Two views never share."""
    zero_init_last: bool | None = None
    """Whether the last batch norm of every residual branch begins at 0. Default: timm's, which is yes for ResNets
    (torchvision's, and so MoCo's and lightly's, do not)."""
    drop_path: float = Field(0.0, ge=0, lt=1)
    """Stochastic depth at the last block, where the network has it."""
    checkpoint: Path | None = None
    """Weights to start from: a file that `sslkit export` wrote, or a public one of timm, DINOv2, MAE and others, or a
    folder of Hugging Face (docs/weights.md)."""

    @classmethod
    def example(cls) -> Self:
        return cls(name="test_resnet")

    def grid(self, size: Size) -> Grid | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Groups are of the modes that make them; the weights must exist."""
        yield from group_problems(self.batch_norm, self.splits)
        rows = run.images_per_forward()
        groups = self.splits**2 if self.batch_norm == "shuffled" else self.splits
        if self.views_apart and rows % groups:
            yield Problem(
                "splits",
                f"{self.splits} with {self.batch_norm!r} needs batches of a multiple of {groups}, found {rows}",
            )
        yield from weights_problems(self.checkpoint)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if self.frozen_in(run):
            for field in ("batch_norm", "views_apart", "drop_path"):
                yield Problem(field, "has no effect, as this net is frozen; leave it out")
        if self.checkpoint is not None:
            yield Problem(
                "zero_init_last", "has no effect, as the weights of `checkpoint` replace it; leave it out"
            )

    def build(self, view: View) -> Backbone:
        from sslkit_backbones.cnn import CNNBackbone, Network

        network = Network(
            self.name,
            self.arguments,
            self.stem,
            self.batch_norm,
            self.splits,
            self.zero_init_last,
            self.drop_path,
        )
        return CNNBackbone(network, self.views_apart, self.checkpoint, view)
