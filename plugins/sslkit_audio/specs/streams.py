"""What the sources of this package give of every sample. Torch-free."""

from __future__ import annotations

from sslkit.plugin import Stream

AUDIO = "audio"
"""Type and name of the stream: `[1, L]` int16, of which 32768 is the full amplitude 1."""
SPECTROGRAM = "spectrogram"
"""Type of what `log_mel` makes: `[1, time, frequency]`."""
STREAMS = {AUDIO: Stream(AUDIO, 1)}
