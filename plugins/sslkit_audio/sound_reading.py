"""Sounds read from files or bytes through libsndfile: pieces, one channel, one rate."""

from __future__ import annotations

from io import BytesIO
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from sslkit.plugin import DataError
from sslkit_audio.waveforms import resampled, to_int16


class Length(NamedTuple):
    """How long a file is, as its header says."""

    samples: int
    rate: int


def length_of(file: str | BytesIO) -> Length | None:
    """From the header; None where it cannot be read, which reading the sound tells."""
    try:
        info = soundfile.info(file)
    except (soundfile.SoundFileError, OSError):
        return None
    return Length(int(info.frames), int(info.samplerate))


def pieces_of(length: Length | None, seconds: float) -> int:
    """Pieces of `seconds` in a file; a rest counts where it is half as long, and a short file is one."""
    if length is None:
        return 1
    whole, rest = divmod(length.samples / length.rate, seconds)
    return max(1, int(whole) + (rest >= seconds / 2))


def read_piece(file: str | BytesIO, name: str, piece: int, seconds: float, rate: int) -> NDArray[np.int16]:
    """Piece `piece` of a file, `[L]`, of `rate` samples a second: the mean of its channels.

    It is read as float32, whatever the file holds, and 16 bits come out as they went in: libsndfile does not scale
    files of floats that are asked for as integers.

    Raises:
        DataError: the file is no sound, is empty, ends before the piece, or holds values that are no numbers.
    """
    try:
        with soundfile.SoundFile(file) as sound:
            count = max(1, round(seconds * sound.samplerate))
            if piece:
                sound.seek(piece * count)
            wave = sound.read(count, dtype="float32", always_2d=True)
            stored = sound.samplerate
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"{name}: cannot be read as sound: {_reason(error)}") from None
    if not len(wave):
        raise DataError(f"{name}: holds no samples{f' after {piece * seconds:g} s' if piece else ''}")
    mono = wave.mean(axis=1)
    if not np.isfinite(mono).all():
        raise DataError(f"{name}: holds values that are no finite numbers")
    return to_int16(resampled(mono, stored, rate))


def _reason(error: Exception) -> str:
    """What libsndfile says, without the name of the file, which stands before it."""
    return str(error).rpartition(": ")[2] or type(error).__name__
