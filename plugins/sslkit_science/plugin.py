"""The plugin `science`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl

KINDS = {
    "source": {
        "tiff": "sslkit_science.specs.tiff:TIFF",
        "dicom": "sslkit_science.specs.medical:DICOM",
        "nifti": "sslkit_science.specs.medical:NIfTI",
        "zarr": "sslkit_science.specs.arrays:Zarr",
        "hdf5": "sslkit_science.specs.arrays:HDF5",
        "npy": "sslkit_science.specs.arrays:NumPy",
    },
}
"""Family -> kind -> its class, which the registry imports when a spec names the kind."""


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The sources of this package."""
    from pkgutil import resolve_name

    return [resolve_name(path) for kinds in KINDS.values() for path in kinds.values()]
