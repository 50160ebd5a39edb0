"""A source of sound files, or of pieces of them."""

from __future__ import annotations

from functools import cached_property
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.interfaces import Source, digest, digests_of_files, fingerprint_of, stacked
from sslkit.plugin import ListedFiles
from sslkit_audio.sound_reading import length_of, pieces_of, read_piece


@final
class SoundFileSource(Source):
    """Sounds of at most `seconds`, decoded when they are asked for."""

    def __init__(self, files: ListedFiles, rate: int, seconds: float, every: bool) -> None:
        """`every`: all pieces of a file are samples, and not its first alone; headers are read for that."""
        self.files, self.rate, self.seconds, self.channels = files, rate, seconds, 1
        counts = [1] * len(files.files)
        if every:
            counts = [pieces_of(length_of(str(files.root / name)), seconds) for name in files.files]
        self.places = [(file, piece) for file, count in enumerate(counts) for piece in range(count)]
        of_file = torch.tensor([file for file, _ in self.places])
        self.labels: Tensor | None = None if files.labels is None else torch.tensor(files.labels)[of_file]
        self.classes = files.classes if files.labels is not None else ()
        self.attributes = {name: torch.tensor(values)[of_file] for name, values in files.attributes.items()}
        self.attribute_values = files.attribute_values

    def __len__(self) -> int:
        return len(self.places)

    def load(self, index: int) -> Tensor:
        """`[1, L]` int16."""
        file, piece = self.places[index]
        path = str(self.files.root / self.files.files[file])
        return torch.from_numpy(read_piece(path, self.name(index), piece, self.seconds, self.rate))[None]

    def name(self, index: int) -> str:
        """The file, and where in it the piece begins."""
        file, piece = self.places[index]
        return self.files.files[file] + (f" from {piece * self.seconds:g} s" if piece else "")

    @cached_property
    def fingerprint(self) -> str:
        """Over files, pieces, labels, and what they are brought to."""
        return fingerprint_of(self, "audio_folder@1", self.rate, self.seconds)

    def digests(self) -> NDArray[np.uint8]:
        """`[N, 16]`, each over a file and the number of a piece; the first has the file's."""
        of_files = digests_of_files(self.files.root, self.files.files)
        rows = [
            digest(of_files[file].tobytes() + str(piece).encode()) if piece else of_files[file].tobytes()
            for file, piece in self.places
        ]
        return stacked(rows)
