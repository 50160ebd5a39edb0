"""Specs of fine-tuning, whole or by few parameters. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, Self, final

from pydantic import Field

from sslkit.plugin import (
    HIGHER,
    LOWER,
    NEITHER,
    AugmentField,
    Count,
    EvaluatorSpec,
    LearningRateSchedule,
    Metric,
    Metrics,
    OptimizerSpec,
    Problem,
    own_fields,
    protocol,
)

if TYPE_CHECKING:
    from sslkit.interfaces import Evaluator
    from sslkit.plugin import RunSpec
    from sslkit_evaluators.finetuning.training import Recipe


Positive = Annotated[float, Field(gt=0)]


BelowOne = Annotated[float, Field(ge=0, lt=1)]


Strength = Annotated[float, Field(ge=0)]


Precision = Literal["float32", "bfloat16"]


Augments = tuple[AugmentField, ...] | None


Target = Literal["qkv", "proj", "mlp"]


TRAINED: Metrics = {
    "accuracy": HIGHER,
    "top5": Metric("higher", "with five classes or more"),
    "train_loss": LOWER,
}
"""Metrics of a classifier after its last epoch."""


DEFAULT_AUGMENT: tuple[dict[str, object], ...] = (
    {"kind": "random_resized_crop", "scale": [0.08, 1.0]},
    {"kind": "flip"},
)


@final
class Finetune(EvaluatorSpec):
    """Supervised fine-tuning of a copy of the network, with MAE's recipe: protocol `finetune@2`.

    Metrics: `accuracy` of the last epoch (0 to 1), with at least five classes `top5`, and `train_loss`.
    """

    kind: Literal["finetune"] = "finetune"
    epochs: Count = 100
    """Passes over the training images (MAE ViT-B: 100)."""
    warmup_epochs: float = Field(5.0, ge=0)
    """Epochs of linear warm-up; half a cosine then falls to 1e-6 (MAE: 5)."""
    batch_size: int = Field(256, ge=2)
    """Images a step, at most all; made even (MAE: 1024, with the rate for 256)."""
    accumulate: Count = 1
    """Parts that a step's batch is cut into, for less memory."""
    lr: Positive = 5e-4
    """Learning rate for a batch of 256, scaled by batch / 256 (MAE ViT-B: 5e-4)."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = 0.65
    """Rate of a layer over the next one's (MAE ViT-B: 0.65). null for a network that has no such layers."""
    weight_decay: float = Field(0.05, ge=0)
    """Of AdamW, not for biases and norms (MAE: 0.05)."""
    no_decay: tuple[str, ...] = ("cls_token", "pos_embed", "dist_token", "reg_token")
    """Further parameters without decay, by the end of their names (MAE `util/lr_decay.py`: the first two)."""
    clip: Positive | None = None
    """Largest gradient norm (MAE: none)."""
    drop_path: BelowOne = 0.1
    """Stochastic depth at the last block, rising linearly from 0 at the first (MAE ViT-B: 0.1)."""
    mixup: Strength = 0.8
    """Alpha of mixup; 0 for none (MAE: 0.8)."""
    cutmix: Strength = 1.0
    """Alpha of cutmix, on every other batch where mixup is on as well; 0 for none (MAE: 1)."""
    smoothing: BelowOne = 0.1
    """Label smoothing (MAE: 0.1)."""
    augment: Augments = None
    """Random changes of training images. Default: a random resized crop of 8 to 100 % (bicubic) and a flip."""
    precision: Precision | None = None
    """Of forwards. Default: bfloat16 on a GPU, float32 on a CPU."""

    @classmethod
    def example(cls) -> Self:
        return cls(epochs=2, warmup_epochs=0, batch_size=16)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from _problems(self)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from _other_readout(run)

    def reported_metrics(self) -> Metrics:
        """Of the last epoch."""
        return TRAINED

    def build(self) -> Evaluator:
        from sslkit_evaluators.finetuning.protocols import FinetuneEvaluator

        return FinetuneEvaluator(
            _recipe(self, self.layer_decay, self.no_decay),
            self.drop_path,
            protocol(self, "finetune@2", own_fields(Finetune)),
        )


@final
class PEFT(EvaluatorSpec):
    """Parameter-efficient fine-tuning of a copy of the network, its own weights frozen: protocol `peft@1`.

    Metrics: `accuracy` of the last epoch (0 to 1), with at least five classes `top5`, `train_loss`, and
    `trainable_share`: trained values, the classifier's included, over all.
    """

    kind: Literal["peft"] = "peft"
    method: Literal["lora", "adapter"] = "lora"
    """Low-rank changes of weights (Hu et al., 2021), or bottlenecks behind attention and MLP (Houlsby et al., 2019)."""
    rank: Count = 8
    """Rank of `lora` (Hu et al., RoBERTa: 8)."""
    alpha: Positive = 8.0
    """`lora` multiplies its change by alpha / rank (Hu et al., RoBERTa: 8)."""
    targets: tuple[Target, ...] = Field(("qkv",), min_length=1)
    """Layers that `lora` changes in every block: the attention's `qkv` or `proj`, `mlp` (Hu et al.: query, value)."""
    bottleneck: Count = 64
    """Width of `adapter` (Houlsby et al.: 8, 64 or 256)."""
    epochs: Count = 100
    """Passes over the training images."""
    warmup_epochs: float = Field(5.0, ge=0)
    """Epochs of linear warm-up; half a cosine then falls to 1e-6 (Hu et al.: 6 % of the training)."""
    batch_size: int = Field(256, ge=2)
    """Images a step, at most all; made even."""
    accumulate: Count = 1
    """Parts that a step's batch is cut into, for less memory."""
    lr: Positive = 5e-4
    """Learning rate for a batch of 256, scaled by batch / 256 (Hu et al., RoBERTa: 5e-4)."""
    weight_decay: float = Field(0.01, ge=0)
    """Of AdamW, not for biases (Hu et al., GPT-2: 0.01)."""
    clip: Positive | None = None
    """Largest gradient norm."""
    mixup: Strength = 0.0
    """Alpha of mixup; 0 for none."""
    cutmix: Strength = 0.0
    """Alpha of cutmix; 0 for none."""
    smoothing: BelowOne = 0.0
    """Label smoothing."""
    augment: Augments = None
    """Random changes of training images. Default: a random resized crop of 8 to 100 % (bicubic) and a flip."""
    precision: Precision | None = None
    """Of forwards. Default: bfloat16 on a GPU, float32 on a CPU."""

    @classmethod
    def example(cls) -> Self:
        return cls(rank=2, epochs=2, warmup_epochs=0, batch_size=16)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from _problems(self)

    def reported_metrics(self) -> Metrics:
        """Of the last epoch, and how much is trained."""
        return {**TRAINED, "trainable_share": NEITHER}

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from _other_readout(run)
        for field in ("bottleneck",) if self.method == "lora" else ("rank", "alpha", "targets"):
            yield Problem(field, f"has no effect with `method: {self.method}`; leave it out")

    def build(self) -> Evaluator:
        from sslkit_evaluators.finetuning.protocols import AdapterEvaluator, LoRAEvaluator

        recipe, name = _recipe(self, None), protocol(self, "peft@1", own_fields(PEFT))
        if self.method == "adapter":
            return AdapterEvaluator(recipe, self.bottleneck, name)
        return LoRAEvaluator(recipe, self.rank, self.alpha, self.targets, name)


def _problems(spec: Finetune | PEFT) -> Iterator[Problem]:
    if spec.warmup_epochs >= spec.epochs:
        yield Problem(
            "warmup_epochs", f"{spec.warmup_epochs:g} epochs of warm-up leave nothing of {spec.epochs}"
        )


def _other_readout(run: RunSpec) -> Iterator[Problem]:
    """A readout that would stand beside the scores and that they do not come from."""
    readout = {
        "layer": run.readout.layer != -1,
        "pyramid": bool(run.readout.pyramid),
        "head": run.readout.head is not None,
    }
    for field in (field for field, other in readout.items() if other):
        yield Problem(
            "",
            f"trains the whole network and reads its last block, so `readout.{field}` has no effect on it; leave that "
            "out, or evaluate this apart: `sslkit evaluate RUN_DIR` takes other fields",
        )


def _recipe(spec: Finetune | PEFT, layer_decay: float | None, no_decay: tuple[str, ...] = ()) -> Recipe:
    from sslkit.plugin import ViewSpec
    from sslkit_evaluators.finetuning.training import Recipe

    optimizer = OptimizerSpec(
        lr=spec.lr,
        betas=(0.9, 0.999),
        weight_decay=spec.weight_decay,
        no_decay=no_decay,
        layer_decay=layer_decay,
        clip=spec.clip,
    )
    schedule = LearningRateSchedule(warmup_epochs=spec.warmup_epochs, final=1e-6)
    augment = DEFAULT_AUGMENT if spec.augment is None else spec.augment
    names = ("epochs", "batch_size", "accumulate", "mixup", "cutmix", "smoothing", "precision")
    common = {name: getattr(spec, name) for name in names}
    return Recipe(**common, optimizer=optimizer, schedule=schedule, crops=ViewSpec(size=1, augment=augment))
