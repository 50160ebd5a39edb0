"""The plugin `science`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl
from sslkit_science.specs.arrays import HDF5, NumPy, Zarr
from sslkit_science.specs.medical import DICOM, NIfTI
from sslkit_science.specs.tiff import TIFF


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The sources of this package."""
    return [TIFF, DICOM, NIfTI, Zarr, HDF5, NumPy]
