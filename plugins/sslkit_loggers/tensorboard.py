"""TensorBoard logger."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import final

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from sslkit.interfaces import Logger


@final
class TensorBoardLogger(Logger):
    """Writes scalars and images to one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: SummaryWriter | None = None

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """One scalar for each value."""
        writer = self._at(step)
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    def figure(self, step: int, name: str, path: Path) -> None:
        with Image.open(path) as image:
            self._at(step).add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def saved(self, step: int, path: Path) -> None:
        """Everything so far goes to disk with the checkpoint."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _at(self, step: int) -> SummaryWriter:
        """The writer, created at the first record of this process.

        A resumed run repeats steps that the killed one had recorded after its checkpoint: `purge_step` tells
        TensorBoard to drop those.
        """
        if self._writer is None:
            self._writer = SummaryWriter(str(self.folder), purge_step=step)
        return self._writer
