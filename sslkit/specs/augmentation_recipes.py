"""Published augmentation recipes, by name: plain data that the augment slot turns into specs.

A recipe holds one list for each crop; further crops begin again with the first. What a recipe does not say is a
default of the kind it names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

Step = Mapping[str, object]
"""Fields of one augmentation."""
Chain = Sequence[Step]
"""The augmentations of one crop, in order."""

Recipe = Literal[
    "barlow_twins", "byol", "dino_global", "dino_local", "ibot_global", "ibot_local", "lejepa", "lejepa_global",
    "lejepa_local", "light", "mae", "moco_cifar", "moco_v2", "moco_v3", "simclr", "simclr_cifar", "swav_global",
    "swav_local",
]  # fmt: skip
"""Names of the recipes."""


def _crop(low: float, high: float = 1.0, interpolation: str = "bicubic") -> Step:
    return {"kind": "random_resized_crop", "scale": [low, high], "interpolation": interpolation}


def _jitter(brightness: float, contrast: float, saturation: float, hue: float) -> Step:
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    return {"kind": "color_jitter", **strengths, "probability": 0.8}


def _blur(probability: float) -> Step:
    """PIL's."""
    return {"kind": "gaussian_blur", "sigma": [0.1, 2.0], "probability": probability}


def _zero_blur(probability: float) -> Step:
    """That of the TensorFlow and JAX codes: 10 % of the side, and black outside."""
    return {**_blur(probability), "kernel": "tenth", "edge": "zeros"}


def _solarize(probability: float) -> Step:
    return {"kind": "solarize", "threshold": 0.5, "probability": probability}


_FLIP: Step = {"kind": "flip", "probability": 0.5}
_GRAY: Step = {"kind": "grayscale", "probability": 0.2}
_BYOL_COLOR: Chain = (_jitter(0.4, 0.4, 0.2, 0.1), _GRAY)
_MOCO_COLOR: Chain = (_jitter(0.4, 0.4, 0.4, 0.1), _GRAY)
_SIMCLR_COLOR: Chain = (_jitter(0.8, 0.8, 0.8, 0.2), _GRAY)
_MOCO_V3: Chain = (_crop(0.08, interpolation="bilinear"), *_BYOL_COLOR)
_CIFAR: Chain = (_crop(0.08, interpolation="bilinear"), _FLIP, *_MOCO_COLOR)


def _dino_pair(low: float) -> Sequence[Chain]:
    """Crops from `low` on: blurred always, or a tenth of them and a fifth solarized."""
    start = (_crop(low), _FLIP, *_BYOL_COLOR)
    return ((*start, _blur(1.0)), (*start, _blur(0.1), _solarize(0.2)))


def _local(low: float, high: float) -> Sequence[Chain]:
    return ((_crop(low, high), _FLIP, *_BYOL_COLOR, _blur(0.5)),)


def _swav(low: float, high: float) -> Sequence[Chain]:
    return ((_crop(low, high, "bilinear"), _FLIP, *_SIMCLR_COLOR, _blur(0.5)),)


def _lejepa(low: float, high: float) -> Sequence[Chain]:
    crop = _crop(low, high, "bilinear")
    return ((crop, _FLIP, *_BYOL_COLOR, _blur(0.5), _solarize(0.2)),)


_LEJEPA: Chain = (
    _crop(0.08, interpolation="bilinear"),
    *_SIMCLR_COLOR,
    {**_blur(0.5), "kernel": 7},
    _solarize(0.2),
    _FLIP,
)

RECIPES: Mapping[Recipe, Sequence[Chain]] = {
    "simclr": ((_crop(0.08), _FLIP, *_SIMCLR_COLOR, _zero_blur(0.5)),),
    "moco_v2": ((_crop(0.2, interpolation="bilinear"), *_MOCO_COLOR, _blur(0.5), _FLIP),),
    "moco_v3": ((*_MOCO_V3, _blur(1.0), _FLIP), (*_MOCO_V3, _blur(0.1), _solarize(0.2), _FLIP)),
    "byol": (
        (_crop(0.08), _FLIP, *_BYOL_COLOR, _zero_blur(1.0)),
        (_crop(0.08), _FLIP, *_BYOL_COLOR, _zero_blur(0.1), _solarize(0.2)),
    ),
    "barlow_twins": _dino_pair(0.08),
    "dino_global": _dino_pair(0.4),
    "dino_local": _local(0.05, 0.4),
    "ibot_global": _dino_pair(0.25),
    "ibot_local": _local(0.05, 0.25),
    "swav_global": _swav(0.14, 1.0),
    "swav_local": _swav(0.05, 0.14),
    "lejepa": (_LEJEPA,),
    "lejepa_global": _lejepa(0.3, 1.0),
    "lejepa_local": _lejepa(0.05, 0.3),
    "moco_cifar": (_CIFAR,),
    "simclr_cifar": (_CIFAR,),
    "light": ((_crop(0.08, interpolation="bilinear"), _FLIP),),
    "mae": ((_crop(0.2), _FLIP),),
}
"""Recipe -> the augmentations of each crop. `docs/views.md` says which code each comes from."""
