"""The run of the conformance kit: noise images, two views, a teacher, a narrow backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, final

import torch
from torch import Tensor, nn

from sslkit import catalog
from sslkit.build.system import make_views, read_inputs
from sslkit.core.context import Env
from sslkit.core.objective import Objective
from sslkit.core.passes import Encode, Output, Tokens
from sslkit.core.source import Source
from sslkit.core.view import Stream, View
from sslkit.errors import PluginError
from sslkit.runtime import seeds
from sslkit.specs.base import Spec
from sslkit.specs.compilation import CompileSpec
from sslkit.specs.families import EvaluatorSpec, ObjectiveSpec, SourceSpec
from sslkit.specs.nets import NetSpec
from sslkit.specs.optimizer import OptimizerSpec
from sslkit.specs.references import ViewName
from sslkit.specs.run import RunSpec
from sslkit.specs.schedule import LearningRateSchedule
from sslkit.specs.views import Normalize, ViewSpec
from sslkit.testing.other_types import Reading, reading_of
from sslkit.testing.tiny_stream import FIRST, FIRST_STREAM, STREAMS, TOKENS, Letters, sample_of

IMAGE, LOCAL, CHANNELS = 32, 16, 3
"""Pixels of the two views' sides; channels of the images."""
BATCH, STEPS = 4, 4
CLASSES = 5
MIDDLE = 112
"""Pixels brighter than this are a region of their own."""


@final
class NoiseSource(Source):
    """Uniform noise, brighter by class, in memory, with two attributes and masks of bright pixels."""

    def __init__(self, split: str, count: int) -> None:
        generator = seeds.generator(0, "noise", split)
        self.channels, self.fingerprint = CHANNELS, f"noise {split}"
        self.labels = torch.arange(count) % CLASSES
        self.classes = tuple(f"class {i}" for i in range(CLASSES))
        noise = torch.randint(0, 128, (count, CHANNELS, IMAGE, IMAGE), generator=generator)
        self.images = (noise + 24 * self.labels[:, None, None, None]).to(torch.uint8)
        self.attributes = {"bright": (self.labels > 2).long(), "odd": torch.arange(count) // CLASSES % 2}
        self.regions = ("dark", "bright")

    def __len__(self) -> int:
        return len(self.images)

    def load(self, index: int) -> Tensor:
        return self.images[index]

    def read(self, index: int, stream: str) -> Tensor:
        return self.images[index] if stream == FIRST_STREAM else sample_of(stream, index)

    def channels_of(self, stream: str) -> int:
        return len(self.read(0, stream))

    def held(self, stream: str) -> Tensor | list[Tensor]:
        if stream == FIRST_STREAM:
            return self.images
        return [sample_of(stream, i) for i in range(len(self))]

    def mask(self, index: int) -> Tensor:
        """`[H, W]` uint8: the brighter pixels, and a border that is not told."""
        mask = (self.images[index].float().mean(0) > MIDDLE).to(torch.uint8)
        mask[:2] = 255
        return mask

    def resident(self) -> Tensor:
        return self.images


@final
class Noise(SourceSpec):
    """The kit's images; no entry point offers them."""

    kind: Literal["noise"] = "noise"

    @property
    def streams(self) -> Mapping[str, Stream]:
        return STREAMS

    def build(self, split: str) -> Source:
        """64 images to train on, 32 to test."""
        return NoiseSource(split, 64 if split == "train" else 32)


def bare(source: Source) -> Source:
    """`source` with nothing but its images and labels."""
    source.attributes, source.regions = {}, ()
    return source


@final
class Brightness(Objective):
    """Every token predicts the mean of its crop: reaches every parameter of any backbone."""

    def __init__(self, view: str, dim: int) -> None:
        super().__init__()
        self.passes = (Encode(view),)
        self.head = nn.Linear(dim, 1)

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        (seen,) = tokens
        guess = self.head(torch.cat([seen.cls[:, :, None], seen.patch], dim=2)).squeeze(-1).float()
        target = seen.image.float().flatten(2).mean(2)[..., None]
        return Output((guess - target).square().mean())


@final
class Probe(ObjectiveSpec):
    """The kit's objective; no entry point offers it."""

    kind: Literal["probe"] = "probe"
    view: ViewName = "global"
    """View whose tokens are read."""

    def build(self, env: Env) -> Objective:
        return Brightness(self.view, env.nets["student"].dim)


def kit_views(takes: str) -> dict[str, ViewSpec]:
    """The two views of the kit's run, of the type that a network takes; none where the kit has no such."""
    sizes = {"global": IMAGE, "local": LOCAL}
    fields: dict[str, dict[str, Any]] = {
        STREAMS[FIRST_STREAM].type: {},
        TOKENS: {"stream": "text", "transform": Letters()},
    }
    if takes not in fields:
        reading = reading_of(takes)
        if reading is None:
            return {}
        channels = _channels(reading)
        plain = Normalize(mean=(0.5,) * channels, std=(0.25,) * channels)
        fields[takes] = {"stream": reading.stream, "transform": reading.transform, "normalize": plain}
    return {n: ViewSpec.model_construct(size=size, crops=2, **fields[takes]) for n, size in sizes.items()}


def _channels(reading: Reading) -> int:
    """Of what its transform makes of the kit's samples."""
    source = Noise().build("train")
    transform = reading.transform.build(IMAGE, reading.transform.learn(source, reading.stream))
    return transform.channels or source.channels_of(reading.stream)


def kit_view(takes: str) -> View:
    """The first of them, as networks see it.

    Raises:
        PluginError: the kit has no view of that type.
    """
    views = kit_views(takes)
    if not views:
        raise PluginError(f"the kit has no view of {takes}, so it cannot try a network that reads it")
    part = _Part(Noise(), views)
    view = make_views(part, read_inputs(part, part.data.build("train")))["global"]
    return view if view.symbols else view._replace(mean=(0.5,) * CHANNELS, std=(0.25,) * CHANNELS)


class _Part(NamedTuple):
    """What views are made of."""

    data: Noise
    views: Mapping[str, ViewSpec]


def kit_values(view: View, rows: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """`[*rows, *shape]`: noise of the shape of a view's crops; symbols end with that of the end."""
    if not view.symbols:
        return torch.randn(*rows, *view.shape, generator=generator)
    symbols = torch.randint(FIRST, view.facts["vocabulary"], (*rows, *view.shape), generator=generator)
    symbols[..., -1] = view.facts["end"]
    return symbols


def helper(family: str, kind: str) -> Spec:
    """The example of a kind that the kit needs beside the one it checks.

    Raises:
        PluginError: no plugin offers it.
    """
    cls = catalog.kinds(family).get(kind)
    spec = cls.example() if cls is not None and issubclass(cls, Spec) else None
    if spec is None:
        unknown = f"the kit needs the {family} {kind!r}, which no plugin offers here; is it blocked?"
        raise PluginError(catalog.missing(family, kind, unknown))
    return spec


def evaluated(spec: EvaluatorSpec) -> RunSpec:
    """The kit's run with an evaluator, and with a masked objective for those that measure one."""
    objectives = {"check": Probe(), "masked": helper("objective", "mae")}
    return stage(evaluate=(spec,), objectives=objectives)


def stage(**parts: object) -> RunSpec:
    """The kit's run with some fields replaced.

    Nothing is validated again: `Noise` and `Probe` are of no plugin, and a spec that was imported after the
    first validation is not yet in the unions.
    """
    if "backbone" not in parts:
        parts["backbone"] = helper("backbone", "vit")
    if "balance" not in parts:
        parts["balance"] = helper("balancer", "fixed")
    fields: dict[str, Any] = {
        "name": "check",
        "device": "cpu",
        "precision": "float32",
        "compile": CompileSpec(enabled=False),
        "data": Noise(),
        "workers": 0,
        "views": {"global": ViewSpec(size=IMAGE, crops=2), "local": ViewSpec(size=LOCAL, crops=2)},
        "nets": {"teacher": NetSpec()},
        "objectives": {"check": Probe()},
        "optimizer": OptimizerSpec(lr=1e-3, scale="absolute"),
        "schedule": LearningRateSchedule(warmup_epochs=0),
        "batch_size": BATCH,
        "steps": STEPS,
    }
    fields.update(parts)
    return RunSpec.model_construct(**fields)
