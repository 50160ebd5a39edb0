"""A tokenizer of CIFAR-10 of our own, then BEiT on its tokens: codes in use, and cross-entropy against the unigram.

    OMP_NUM_THREADS=1 python benchmarks/tokenizer.py --data PATH

Both specs are the examples, shortened, with a smaller network for BEiT.
Everything is measured on test images, which neither run has seen.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from sslkit.build.restore import find, load_system
from sslkit.core.augment import to_float
from sslkit.data.loaders import Batch
from sslkit.evaluate.export_part import export_part
from sslkit.functional.pixel_normalization import normalized
from sslkit.functional.vector_quantization import perplexity, usage
from sslkit.runtime.parallel import Single
from sslkit.specs.load import load
from sslkit.specs.run import RunSpec
from sslkit.train.compose import Composed, compose
from sslkit.train.launch import train

EXAMPLES = Path(__file__).parent.parent / "examples"
BATCH = 250


class Tokens(NamedTuple):
    """How the codes of test images are used."""

    used: float
    perplexity: float


class Prediction(NamedTuple):
    """How the tokens of hidden patches of test images are predicted, in nats a patch."""

    cross_entropy: float
    accuracy: float
    unigram: float
    """Entropy of how often these same patches have each code: no fixed distribution predicts them better."""
    most_common: float
    """Accuracy of always naming the most common one."""


def run(name: str, out: Path, options: argparse.Namespace, steps: int, *more: str) -> RunSpec:
    """Train an example for `steps` steps and return its spec."""
    changes = [f"data.root={options.data}", f"out={out}", f"steps={steps}", "epochs=null", "evaluate=[]"]
    spec = load(
        EXAMPLES / f"{name}.yaml", [*changes, "device=cpu", f"log.every={max(1, steps // 10)}", *more]
    )
    start = time.perf_counter()
    train(spec)
    print(f"{spec.name}: {steps} steps, {time.perf_counter() - start:.0f} s\n", flush=True)
    return spec


def trained(spec: RunSpec) -> Composed:
    """The parts of a finished run, in evaluation mode."""
    composed = compose(spec, Single(torch.device("cpu")))
    load_system(composed.system, find(spec.run_dir))
    composed.system.eval()
    return composed


def held_out(spec: RunSpec, composed: Composed, count: int) -> Iterator[Batch]:
    """The first `count` test images, without augmentation."""
    source = spec.data.build("test")
    images = None if source is None else source.resident()
    assert images is not None, "CIFAR-10 fits in memory"
    view = composed.env.view("global")
    for start in range(0, count, BATCH):
        rows = torch.arange(start, min(start + BATCH, count))
        yield Batch({"global": normalized(to_float(images[rows]), view.mean, view.std)[None]}, rows)


@torch.no_grad()
def measure_tokens(spec: RunSpec, count: int) -> Tokens:
    """Codes that `count` test images use."""
    composed = trained(spec)
    objective = composed.step.objectives["vq_vae"]
    counts = torch.zeros(len(objective.codebook.codes))
    for batch in held_out(spec, composed, count):
        (seen,) = composed.system.objective_tokens("vq_vae", composed.step.encode(batch, 0))
        counts += objective.codebook(objective.project(seen.patch)).counts
    return Tokens(usage(counts).item(), perplexity(counts).item())


@torch.no_grad()
def measure_prediction(spec: RunSpec, count: int) -> Prediction:
    """Cross-entropy and accuracy on the hidden patches of `count` test images."""
    composed = trained(spec)
    objective = composed.step.objectives["beit"]
    counts, loss, right = torch.zeros(objective.target.dim), 0.0, 0.0
    for batch in held_out(spec, composed, count):
        (seen,) = composed.system.objective_tokens("beit", composed.step.encode(batch, 0))
        hidden = seen.mask.hidden
        guess, goal = objective.decoder(seen)[hidden], objective.target(seen)[hidden]
        loss += objective.target.score(guess, goal).sum().item()
        right += (guess.argmax(-1) == goal).sum().item()
        counts += torch.bincount(goal, minlength=len(counts))
    total = counts.sum().item()
    unigram = math.log(perplexity(counts).item())
    return Prediction(loss / total, right / total, unigram, counts.max().item() / total)


def main() -> None:
    """Train both, one after the other, and print what they came to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of CIFAR-10")
    parser.add_argument("--out", type=Path, help="where runs go; default: a temporary folder")
    parser.add_argument("--tokenizer-steps", type=int, default=200)
    parser.add_argument("--beit-steps", type=int, default=150)
    parser.add_argument("--images", type=int, default=2000, help="test images to measure on")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        file = out / "tokenizer.safetensors"
        spec = run("cifar10_tokenizer", out / "tokenizer", options, options.tokenizer_steps)
        export_part(spec.run_dir, "tokenizer", file)
        tokens = measure_tokens(spec, options.images)
        print(f"codes used by {options.images} test images: {tokens.used:.1%}")
        print(f"perplexity: {tokens.perplexity:.0f}\n", flush=True)
        more = [f"objective.target.tokenizer={file}", "backbone.width=64", "backbone.depth=2"]
        beit = run("cifar10_beit", out / "beit", options, options.beit_steps, *more)
        found = measure_prediction(beit, options.images)
    print(f"hidden patches of {options.images} test images")
    print(f"  cross-entropy of BEiT:    {found.cross_entropy:.3f} nats, accuracy {found.accuracy:.1%}")
    print(f"  entropy of the unigram:   {found.unigram:.3f} nats, accuracy {found.most_common:.1%}")


if __name__ == "__main__":
    main()
