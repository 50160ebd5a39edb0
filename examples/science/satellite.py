"""Writes satellite tiles: GeoTIFF files of 13 bands, as Sentinel-2 has them, in class folders.

    python examples/science/satellite.py data/satellite

Eight kinds of land in 32 x 32 pixels. Bands are uint16, reflectance times 10,000, and have names. Light, haze, season
and soil differ from tile to tile, whatever the land, so the mean color tells little and structure much.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

SIDE = 32
SIZES = {"train": 120, "test": 40}
"""Tiles of each class."""
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
CLASSES = ("crops", "forest", "industry", "meadow", "orchard", "soil", "town", "water")
SPECTRA = {  # reflectance in the 13 bands
    "plant": (0.03, 0.03, 0.06, 0.04, 0.10, 0.27, 0.34, 0.36, 0.38, 0.12, 0.002, 0.18, 0.09),
    "straw": (0.06, 0.08, 0.11, 0.15, 0.19, 0.24, 0.27, 0.29, 0.31, 0.11, 0.002, 0.33, 0.24),
    "ground": (0.07, 0.09, 0.12, 0.16, 0.19, 0.21, 0.23, 0.25, 0.27, 0.09, 0.002, 0.32, 0.28),
    "roof": (0.12, 0.14, 0.16, 0.20, 0.22, 0.23, 0.24, 0.25, 0.26, 0.08, 0.002, 0.26, 0.24),
    "metal": (0.20, 0.22, 0.23, 0.25, 0.26, 0.27, 0.27, 0.28, 0.28, 0.09, 0.003, 0.25, 0.23),
    "asphalt": (0.08, 0.09, 0.09, 0.10, 0.11, 0.11, 0.12, 0.12, 0.13, 0.05, 0.002, 0.14, 0.13),
    "water": (0.05, 0.05, 0.05, 0.03, 0.03, 0.02, 0.02, 0.02, 0.02, 0.01, 0.001, 0.01, 0.01),
}
Image = NDArray[np.float64]
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE].astype(np.float64)


def smooth(rng: np.random.Generator, scale: float) -> Image:
    """Noise without detail below about `scale` pixels, mean 0, deviation 1."""
    frequencies = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None])
    noise = np.fft.ifft2(
        np.fft.fft2(rng.normal(size=(SIDE, SIDE))) * np.exp(-((frequencies * scale) ** 2) * 2)
    ).real
    return (noise - noise.mean()) / noise.std()


def soft(values: Image, width: float = 0.6) -> Image:
    """0 to 1, with an edge as soft as an optic's."""
    return 1 / (1 + np.exp(-values / width))


def turned(rng: np.random.Generator) -> tuple[Image, Image]:
    """Distances across and along a random direction, in pixels."""
    angle = rng.uniform(0, np.pi)
    across, along = (
        np.cos(angle) * ROWS + np.sin(angle) * COLUMNS,
        np.cos(angle) * COLUMNS - np.sin(angle) * ROWS,
    )
    return across + rng.uniform(0, 50), along + rng.uniform(0, 50)


def lattice(rng: np.random.Generator, step: float, share: float) -> Image:
    """Blocks in rows and columns, each filling about `share` of its place, some missing."""
    across, along = turned(rng)
    rows, columns = (across // step).astype(int), (along // step).astype(int)
    there = rng.random((200, 200))[rows % 200, columns % 200] < 0.85
    inside = np.maximum(np.abs(across % step - step / 2), np.abs(along % step - step / 2)) < step * share / 2
    return (there & inside).astype(np.float64)


def cover(rng: np.random.Generator, land: str) -> dict[str, Image]:
    """How much of each pixel is covered by each material, for one tile of `land`."""
    across, along = turned(rng)
    match land:
        case "crops":  # fields with edges, sown in rows
            field = ((across // rng.uniform(9, 16)) + (along // rng.uniform(12, 22))) % 2
            rows = soft(np.sin(2 * np.pi * across / rng.uniform(3, 5.5)), 0.4)
            return {"plant": field * rows, "straw": (1 - field) * rng.uniform(0.3, 1)}
        case "forest":  # crowns and their shadows
            return {"plant": soft(smooth(rng, rng.uniform(1.5, 3)) + 0.8) * 0.9}
        case "industry":  # few large roofs
            roofs = lattice(rng, rng.uniform(8, 13), 0.7)
            return {"metal": roofs, "asphalt": 1 - roofs}
        case "meadow":
            plant = soft(smooth(rng, 14.0) + 0.6, 1.0)
            return {"plant": plant, "straw": (1 - plant) * 0.7}
        case "orchard":  # trees one by one
            return {"plant": lattice(rng, rng.uniform(4, 6.5), 0.6)}
        case "soil":
            return {"straw": soft(smooth(rng, 14.0) + 0.3, 1.0) * 0.7}
        case "town":  # many small roofs, gardens, streets
            roofs = lattice(rng, rng.uniform(4.5, 7), 0.7)
            gardens = soft(smooth(rng, 3.0)) * (1 - roofs)
            return {"roof": roofs, "plant": gardens * 0.6, "asphalt": (1 - roofs) - gardens * 0.6}
        case _:  # water, and its bank
            bank = soft((across - across.mean()) - rng.uniform(6, 20) + 2 * smooth(rng, 8.0))
            return {"water": 1 - bank, "plant": bank * rng.uniform(0, 1)}


def tinted(rng: np.random.Generator, material: str) -> NDArray[np.float64]:
    """The spectrum of `material` as it is in one place: brighter or darker, redder or bluer."""
    ends = np.exp(rng.normal(scale=0.30, size=2))
    return np.array(SPECTRA[material]) * np.linspace(*ends, 13)


def tile(rng: np.random.Generator, land: str) -> NDArray[np.uint16]:
    """One tile `[H, W, 13]`: reflectance times 10,000."""
    shares = cover(rng, land)
    light = np.clip(1 - sum(shares.values()), 0, 1)[..., None] * tinted(rng, "ground")
    for material, share in shares.items():
        light = light + share[..., None] * tinted(rng, material)
    haze = rng.uniform(0, 0.15) * np.exp(-np.arange(13) / 4)  # blue first
    light = light * rng.uniform(0.5, 1.3) * (1 + 0.08 * smooth(rng, 12.0)[..., None]) + haze
    light = light + rng.normal(scale=0.006, size=light.shape)
    return np.clip(light * 10_000, 1, 65_535).astype(np.uint16)


def write(path: Path, pixels: NDArray[np.uint16], place: int) -> None:
    """A GeoTIFF of 10 m pixels in UTM zone 33, with the names of its bands as GDAL writes them."""
    items = (
        f'<Item name="DESCRIPTION" sample="{i}" role="description">{name}</Item>'
        for i, name in enumerate(BANDS)
    )
    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)
    east, north = 400_000 + 10 * SIDE * (place % 100), 5_400_000 - 10 * SIDE * (place // 100)
    tags = [
        (33550, "d", 3, (10.0, 10.0, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, float(east), float(north), 0.0), True),
        (34735, "H", len(keys), keys, True),
        (42112, "s", 0, f"<GDALMetadata>{''.join(items)}</GDALMetadata>", True),
    ]
    tifffile.imwrite(
        path,
        pixels,
        photometric="minisblack",
        planarconfig="contig",
        compression="zlib",
        metadata=None,
        extratags=tags,
    )


def main(root: Path, sizes: dict[str, int] = SIZES) -> None:
    """Write the tiles of both splits below `root`."""
    for split, count in sizes.items():
        for number, land in enumerate(CLASSES):
            folder = root / split / land
            folder.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([len(split), number])
            for i in range(count):
                write(folder / f"{i:03d}.tif", tile(rng, land), number * count + i)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data/satellite"))
