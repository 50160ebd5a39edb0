"""What images of 8 bits cost in this build and in another commit's, in turns.

    OMP_NUM_THREADS=1 python benchmarks/eight_bits.py --against COMMIT [--rounds 60] [--images 32]

JPEG, PNG and TIFF of 500 x 375, from the file to two normalized random resized crops of 224. Both builds must make the
same crops, bit for bit. Processor time per image; ratios are medians over the rounds, with their quartiles.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from other_builds import THIS, Side, answer_turns, builds, first_of, rounds
from PIL import Image

HERE = Path(__file__).resolve()
FORMATS = ("JPEG", "PNG", "TIFF")
VIEW = {"size": 224, "crops": 2, "augment": [{"kind": "random_resized_crop"}, {"kind": "flip"}]}
WARM = 12
"""Steps before the first turn, whose crops are compared."""


def encoded(count: int) -> dict[str, list[bytes]]:
    """Smooth pictures with some noise, in each format."""
    rng = np.random.default_rng(0)
    files: dict[str, list[bytes]] = {name: [] for name in FORMATS}
    for _ in range(count):
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(small.resize((500, 375), Image.Resampling.BICUBIC), float)
        picture = Image.fromarray((smooth + rng.normal(0, 4, smooth.shape)).clip(0, 255).astype(np.uint8))
        for name in FORMATS:
            file = io.BytesIO()
            picture.save(file, name)
            files[name].append(file.getvalue())
    return files


def decoder() -> Callable[[bytes], object]:
    """Color, as `folder` decodes it."""
    decode = first_of("Decoder", "sslkit.data.decoding.decode", "sslkit_data.decode")(3)
    return lambda data: decode(data, "image")


def crops_of(images: int) -> Callable[[list[bytes], int], object]:
    """(files, step) -> the crops of that step."""
    import torch

    import sslkit  # noqa: F401  the plugins are loaded with it

    torch.set_num_threads(1)
    pipeline = first_of("Pipeline", "sslkit.data.crops", "sslkit.train.pipeline")
    view = first_of("View", "sslkit.core.context", "sslkit.core.env")(224, 2, 3, (0.5,) * 3, (0.2,) * 3)
    parse = first_of("parse_as", "sslkit.specs.load", "sslkit.spec.load")
    spec = parse(first_of("ViewSpec", "sslkit.specs.views", "sslkit.spec.parts"), VIEW)
    cut, decode, rows = pipeline({"global": spec}, {"global": view}, 0), decoder(), torch.arange(images)

    def crops(files: list[bytes], step: int) -> object:
        return cut.rest(cut.first([decode(file) for file in files], step, rows), step, rows)["global"]

    return crops


def work(images: int) -> None:
    """Be a side: answer `hash` with a number of the first crops, and others with milliseconds an image by format."""
    files, crops, step = encoded(images), crops_of(images), WARM
    total = hashlib.sha256()
    for name in FORMATS:
        for number in range(WARM):
            total.update(crops(files[name], number).numpy().tobytes())  # type: ignore[attr-defined]

    def answer(request: str) -> list[float]:
        nonlocal step
        if request == "hash":
            return [float(int(total.hexdigest()[:12], 16))]
        times = []
        for name in FORMATS:
            start = time.process_time()
            crops(files[name], step)
            times.append((time.process_time() - start) / images * 1e3)
        step += 1
        return times

    answer_turns(answer)


def main() -> None:
    """Read what is asked, and be a side or compare both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", metavar="COMMIT", required=True)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        work(args.images)
    else:
        compare(args.against, args.rounds, args.images)


def compare(commit: str, count: int, images: int) -> None:
    """Let both take turns; print medians and ratios."""
    words = ["--against", commit, "--images", str(images)]
    with builds(commit) as packages:
        sides = {name: Side(HERE, name, where, words) for name, where in packages.items()}
        if len({side.turn("hash")[0] for side in sides.values()}) > 1:
            raise SystemExit("the builds make other crops of the same files")
        times = rounds(sides, count, "images")
    for place, name in enumerate(FORMATS):
        mine, theirs = ([turn[place] for turn in times[side]] for side in (THIS, commit))
        ratios = [old / new for new, old in zip(mine, theirs, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        print(
            f"{name:5} {statistics.median(mine):.2f} ms, before {statistics.median(theirs):.2f}; images/s of this "
            f"build {statistics.median(ratios):.3f} of the other's ({low:.3f} to {high:.3f}), by the best turns "
            f"{min(theirs) / min(mine):.3f}"
        )


if __name__ == "__main__":
    main()
