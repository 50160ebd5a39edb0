"""The plugin `audio`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sslkit.plugin import Spec, hookimpl

KINDS: Mapping[str, Mapping[str, str]] = {
    "source": {
        "synthetic_sounds": "sslkit_audio.specs.synthetic:SyntheticSounds",
        "audio_folder": "sslkit_audio.specs.files:AudioFolder",
    },
    "transform": {"log_mel": "sslkit_audio.specs.spectrograms:LogMel"},
    "augment": {
        "spec_augment": "sslkit_audio.specs.spectrograms:SpecAugment",
        "time_roll": "sslkit_audio.specs.spectrograms:TimeRoll",
        "gain": "sslkit_audio.specs.spectrograms:Gain",
    },
    "backbone": {"spectrogram_network": "sslkit_audio.specs.networks:SpectrogramNetwork"},
    "masker": {"time_frequency": "sslkit_audio.specs.masked:TimeFrequencyMasker"},
    "objective": {"audiomae": "sslkit_audio.specs.masked:AudioMAE"},
}
"""Family -> kind -> its class, which the registry imports when a spec names the kind."""


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The kinds of this package."""
    from sslkit_audio.specs.files import AudioFolder
    from sslkit_audio.specs.masked import AudioMAE, TimeFrequencyMasker
    from sslkit_audio.specs.networks import SpectrogramNetwork
    from sslkit_audio.specs.spectrograms import Gain, LogMel, SpecAugment, TimeRoll
    from sslkit_audio.specs.synthetic import SyntheticSounds

    sources: list[type[Spec]] = [SyntheticSounds, AudioFolder]
    changes: list[type[Spec]] = [LogMel, SpecAugment, TimeRoll, Gain]
    return [*sources, *changes, SpectrogramNetwork, TimeFrequencyMasker, AudioMAE]
