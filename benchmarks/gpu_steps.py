"""What `gpu.py` measures: steps of methods with images that are there, and images a second from memory."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from gpu_references import reference_step

import sslkit  # noqa: F401  the plugins are loaded with it
from sslkit.build.maskers import make_maskers
from sslkit.build.system import make_system, make_views
from sslkit.core.context import Length
from sslkit.data.crops import Pipeline
from sslkit.data.loaders import Batch, ResidentFeed
from sslkit.data.sampler import BatchShare, Order
from sslkit.runtime.parallel import Single
from sslkit.runtime.peak_memory import peak_memory_mib
from sslkit.specs.load import changed, parse
from sslkit.specs.run import RunSpec
from sslkit.train.cost.flops import step_flops
from sslkit.train.step.mask_schedule import timeline
from sslkit.train.step.stepper import Stepper

LONG = Length(1_000_000, 1_000_000)
CHANNELS = 3
VIT_B = {"kind": "vit", "name": "vit_base_patch16_224"}
VIT_L = {"kind": "vit", "name": "vit_large_patch16_224"}
VIT_S = {
    "kind": "vit",
    "name": "vit_small_patch16_224",
    "positions": "learned",
    "init": "timm",
    "drop_path": 0.1,
}
BEIT_B = {
    "kind": "vit",
    "name": "beit_base_patch16_224",
    "positions": "relative",
    "layer_scale": 0.1,
    "init": "beit",
}
TINY_VIT = {"backbone.width": 16, "backbone.depth": 1, "backbone.heads": 2}
TINY_DECODER = {"width": 16, "depth": 1, "heads": 2}
TINY_MAE = {**TINY_VIT, "objective.decoder": TINY_DECODER}
TINY_HYBRID = {**TINY_VIT, "objectives.mim.decoder": TINY_DECODER, "objectives.contrast.projector.hidden": 16}
TINY_CNN = {"backbone.name": "test_resnet", "backbone.stem": "named"}
TINY_HEAD = {"objective.prototypes": 64}
TEACHER = {"teacher": {"momentum": {"start": 0.996, "end": 1.0}}}
MASKER = {"kind": "random", "ratio": 0.75}


class Method(NamedTuple):
    """A step to measure."""

    batch: int
    """Images, halved until they fit."""
    fields: Mapping[str, Any]
    """Of the spec."""
    tiny: Mapping[str, Any]
    """Dotted path -> value of `--tiny`."""


def _distilled(kind: str, small: int) -> dict[str, Any]:
    """DINO's or iBOT's recipe for ImageNet."""
    return {
        "views": {
            "global": {"size": 224, "crops": 2, "recipe": f"{kind}_global"},
            "local": {"size": 96, "crops": small, "recipe": f"{kind}_local"},
        },
        "backbone": VIT_S, "nets": TEACHER, "objective": {"kind": kind},
        "optimizer": {"lr": 5e-4, "betas": [0.9, 0.999], "clip": 3.0, "clip_per": "tensor"},
    }  # fmt: skip


MAE_VIEW = {"global": {"size": 224, "recipe": "mae"}}
METHODS: dict[str, Method] = {
    "mae_vit_b": Method(256, {"views": MAE_VIEW, "backbone": VIT_B, "objective": {"kind": "mae"}}, TINY_MAE),
    "mae_vit_l": Method(256, {"views": MAE_VIEW, "backbone": VIT_L, "objective": {"kind": "mae"}}, TINY_MAE),
    "dino_vit_s": Method(128, _distilled("dino", 8), {**TINY_VIT, **TINY_HEAD}),
    "ibot_vit_s": Method(128, _distilled("ibot", 10), {**TINY_VIT, **TINY_HEAD}),
    "simmim_vit_b": Method(
        256,
        {
            "views": {"global": {"size": 224, "recipe": "mae"}},
            "backbone": BEIT_B,
            "objective": {"kind": "simmim"},
            "optimizer": {"betas": [0.9, 0.999], "clip": 5.0},
        },
        TINY_VIT,
    ),
    "simclr_r50": Method(
        256,
        {
            "views": {"global": {"size": 224, "crops": 2, "recipe": "simclr"}},
            "backbone": {"kind": "cnn", "name": "resnet50"},
            "objective": {"kind": "simclr"},
            "optimizer": {"name": "lars", "lr": 0.3, "weight_decay": 1e-6},
        },
        TINY_CNN,
    ),
    "simclr_r18_cifar": Method(
        512,
        {
            "views": {"global": {"size": 32, "crops": 2, "recipe": "simclr_cifar"}},
            "backbone": {"kind": "cnn", "name": "resnet18", "stem": "cifar", "zero_init_last": False},
            "objective": {"kind": "simclr", "projector": {"layers": 2, "hidden": 512}, "temperature": 0.5},
            "optimizer": {"name": "momentum", "lr": 0.06, "weight_decay": 5e-4},
        },
        TINY_CNN,
    ),
    "hybrid_mae_infonce_vit_b": Method(
        128,
        {
            "views": {"global": {"size": 224, "crops": 2, "recipe": "light"}},
            "backbone": VIT_B,
            "objectives": {
                "mim": {"kind": "mae", "masker": MASKER},
                "contrast": {"kind": "infonce", "masker": MASKER, "projector": {"hidden": 2048, "out": 256}},
            },
        },
        TINY_HYBRID,
    ),
}
SIZES = {224: 64, 96: 32}
"""Pixels of a view -> those of `--tiny`, of patches of 16 pixels."""


class How(NamedTuple):
    """How to measure."""

    device: torch.device
    tiny: bool
    seconds: float
    """Of timed steps."""
    peak: float | None
    """Matrix products of the device in the run's precision, FLOP/s."""


def spec_of(name: str, mode: str, how: How, batch: int) -> RunSpec:
    """The run of method `name`, eager or compiled; its data are never read."""
    method = METHODS[name]
    fields: dict[str, Any] = {
        "name": name, "device": how.device.type, "data": {"kind": "digits"}, "batch_size": batch,
        "steps": LONG.steps, "compile": {"enabled": mode == "compiled"}, **method.fields,
    }  # fmt: skip
    if how.tiny:
        views = fields["views"].items()
        sizes = {f"views.{view}.size": SIZES[one["size"]] for view, one in views if one["size"] in SIZES}
        quick = {"compile.backend": "eager"} if mode == "compiled" else {}
        fields = changed(fields, [*method.tiny.items(), *sizes.items(), *quick.items()])
    return parse(fields)


def built(spec: RunSpec, how: How) -> tuple[Stepper, Callable[[], int]]:
    """The trainer's step, and what counts the FLOPs of one."""
    views = make_views(spec, CHANNELS)
    torch.manual_seed(0)
    system, env = make_system(spec, views, LONG)
    stepper = Stepper(spec, system, make_maskers(system, env), LONG, Single(how.device))

    def flops() -> int:
        stages = timeline(stepper.masking.maskers, LONG)
        return step_flops(system, env, stages, spec.batch_size, spec.batch_size, how.device)[0]

    return stepper, flops


def crops_of(spec: RunSpec, how: How) -> dict[str, torch.Tensor]:
    """Noise in place of images."""
    generator = torch.Generator(how.device).manual_seed(0)
    return {
        name: torch.randn(
            v.crops, spec.batch_size, v.channels, v.size, v.size, generator=generator, device=how.device
        )
        for name, v in make_views(spec, CHANNELS).items()
    }


def timed(step: Callable[[int], None], how: How) -> tuple[list[float], float]:
    """Seconds of each step, and of the first, which compiles. Three more are not counted."""

    def one(number: int) -> float:
        begin = time.perf_counter()
        step(number)
        if how.device.type == "cuda":
            torch.cuda.synchronize(how.device)
        return time.perf_counter() - begin

    first = one(0)
    warm = 1 if how.tiny else 3
    for number in range(1, 1 + warm):
        one(number)
    seen: list[float] = []
    while sum(seen) < how.seconds or len(seen) < 2:
        seen.append(one(1 + warm + len(seen)))
    return seen, first


def measured_step(name: str, mode: str, how: How) -> dict[str, Any]:
    """Method `name` in `mode`, `eager`, `compiled` or by hand (`reference`), on images that are there."""

    def measure(batch: int) -> dict[str, Any]:
        spec = spec_of(name, mode, how, batch)
        stepper, count = built(spec, how)
        flops = count()
        crops, rows = crops_of(spec, how), torch.arange(batch, device=how.device)
        precision = stepper.precision
        if mode == "reference":
            del stepper  # its memory is not the reference's
            step = reference_step(name, spec, crops, precision)
        else:

            def step(number: int) -> None:
                stepper(number, [Batch(crops, rows)])

        _fresh(how)
        seen, first = timed(step, how)
        rate = flops / statistics.median(seen)
        return {
            **_times(seen, batch),
            "first_step_s": first,
            "precision": precision,
            "gflop_per_image": flops / batch / 1e9,
            "tflop_per_s": rate / 1e12,
            "mfu": None if how.peak is None else rate / how.peak,
            "peak_memory_mib": peak_memory_mib(how.device),
        }

    return fitting(measure, name, how)


def measured_feed(name: str, mode: str, how: How) -> dict[str, Any]:
    """Images a second from memory: crops and colors on the device alone (`feed`), or with the `step` after them."""

    def measure(batch: int) -> dict[str, Any]:
        spec = spec_of(name, "eager" if how.tiny or mode == "feed" else "compiled", how, batch)
        views = make_views(spec, CHANNELS)
        side = max(view.size for view in views.values())
        count, side = 4 * batch, side if side <= 32 else side * 8 // 7
        images = torch.randint(0, 256, (count, CHANNELS, side, side), dtype=torch.uint8)
        order = Order(count, batch, 0, BatchShare(0, 1, batch))
        feed = ResidentFeed(images, order, Pipeline(spec.views, views, 0), how.device)
        stepper = built(spec, how)[0] if mode == "step" else None

        def step(number: int) -> None:
            batches = feed.step(number)
            if stepper is None:
                list(batches)
            else:
                stepper(number, batches)

        seen, first = timed(step, how)
        return {
            **_times(seen, batch),
            "first_step_s": first,
            "image_size": side,
            "peak_memory_mib": peak_memory_mib(how.device),
        }

    return fitting(measure, name, how)


def _times(seen: list[float], batch: int) -> dict[str, Any]:
    middle = statistics.median(seen)
    return {
        "batch": batch, "step_ms": 1e3 * middle, "fastest_ms": 1e3 * min(seen), "steps": len(seen),
        "images_per_s": batch / middle,
    }  # fmt: skip


def fitting(measure: Callable[[int], dict[str, Any]], name: str, how: How) -> dict[str, Any]:
    """What `measure` says of the largest batch that fits: the method's, or half of it, and so on."""
    batch = 4 if how.tiny else METHODS[name].batch
    while True:
        _forget(how)
        try:
            return measure(batch)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2


def _forget(how: How) -> None:
    """Of the measurement before: its memory, its graphs."""
    torch.compiler.reset()
    _fresh(how)


def _fresh(how: How) -> None:
    """Memory that nobody holds is given back, and the peak counts from here."""
    gc.collect()
    if how.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(how.device)
