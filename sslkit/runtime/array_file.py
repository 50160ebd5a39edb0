"""Files of arrays (`.npz`), which may be damaged: read without running code, whatever NumPy meets in them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import CheckpointError, SslkitError
from sslkit.files.regular import read_bytes

Kinds = Mapping[str, str]
"""Name of an array -> the kind of its values, as in `dtype.kind`, and the number of its dimensions: `i1`, `u2`."""


def read_arrays(
    path: Path, kinds: Kinds, advice: str, refuse: type[SslkitError] = CheckpointError
) -> Sequence[NDArray[Any]]:
    """The arrays of the `.npz` at `path` that `kinds` names, in its order.

    Raises:
        SslkitError: of the class `refuse`; the file is no such file, is damaged, or has arrays of another kind.
    """
    return arrays_in(read_bytes(path, refuse), str(path), kinds, advice, refuse)


def arrays_in(
    content: bytes, where: str, kinds: Kinds, advice: str, refuse: type[SslkitError] = CheckpointError
) -> Sequence[NDArray[Any]]:
    """As `read_arrays`, of the `content` of a file; `where` names it in errors."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = [file[name] for name in kinds]
    except Exception as error:  # zip, zlib, struct and NumPy's own parser each raise theirs
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise refuse(f"{where}: is damaged ({detail}); {advice}") from None
    for (name, kind), array in zip(kinds.items(), arrays, strict=True):
        if f"{array.dtype.kind}{array.ndim}" != kind:
            what = f"{array.dtype} values in {array.ndim} dimensions"
            raise refuse(f"{where}: is damaged ({name!r} has {what}); {advice}")
    return arrays
