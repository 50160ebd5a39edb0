"""JPEG decoders side by side: time of an image, and of two random resized crops of 224 pixels from its file.

    OMP_NUM_THREADS=1 python benchmarks/decoders.py [--rounds 7]

Files of 500 x 375 and 2,000 x 1,500 pixels, made here. Each decoder that is installed takes the same bytes in turns;
the crops are those of a run whose workers augment. Figures are medians of processor time of an image, in milliseconds;
differences are from the values of `Decoder`, which are those of PIL.
"""

from __future__ import annotations

import argparse
import importlib
import io
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import sslkit  # noqa: F401  the plugins are loaded with it
from sslkit.core.context import View
from sslkit.data.crops import Pipeline
from sslkit.data.decoding.decode import Decoder
from sslkit.specs.load import parse_as
from sslkit.specs.views import ViewSpec

FILES = {(500, 375): 32, (2000, 1500): 8}
VIEW = {"size": 224, "crops": 2, "augment": [{"kind": "random_resized_crop"}, {"kind": "flip"}]}
Decode = Callable[[bytes], Tensor]


def sslkit_decode(data: bytes, shrink: int | None = None) -> Tensor:
    """As sources read it."""
    return Decoder(3, shrink=shrink)(data, "image")


def torch_decode(data: bytes, module: Any) -> Tensor:
    """Torchvision and torchcodec have one signature."""
    image: Tensor = module.decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    return image


def simplejpeg_decode(data: bytes, module: Any, **options: object) -> Tensor:
    """libjpeg-turbo's own interface."""
    return torch.from_numpy(module.decode_jpeg(data, "RGB", **options)).permute(2, 0, 1)


def imagecodecs_decode(data: bytes, module: Any) -> Tensor:
    """libjpeg-turbo by imagecodecs."""
    return torch.from_numpy(module.jpeg8_decode(data)).permute(2, 0, 1)


def decoders() -> dict[str, Decode]:
    """Those that are installed."""
    all_of: dict[str, Decode] = {"sslkit": sslkit_decode}
    all_of |= {f"sslkit, shrink: {side}": partial(sslkit_decode, shrink=side) for side in (448, 224)}
    quick: dict[str, object] = {"fastdct": True, "fastupsample": True}
    others: list[tuple[str, str, Callable[..., Tensor], dict[str, object]]] = [
        ("torchvision", "torchvision.io", torch_decode, {}),
        ("torchcodec", "torchcodec.decoders", torch_decode, {}),
        ("imagecodecs", "imagecodecs", imagecodecs_decode, {}),
        ("simplejpeg", "simplejpeg", simplejpeg_decode, {}),
        ("simplejpeg, fast", "simplejpeg", simplejpeg_decode, quick),
        (
            "simplejpeg, fast, >= 224",
            "simplejpeg",
            simplejpeg_decode,
            {**quick, "min_height": 224, "min_width": 224},
        ),
    ]
    for name, module, decode, options in others:
        try:
            all_of[name] = partial(decode, module=importlib.import_module(module), **options)
        except (ImportError, OSError, RuntimeError) as error:
            print(f"{name}: left out ({str(error).splitlines()[0]})")
    return all_of


def photographs(width: int, height: int, count: int) -> list[bytes]:
    """Smooth shapes under noise, in about as many bytes as photographs."""
    files = []
    for seed in range(count):
        random = np.random.default_rng(seed)
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = (smooth + random.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noisy).save(buffer, "JPEG", quality=85)
        files.append(buffer.getvalue())
    return files


def spent(work: Callable[[], object], count: int) -> float:
    """Milliseconds of processor time of one of `count`."""
    begin = time.process_time()
    work()
    return 1000 * (time.process_time() - begin) / count


def difference(images: Sequence[Tensor], exact: Sequence[Tensor]) -> str:
    """The largest, of 255; or the size, where that is another."""
    if images[0].shape != exact[0].shape:
        return f"{images[0].shape[2]} x {images[0].shape[1]} pixels"
    return (
        f"differs by {max(int((a.int() - b.int()).abs().max()) for a, b in zip(images, exact, strict=True))}"
    )


def measured(
    ways: dict[str, Decode], files: Sequence[bytes], rows: Tensor, pipeline: Pipeline, rounds: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Name -> milliseconds of an image alone, and with its views, in each round."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in ways}

    def crops(decode: Decode, step: int) -> object:
        return pipeline.rest(pipeline.first([decode(x) for x in files], step, rows), step, rows)

    for step in range(rounds):
        for name, decode in ways.items():
            times[name][0].append(spent(partial(list, map(decode, files)), len(files)))
            times[name][1].append(spent(partial(crops, decode, step), len(files)))
    return times


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    views = {"global": View(224, 2, 3, (0.5,) * 3, (0.2,) * 3)}
    pipeline = Pipeline({"global": parse_as(ViewSpec, VIEW)}, views, 0, in_workers=True)
    ways = decoders()
    for (width, height), count in FILES.items():
        files, rows = photographs(width, height, count), torch.arange(count)
        exact = [sslkit_decode(x) for x in files]
        times = measured(ways, files, rows, pipeline, rounds)
        before = statistics.median(times["sslkit"][1])
        for name, decode in ways.items():
            each, both = map(statistics.median, times[name])
            shown = difference([decode(x) for x in files], exact)
            ratio = f"images/s x {before / both:.2f}"
            print(
                f"{width} x {height}  {name:26} {each:6.2f} ms   two views {both:6.2f} ms, {ratio}   {shown}"
            )


if __name__ == "__main__":
    main()
