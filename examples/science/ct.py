"""Writes computed tomography: DICOM series of the chest, a folder for each finding and patient.

    python examples/science/ct.py data/ct

Each patient has one series of five slices of 48 x 48 pixels in Hounsfield units, stored in 12 bits with an intercept of
-1024. Bodies, positions, tables and noise differ from patient to patient; the patients of the test split are others.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SIDE, SLICES = 48, 5
SIZES = {"train": 36, "test": 12}
"""Patients of each class."""
CLASSES = ("effusion", "emphysema", "mass", "nodules", "normal", "pneumonia")
AIR, LUNG, FAT, FLUID, SOFT, BLOOD, BONE = -1000.0, -820.0, -90.0, 10.0, 50.0, 130.0, 650.0
"""Hounsfield units."""
Image = NDArray[np.float64]
ROWS, COLUMNS = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE * 2 - 1


def smooth(rng: np.random.Generator, scale: float) -> Image:
    """Noise without detail below about `scale` pixels, mean 0, deviation 1."""
    frequencies = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None])
    spectrum = np.fft.fft2(rng.normal(size=(SIDE, SIDE))) * np.exp(-2 * (frequencies * scale) ** 2)
    noise = np.fft.ifft2(spectrum).real
    return (noise - noise.mean()) / noise.std()


def ellipse(y: float, x: float, high: float, wide: float, edge: Image | float = 0.0) -> Image:
    """1 inside, 0 outside; the body is 2 high and wide."""
    distance = np.hypot((ROWS - y) / high, (COLUMNS - x) / wide)
    return 1 / (1 + np.exp((distance - 1 + edge) * min(high, wide) * 48))


def laid(image: Image, value: Image | float, where: Image) -> Image:
    """`value` over `image`."""
    return image * (1 - where) + value * where


class Patient:
    """What is the same in all slices of a series."""

    def __init__(self, rng: np.random.Generator, finding: str) -> None:
        """Draw a body."""
        self.rng, self.finding = rng, finding
        self.y, self.x = rng.uniform(-0.08, 0.08, 2)
        self.high, self.wide = rng.uniform(0.55, 0.68), rng.uniform(0.76, 0.90)
        self.fat, self.side = rng.uniform(0.04, 0.09), int(rng.choice((-1, 1)))
        self.noise, self.dose = rng.uniform(10, 30), rng.uniform(-30, 60)
        self.spot = rng.uniform(-0.2, 0.2), rng.uniform(0.30, 0.42)
        self.grade = rng.uniform(0.7, 1.0)

    def slice(self, place: float) -> NDArray[np.int16]:
        """The slice at `place`, -1 (below) to 1 (above), in Hounsfield units."""
        rng = self.rng
        image = np.full((SIDE, SIDE), AIR)
        image = laid(image, FAT, ellipse(self.y, self.x, self.high, self.wide))
        image = laid(image, SOFT, ellipse(self.y, self.x, self.high - self.fat, self.wide - self.fat))
        lungs = np.zeros_like(image)
        for side in (-1, 1):
            size = 1 - 0.22 * place + rng.normal(scale=0.02)
            x = self.x + side * self.wide * 0.44
            lung = ellipse(
                self.y - 0.02, x, self.high * 0.68 * size, self.wide * 0.34 * size, 0.04 * smooth(rng, 9.0)
            )
            lungs = np.maximum(lungs, lung)
        vessels = np.clip(smooth(rng, 1.6) - 1.4, 0, 1) * 400
        image = laid(image, self.lung(lungs, place) + vessels, lungs)
        heart = ellipse(self.y - 0.10, self.x + 0.08, 0.22 - 0.08 * place, 0.20 - 0.06 * place)
        image = laid(image, BLOOD + self.dose, heart)
        spine = ellipse(self.y + self.high * 0.66, self.x, 0.11, 0.12)
        image = laid(image, BONE, spine)
        image = laid(image, BONE, self.ribs(place))
        image = laid(image, -200.0, ellipse(self.y + self.high + 0.09, 0.0, 0.03, 0.9))  # the table
        return np.clip(image + self.noise * smooth(rng, 0.7), -1024, 3071).round().astype(np.int16)

    def ribs(self, place: float) -> Image:
        """Ribs cross a slice as spots around the lungs."""
        angles = np.arange(0, 2 * np.pi, np.pi / 6) + 0.5 * place
        spots = [
            ellipse(
                self.y + (self.high - 0.09) * np.sin(a), self.x + (self.wide - 0.10) * np.cos(a), 0.035, 0.035
            )
            for a in angles
        ]
        return np.clip(np.max(spots, axis=0), 0, 1)

    def lung(self, lungs: Image, place: float) -> Image:
        """What fills the lungs."""
        rng, grade = self.rng, self.grade
        air = LUNG + 40 * smooth(rng, 3.0)
        y, x = self.y + self.spot[0], self.x + self.side * self.spot[1]
        match self.finding:
            case "effusion":  # fluid at the back, level
                level = self.y + self.high * (0.55 - 0.45 * grade) + 0.08 * place
                side = self.side * (COLUMNS - self.x) > 0
                return laid(air, FLUID, side / (1 + np.exp(-(ROWS - level) * SIDE / 2)))
            case "emphysema":  # holes
                return laid(air - 80, AIR, np.clip(smooth(rng, 5.0) + grade - 0.4, 0, 1))
            case "mass":
                radius = 0.28 * grade * np.sqrt(max(1 - (0.7 * place) ** 2, 0.2))
                return laid(air, SOFT, ellipse(y, x, radius, radius * 0.85, 0.15 * smooth(rng, 4.0)))
            case "nodules":
                for _ in range(int(9 * grade)):
                    side = rng.choice((-1, 1))
                    spot = self.y + rng.uniform(-0.35, 0.35), self.x + side * rng.uniform(0.2, 0.5)
                    air = laid(air, SOFT, ellipse(*spot, *rng.uniform(0.05, 0.08, 2)))
                return air
            case "pneumonia":  # clouds of half-filled lung
                cloud = np.clip(smooth(rng, 7.0) + 1.2 * grade - 0.5, 0, 1)
                return laid(air, -250 + 80 * smooth(rng, 2.0), cloud * (0.5 + 0.5 * grade))
            case _:
                return air


def file_of(pixels: NDArray[np.int16], patient: str, series: str, number: int) -> FileDataset:
    """A CT slice as a scanner writes it; the modality's rescaling gives Hounsfield units."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[series, str(number)])
    file = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    file.Modality, file.BodyPartExamined = "CT", "CHEST"
    file.PatientID, file.PatientName, file.SeriesInstanceUID = patient, patient, series
    file.InstanceNumber, file.SliceThickness = number + 1, 20.0
    file.ImagePositionPatient, file.ImageOrientationPatient = (
        [-160.0, -160.0, -20.0 * number],
        [1, 0, 0, 0, 1, 0],
    )
    file.PixelSpacing = [6.7, 6.7]
    file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    file.RescaleIntercept, file.RescaleSlope, file.RescaleType = -1024, 1, "HU"
    file.WindowCenter, file.WindowWidth = -600, 1500
    file.PixelData = (pixels.astype(np.int32) + 1024).astype("<u2").tobytes()
    return file


def main(root: Path, sizes: dict[str, int] = SIZES) -> None:
    """Write the series of both splits below `root`."""
    for split, count in sizes.items():
        for number, finding in enumerate(CLASSES):
            for i in range(count):
                name = f"{split}-{number * count + i:03d}"
                folder = root / split / finding / name
                folder.mkdir(parents=True, exist_ok=True)
                patient = Patient(np.random.default_rng([len(split), number, i]), finding)
                series = generate_uid(entropy_srcs=[name])
                for n, place in enumerate(np.linspace(0.7, -0.7, SLICES)):
                    file_of(patient.slice(place), name, series, n).save_as(
                        folder / f"{n:02d}.dcm", enforce_file_format=True
                    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data/ct"))
