"""The spec of an evaluation of any network: a run, an exported file, or a backbone with weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self, final

from pydantic import Field, model_validator

from sslkit.specs.base import Count, Spec
from sslkit.specs.families import BackboneField, EvaluatorField, SourceField
from sslkit.specs.readout import Readout
from sslkit.specs.views import Normalize

NETWORKS = ("run", "file", "backbone", "features")
"""Fields that say what is measured."""


def _listed(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " and ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))


@final
class EvaluationSpec(Spec):
    """What to measure, how to read it, and by which protocols. Give one of `run`, `file`, `backbone` and `features`."""

    run: Path | None = None
    """A run folder, whose network is measured."""
    checkpoint: str = "last"
    """Of `run`: `last`, `best`, or the name of a checkpoint."""
    file: Path | None = None
    """A safetensors file that `sslkit export` wrote."""
    backbone: BackboneField | None = None
    """A network, such as `{kind: timm, name: resnet18, checkpoint: weights.pt}`."""
    features: Path | None = None
    """A file of `sslkit embed`: embeddings of training images, measured without the network and the images."""
    test_features: Path | None = None
    """The same of the test images."""
    size: Count | None = None
    """Side of the images, in pixels. Default: what `run` or `file` says."""
    normalize: Normalize | None = None
    """Channel statistics. Default: what `run` or `file` says."""
    readout: Readout | None = None
    """How features are read. Default: what `run` or `file` says, or the class token."""
    data: SourceField | None = None
    """Labeled images. Default: those of `run`."""
    evaluate: tuple[EvaluatorField, ...] = ()
    """The protocols. Default: those of `run`."""
    max_duplicates: float | None = Field(None, ge=0, le=1)
    """Share of test images that may be training images too. Default: that of `run`, or 0.01."""
    out: Path | None = None
    """Folder for the results. Default: that of `run`; otherwise it must be given."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of the protocols' randomness; a run's own protocols keep the run's."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""
    workers: int = Field(4, ge=0, le=1024)
    """Worker processes that decode images."""
    precision: Literal["float32", "bfloat16", "float16"] | None = None
    """Autocast type of forwards. Default: that of `run`, or bfloat16 on CUDA and float32 on a CPU."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        networks = [name for name in NETWORKS if getattr(self, name) is not None]
        if len(networks) != 1:
            raise ValueError(
                f"give exactly one of {_listed(NETWORKS)}; found {' and '.join(networks) or 'none'}"
            )
        network = networks[0]
        if network != "run" and self.checkpoint != "last":
            raise ValueError(f"`checkpoint` is one of a `run`, and a `{network}` is evaluated; leave it out")
        if network == "run" and self.seed:
            raise ValueError(
                "`seed` is for networks of no run; a run's own protocols keep the run's: leave it out"
            )
        needed = {
            "run": (),
            "file": ("data", "evaluate", "out"),
            "backbone": ("data", "evaluate", "out", "size"),
            "features": ("evaluate", "out"),
        }
        useless = {"features": ("data", "size", "normalize", "readout", "max_duplicates", "precision")}
        unused = useless.get(network, ("test_features",))
        extra = [name for name in unused if getattr(self, name) is not None]
        if extra:
            raise ValueError(f"{_listed(extra)} has no effect on an evaluation of `{network}`; leave it out")
        missing = [f"`{name}`" for name in needed[network] if not getattr(self, name)]
        if missing:
            raise ValueError(f"an evaluation of a `{network}` needs {', '.join(missing)} too")
        return self
