"""Spec of embeddings: of which network, of which images, to which file. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, final

from pydantic import AfterValidator, Field, model_validator

from sslkit.errors import SpecError
from sslkit.specs.base import Count, Spec
from sslkit.specs.families import SourceField, SourceSpec
from sslkit.specs.load import parse_as, read_yaml, similar_path

ENDINGS = (".parquet", ".npy", ".safetensors")
"""Of the files that embeddings are written to."""
TIMM = "timm:"
"""What the name of a network of timm begins with."""

Tokens = Literal["class", "mean", "patch"]
"""The class token, the mean of the patch tokens, or all patch tokens."""


def _named(out: Path) -> Path:
    if out.suffix not in ENDINGS or out.is_dir():
        raise ValueError(f"must be a file that ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    return out


@final
class EmbeddingSpec(Spec):
    """Which embeddings are taken, and where they go."""

    what: str = Field(min_length=1)
    """A run folder, a `.safetensors` file of `sslkit export`, or `timm:NAME`."""
    data: SourceField | None = None
    """The images. Default: those of the run."""
    out: Annotated[Path, AfterValidator(_named)]
    """The file: parquet, npy or safetensors, by its ending."""
    tokens: Tokens | None = None
    """What is kept of an image. Default: what the run or the exported file reads, or else the class token."""
    layer: int | None = Field(None, gt=-1000, lt=1000)
    """Block whose output is taken; -1 is the last, after the final norm. Default: that of the run's readout, or -1."""
    dtype: Literal["float32", "float16"] = "float32"
    """Type of the numbers in the file."""
    checkpoint: str = Field("last", min_length=1)
    """Of a run: `last`, `best` or a name. Of `timm:NAME`: a file of weights, or `none` for random ones.

    Default there: the weights that timm has for the name.
    """
    split: Literal["train", "test"] = "train"
    """The images of which split."""
    size: Count | None = None
    """Side of the images, in pixels. Default: what the run or the file says, or timm for the name."""
    batch_size: Count | None = None
    """Images a forward. Default: that of the readout, 256. Sums of floats depend on it in their last digits."""
    index: bool = False
    """Whether a faiss index is written too, to `FILE.faiss`."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Of random weights."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""
    workers: int = Field(4, ge=0, le=1024)
    """Worker processes that decode images."""
    precision: Literal["float32", "bfloat16", "float16"] | None = None
    """Autocast type of forwards. Default: that of the run, or bfloat16 on CUDA and float32 on a CPU."""

    @model_validator(mode="after")
    def _indexed(self) -> Self:
        if self.index and self.tokens == "patch":
            raise ValueError(
                "`index` is of one vector an image; take `tokens` class or mean, or leave it out"
            )
        return self


@final
class _Data(Spec):
    """The images of a run's spec."""

    data: SourceField


def images_at(path: Path, channels: int | None = None, notes: str = "") -> SourceSpec:
    """The images that `path` names: a folder of them, or a YAML file with the field `data`, or with a source alone.

    Args:
        path: a folder or a file.
        channels: of images in a folder. Default: 3.
        notes: one line on plugins that failed to load, for messages.

    Raises:
        SpecError: there is no such thing, or it is no spec of images.
    """
    fields: Mapping[str, object]
    if path.is_dir():
        fields = {"kind": "folder", "root": str(path)} | ({"channels": channels} if channels else {})
    elif not path.exists():
        raise SpecError(f"{path}: no such folder of images or spec.{similar_path(path)}")
    else:
        fields = read_yaml(path)
    data = fields if "kind" in fields else fields.get("data")
    if data is None:
        raise SpecError(f"{path}: says nothing of images; expected `data`, as in the spec of a run")
    return source_of_fields(data, notes)


def source_of_fields(fields: object, notes: str = "") -> SourceSpec:
    """The source whose spec has `fields`. Raises SpecError where they are wrong."""
    return parse_as(_Data, {"data": fields}, notes).data
