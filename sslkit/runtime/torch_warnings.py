"""Filters of torch's warnings that are expected."""

from __future__ import annotations

import warnings

EXPECTED = {
    r"This DataLoader will create \d+ worker processes": "no result depends on how many there are",
    "TensorFloat32 tensor cores for float32 matrix multiplication available": "what is not autocast stays exact",
}
"""Beginning of a message -> why it is expected."""


def expect_warnings() -> None:
    """Leave out the warnings of `EXPECTED` from now on; all others are shown as before."""
    for message in EXPECTED:
        warnings.filterwarnings("ignore", message, UserWarning)
