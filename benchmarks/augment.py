"""What decoding and augmenting cost: sslkit against torchvision, side by side in one run, in processor time.

    OMP_NUM_THREADS=1 python benchmarks/augment.py [--images 48] [--rounds 5] [--photos FOLDER_OR_PARQUET]

Two crops of 224 pixels with SimCLR's recipe (crop, flip, strong color jitter, gray, blur of half the images), from
JPEG photographs of 500 x 375 pixels, made here unless `--photos` names others (parquet needs a column `image`). The
other side is the pipeline that MoCo's, DINO's and lightly's codes share: PIL images through torchvision's transforms
and PIL's own Gaussian blur; torchvision's `GaussianBlur(23)` is measured too. Then 32 pixels: images held in
memory against worker processes. Every figure is a median over rounds in which the sides take turns.
"""

from __future__ import annotations

import argparse
import io
import random
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torchvision.transforms as T
import torchvision.transforms.v2 as V
from PIL import Image, ImageFilter
from torch import Tensor

import sslkit  # noqa: F401  the plugins are loaded with it
from sslkit.core.context import View
from sslkit.core.source import Source
from sslkit.data.crops import Pipeline
from sslkit.data.decoding.decode import Decoder
from sslkit.data.decoding_workers import Loading
from sslkit.data.loaders import Feed, ResidentFeed, WorkerFeed
from sslkit.data.sampler import BatchShare, Order
from sslkit.errors import DataError
from sslkit.specs.views import IMAGENET_MEAN, IMAGENET_STD, ViewSpec

CPU = torch.device("cpu")


def photographs(count: int) -> list[bytes]:
    """JPEG files of 500 x 375 pixels: smooth shapes with some noise, about 50 kB each, as photographs have."""
    made = []
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.rand(1, 3, 12, 16, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, (375, 500), mode="bicubic").clamp(0, 1)[0]
        noisy = (smooth + 0.025 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)
        buffer = io.BytesIO()
        T.ToPILImage()(noisy).save(buffer, "JPEG", quality=90)
        made.append(buffer.getvalue())
    return made


def stored(path: Path, count: int) -> list[bytes]:
    """The first files in a folder, or the first rows of parquet files."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return [row["bytes"] for row in pq.read_table(path).column("image")[:count].to_pylist()]
    return [file.read_bytes() for file in sorted(path.rglob("*.*"))[:count]]


class PILBlur:
    """MoCo's and DINO's."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """A blurred copy."""
        return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


def torchvision_pipeline(blur: Callable[[Image.Image], Image.Image]) -> Callable[[bytes], list[Tensor]]:
    """The standard worker: decode once, two crops."""
    one = T.Compose([
        T.RandomResizedCrop(224, interpolation=T.InterpolationMode.BICUBIC), T.RandomHorizontalFlip(),
        T.RandomApply([T.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8), T.RandomGrayscale(0.2),
        T.RandomApply([blur], p=0.5), T.ToTensor(), T.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ])  # fmt: skip

    def work(data: bytes) -> list[Tensor]:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        return [one(image), one(image)]

    return work


def v2_pipeline() -> Callable[[bytes], list[Tensor]]:
    """The same with torchvision's transforms v2 on uint8 tensors."""
    one = V.Compose([
        V.RandomResizedCrop(224, interpolation=V.InterpolationMode.BICUBIC, antialias=True), V.RandomHorizontalFlip(),
        V.RandomApply([V.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8), V.RandomGrayscale(0.2),
        V.RandomApply([V.GaussianBlur(23, (0.1, 2.0))], p=0.5), V.ToDtype(torch.float32, scale=True),
        V.Normalize(list(IMAGENET_MEAN), list(IMAGENET_STD)),
    ])  # fmt: skip

    def work(data: bytes) -> list[Tensor]:
        image = V.functional.pil_to_tensor(Image.open(io.BytesIO(data)).convert("RGB"))
        return [one(image), one(image)]

    return work


def pipeline(recipe: str, size: int) -> Pipeline:
    """Two crops."""
    spec = ViewSpec(size=size, crops=2, recipe=recipe)
    return Pipeline({"v": spec}, {"v": View(size, 2, 3, IMAGENET_MEAN, IMAGENET_STD)}, 0)


def turns(
    sides: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Median seconds of each side, which take turns."""
    seen: dict[str, list[float]] = {name: [] for name in sides}
    for work in sides.values():
        work()
    for _ in range(rounds):
        for name, work in sides.items():
            begin = clock()
            work()
            seen[name].append(clock() - begin)
    return {name: statistics.median(values) for name, values in seen.items()}


def crops_of_photographs(files: list[bytes], rounds: int) -> None:
    """Decode, two crops of 224 pixels, SimCLR's recipe."""
    ours, decoder, rows = pipeline("simclr", 224), Decoder(3), torch.arange(len(files))

    def cut() -> dict[str, Tensor]:
        return ours.first([decoder(data, "") for data in files], 0, rows)

    theirs, blur, v2 = (
        torchvision_pipeline(PILBlur()),
        torchvision_pipeline(T.GaussianBlur(23)),
        v2_pipeline(),
    )
    sides = {
        "sslkit, worker's part: decode and cut": cut,
        "sslkit, all of it": lambda: ours.rest(cut(), 0, rows),
        "torchvision and PIL": lambda: [theirs(data) for data in files],
        "torchvision, its own blur": lambda: [blur(data) for data in files],
        "torchvision v2 on tensors": lambda: [v2(data) for data in files],
    }
    found = turns(sides, rounds, time.process_time)
    print(f"{'processor time of an image, two crops of 224 pixels':<52} ms     of torchvision and PIL")
    for name, seconds in found.items():
        print(f"{name:<50} {seconds / len(files) * 1e3:6.2f} {seconds / found['torchvision and PIL']:8.2f}")


class Encoded(Source):
    """PNG files in memory."""

    channels, labels, classes, fingerprint = 3, None, (), "made"

    def __init__(self, files: list[bytes]) -> None:
        self.files, self.decoder = files, Decoder(3)

    def __len__(self) -> int:
        return len(self.files)

    def load(self, index: int) -> Tensor:
        """Image `index`, decoded."""
        if index >= len(self.files):
            raise DataError(f"there is no image {index}")
        return self.decoder(self.files[index], str(index))


def small_images(rounds: int) -> None:
    """Two crops of 32 pixels with MoCo's recipe for CIFAR-10: images in memory, and worker processes."""
    images = torch.randint(0, 256, (2048, 3, 32, 32), dtype=torch.uint8)
    buffers = [io.BytesIO() for _ in images]
    for image, buffer in zip(images, buffers, strict=True):
        T.ToPILImage()(image).save(buffer, "PNG")
    source, steps = Encoded([buffer.getvalue() for buffer in buffers]), 16
    for recipe in ("light", "moco_cifar"):
        ours, order = pipeline(recipe, 32), Order(len(images), 256, 0, BatchShare(0, 1, 256))

        def drain(feed: Feed) -> None:
            for step in range(steps):
                for batch in feed.step(step):
                    batch.images["v"].sum()
            feed.close()

        def workers(count: int, *, augment: bool, order: Order = order, recipe: str = recipe) -> None:
            made = pipeline(recipe, 32)
            made.in_workers = augment
            how = Loading(count, "batch_size", print)
            drain(WorkerFeed(source, order, made, CPU, start=0, stop=steps, how=how, unreadable=print))

        sides = {
            "held in memory": lambda ours=ours, order=order: drain(ResidentFeed(images, order, ours, CPU)),
            "1 worker, which augments": lambda: workers(1, augment=True),
            "1 worker, which cuts": lambda: workers(1, augment=False),
        }
        wall = turns(sides, rounds, time.perf_counter)
        spent = turns(sides, rounds, all_processes)
        print(f"\n{recipe + ', two crops of 32 pixels':<40} images/s   ratio   of processor time")
        for name in sides:
            ratio, cost = wall[name] / wall["held in memory"], spent[name] / spent["held in memory"]
            print(f"{name:<40} {steps * 256 / wall[name]:8.0f} {1 / ratio:7.2f} {cost:10.2f}")


def all_processes() -> float:
    """Processor seconds of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    files = stored(args.photos, args.images) if args.photos else photographs(args.images)
    crops_of_photographs(files, args.rounds)
    small_images(args.rounds)


if __name__ == "__main__":
    main()
