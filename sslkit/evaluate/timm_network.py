"""A network of timm by its name, read as timm evaluates it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sslkit import catalog
from sslkit.errors import CheckpointError
from sslkit.specs.embedding import TIMM
from sslkit.specs.families import BackboneSpec
from sslkit.specs.load import parse_as
from sslkit.specs.readout import Readout
from sslkit.specs.views import Normalize, ViewSpec


def timm_network(
    what: str, channels: int, size: int | None, weights: Mapping[str, object]
) -> tuple[BackboneSpec, ViewSpec, Readout]:
    """The backbone `timm` for `timm:NAME`, with size, statistics and crop of timm's settings for the name.

    Args:
        what: `timm:NAME`.
        channels: of the images.
        size: side of the images, in pixels. Default: timm's for the name.
        weights: the fields of the backbone that name its weights.

    Raises:
        SpecError: a field is wrong.
        CheckpointError: no plugin has that backbone.
    """
    import timm
    from timm.models import PretrainedCfg

    name = what.removeprefix(TIMM)
    cls = catalog.kinds("backbone").get("timm")
    if cls is None or not issubclass(cls, BackboneSpec):
        raise CheckpointError(f"{what}: no plugin here has the backbone 'timm'")
    settings = (timm.get_pretrained_cfg(name) if timm.is_model(name) else None) or PretrainedCfg()
    usual = (settings.test_input_size or settings.input_size)[-1]
    side = size or usual
    sized = {"arguments": {"img_size": side}} if settings.fixed_input_size and side != usual else {}
    mean, std = (_fitted(values, channels) for values in (settings.mean, settings.std))
    view = ViewSpec(size=side, normalize=Normalize(mean=mean, std=std))
    backbone = parse_as(cls, {"kind": "timm", "name": name, **sized, **weights})
    return backbone, view, Readout(crop=settings.test_crop_pct or settings.crop_pct)


def _fitted(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Statistics for images of other channels: their mean for each."""
    return tuple(values) if len(values) == channels else (sum(values) / len(values),) * channels
