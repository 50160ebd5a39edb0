"""Writes fluorescence microscopy: OME-TIFF stacks of 16 bits and three channels, a folder for each kind of cell.

    python examples/science/cells.py data/cells

Each file is a well: four fields of 48 x 48 pixels, stained for DNA, actin and mitochondria. Cells of one kind lie at
any place and angle, and small ones cover as much of a field as large ones, so kinds differ in their shapes. The
camera has 12 bits, an offset of 100 and shot noise. Stain, exposure and density differ from well to well.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

SIDE, FIELDS = 48, 4
SPACING = (1.9, 3.0)
"""From cell to cell, in mean radii of a cell: another distance in each well."""
SIZES = {"train": 40, "test": 12}
"""Wells of each class."""
CHANNELS = ("DNA", "actin", "mitochondria")
RADII = {"binucleate": 13.3, "dying": 7.5, "dividing": 10.2, "resting": 11.2, "spindle": 9.7, "spread": 16.9}
"""Of cells of each class, in pixels: as much of a field is covered by small ones as by large ones."""
CLASSES = tuple(RADII)
Image = NDArray[np.float64]
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE].astype(np.float64)


def smooth(rng: np.random.Generator, scale: float) -> Image:
    """Noise without detail below about `scale` pixels, mean 0, deviation 1."""
    frequencies = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None])
    spectrum = np.fft.fft2(rng.normal(size=(SIDE, SIDE))) * np.exp(-2 * (frequencies * scale) ** 2)
    noise = np.fft.ifft2(spectrum).real
    return (noise - noise.mean()) / noise.std()


def ellipse(
    center: tuple[float, float], long: float, short: float, angle: float, edge: Image | float = 0.0
) -> Image:
    """1 inside, 0 outside, with an edge of about a pixel; `edge` makes the outline uneven."""
    y, x = ROWS - center[0], COLUMNS - center[1]
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    inside = 1 - np.hypot(along / long, across / short) + edge
    return 1 / (1 + np.exp(-inside * min(long, short) * 1.5))


def beside(center: tuple[float, float], distance: float, angle: float) -> tuple[float, float]:
    """A point at a distance from another."""
    return center[0] + distance * np.sin(angle), center[1] + distance * np.cos(angle)


def cell(rng: np.random.Generator, kind: str, center: tuple[float, float]) -> tuple[Image, Image, Image]:
    """DNA, actin and mitochondria of one cell, 0 to about 1."""
    angle = rng.uniform(0, 2 * np.pi)
    uneven, size = 0.12 * smooth(rng, 5.0), rng.uniform(0.85, 1.15)
    match kind:
        case "spindle":
            body = ellipse(center, 19 * size, 5 * size, angle, uneven)
            nuclei = [ellipse(center, 6 * size, 3 * size, angle)]
        case "spread":
            body = ellipse(center, 19 * size, 15 * size, angle, 1.6 * uneven)
            nuclei = [ellipse(center, 6 * size, 5 * size, angle)]
        case "binucleate":
            body = ellipse(center, 16 * size, 11 * size, angle, uneven)
            nuclei = [ellipse(beside(center, side * 5 * size, angle), 4.2, 3.8, angle) for side in (-1, 1)]
        case "dividing":  # two bright plates across a round cell
            body = ellipse(center, 11 * size, 9.5 * size, angle, 0.3 * uneven)
            half = rng.uniform(1.5, 4.5)
            nuclei = [1.8 * ellipse(beside(center, side * half, angle), 1.3, 5, angle) for side in (-1, 1)]
        case "dying":  # crumbs of DNA, blebs
            body = ellipse(center, 8 * size, 7 * size, angle, 2 * uneven)
            nuclei = [
                1.8 * ellipse(beside(center, rng.uniform(2, 7), rng.uniform(0, 7)), 1.6, 1.4, 0.0)
                for _ in range(rng.integers(4, 8))
            ]
        case _:
            body = ellipse(center, 12 * size, 10.5 * size, angle, uneven)
            nuclei = [ellipse(center, 5.2 * size, 4.6 * size, angle)]
    dna = np.max(nuclei, axis=0) * (1 + 0.15 * smooth(rng, 2.0))
    rim = body * (1 - body) * 3
    fibers = (
        0.35 * body * (1 + np.sin(1.6 * (np.cos(angle) * ROWS - np.sin(angle) * COLUMNS) + smooth(rng, 6.0)))
    )
    nucleus = np.clip(np.max(nuclei, axis=0), 0, 1)
    mitochondria = body * (1 - nucleus) * np.clip(smooth(rng, 1.5), 0, None)
    return dna, rim + fibers, mitochondria


def centers(rng: np.random.Generator, spacing: float) -> list[tuple[float, float]]:
    """Where cells grow: a grid that lies anywhere, each of them a bit beside its place; one of them in sight."""
    angle, shift = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5, 2)
    places = list[tuple[float, float]]()
    for row in range(-4, 5):
        for column in range(-4, 5):
            y, x = (row + shift[0]) * spacing, (column + shift[1]) * spacing
            middle = beside(beside((SIDE / 2, SIDE / 2), y, angle), x, angle + np.pi / 2)
            center = beside(middle, rng.uniform(0, 4), rng.uniform(0, 2 * np.pi))
            if min(center) > -8 and max(center) < SIDE + 8:
                places.append(center)
    in_sight = any(min(center) > 4 and max(center) < SIDE - 4 for center in places)
    return places if in_sight else centers(rng, spacing)


def field(
    rng: np.random.Generator, kind: str, exposure: NDArray[np.float64], spacing: float
) -> NDArray[np.uint16]:
    """One field `[3, H, W]`: photons counted by a camera of 12 bits, of all cells that lie in it."""
    stains = np.max([cell(rng, kind, center) for center in centers(rng, spacing)], axis=0)
    photons = (stains.clip(0) + 0.06 + 0.02 * smooth(rng, 12.0)) * exposure[:, None, None]
    counts = 100 + 4 * rng.poisson(photons.clip(0)) + rng.normal(scale=5, size=photons.shape)
    return np.clip(counts, 0, 4095).astype(np.uint16)


def main(root: Path, sizes: dict[str, int] = SIZES) -> None:
    """Write the wells of both splits below `root`."""
    for split, count in sizes.items():
        for number, kind in enumerate(CLASSES):
            folder = root / split / kind
            folder.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([len(split), number])
            for well in range(count):
                exposure, spacing = rng.uniform(200, 320, 3), RADII[kind] * rng.uniform(*SPACING)
                stack = np.stack([field(rng, kind, exposure, spacing) for _ in range(FIELDS)])
                metadata = {
                    "axes": "TCYX",
                    "Channel": {"Name": list(CHANNELS)},
                    "PhysicalSizeX": 0.65,
                    "PhysicalSizeXUnit": "µm",
                }
                path = folder / f"well-{well:02d}.ome.tif"
                tifffile.imwrite(path, stack, photometric="minisblack", compression="zlib", metadata=metadata)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data/cells"))
