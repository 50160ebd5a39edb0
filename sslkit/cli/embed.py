"""`sslkit embed`: embeddings of images, by any network, in a file."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from sslkit.core.ranks import ranks
from sslkit.specs.embedding import EmbeddingSpec

if TYPE_CHECKING:
    from sslkit.evaluate.embeddings.embed_images import Embedded

NAMED = 3
"""Unreadable images that are printed; the file has all."""
DEFAULTS = {name: field.default for name, field in EmbeddingSpec.model_fields.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="a run folder, a .safetensors file of `sslkit export`, or timm:NAME",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="file.parquet, file.npy or file.safetensors"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="SPEC|FOLDER",
        help="a folder of images, or a YAML file with `data`; default: the images of the run",
    )
    parser.add_argument(
        "--tokens", choices=["class", "mean", "patch"], help="default: what the run or file reads, or class"
    )
    parser.add_argument(
        "--layer", type=int, metavar="N", help="a block instead of the last one, from 0, or -2"
    )
    parser.add_argument("--dtype", choices=["float32", "float16"], help="of the file; default: float32")
    parser.add_argument(
        "--checkpoint",
        metavar="NAME|FILE",
        help="of a run: last (the default), best or a name; of timm:NAME: a file of weights, or none for random ones",
    )
    parser.add_argument("--split", choices=["train", "test"], help="default: train")
    parser.add_argument(
        "--size", type=int, metavar="PIXELS", help="default: what the network was trained for"
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="images a forward; default: 256")
    parser.add_argument(
        "--index", action="store_true", help="also write a faiss index, FILE.faiss, for `sslkit search`"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], help="default: auto")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that decode images; default: 4")


def execute(args: argparse.Namespace) -> int:
    """Take the embeddings and print what was written."""
    from sslkit.analysis.image_data.reading_bar import ReadingBar
    from sslkit.evaluate.embeddings.embed_images import embed

    names = DEFAULTS.keys() - {"seed", "precision"}
    options = {name: value for name in names if (value := getattr(args, name)) is not None}
    first = ranks().rank == 0
    with ReadingBar("embedding") if first else contextlib.nullcontext() as bar:
        result = embed(**options, progress=None if bar is None else bar.update)
    if first:
        print("\n".join(lines(result)))
    return 0


def lines(result: Embedded) -> list[str]:
    """What was written."""
    about = result.about
    shape = " x ".join(str(length) for length in (about.rows, *about.shape))
    before = f", {result.before:,} of them before" if result.before else ""
    text = [f"{about.rows:,} of {about.images:,} images{before}: {shape} {about.dtype}"]
    if about.unreadable:
        shown = "; ".join(f"{one.name}: {one.reason}" for one in about.unreadable[:NAMED])
        more = "; ..." * (len(about.unreadable) > NAMED)
        text.append(f"{len(about.unreadable):,} images could not be read and have no row: {shown}{more}")
    written = [result.path, *filter(None, [result.faiss_index])]
    return [*text, *(f"written: {path}" for path in written)]
