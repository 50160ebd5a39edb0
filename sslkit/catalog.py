"""Registered component kinds, by family. Specs read it; the registry fills it; neither imports the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Kinds = Mapping[str, type]
"""kind -> spec class, within one family."""
WhyMissing = Callable[[str, str], str]
"""Of a family and a kind: why it cannot be had and what to do, or nothing where that cannot be told."""

ELSEWHERE: Mapping[str, Mapping[str, str]] = {
    "source": dict.fromkeys(("tiff", "dicom", "nifti", "zarr", "hdf5", "npy"), "sslkit-science")
    | dict.fromkeys(("webdataset", "hf"), "sslkit-shards")
    | dict.fromkeys(("class_captions", "caption_table", "caption_files", "caption_column"), "sslkit-text")
    | dict.fromkeys(("moving_digits", "video_folder", "frame_folders"), "sslkit-video")
    | dict.fromkeys(("synthetic_sounds", "audio_folder"), "sslkit-audio"),
    "transform": dict.fromkeys(("bpe", "masked_bpe"), "sslkit-text")
    | {"frames": "sslkit-video", "log_mel": "sslkit-audio"},
    "backbone": {
        "text_transformer": "sslkit-text",
        "video_vit": "sslkit-video",
        "slowfast": "sslkit-video",
        "spectrogram_network": "sslkit-audio",
    },
    "masker": dict.fromkeys(("tube", "frame", "causal", "motion"), "sslkit-video")
    | {"time_frequency": "sslkit-audio"},
    "target": dict.fromkeys(("cubelet", "optical_flow"), "sslkit-video"),
    "augment": dict.fromkeys(("reorder", "temporally_consistent"), "sslkit-video")
    | dict.fromkeys(("spec_augment", "time_roll", "gain"), "sslkit-audio"),
    "objective": dict.fromkeys(
        ("clip", "siglip", "mlm", "albef", "itc", "itm", "cross_mlm", "text_mim"), "sslkit-text"
    )
    | dict.fromkeys(
        (
            "videomae",
            "temporal_infonce",
            "temporal_byol",
            "temporal_consistency",
            "arrow_of_time",
            "frame_order",
            "flow",
            "vjepa",
        ),
        "sslkit-video",
    )
    | {"audiomae": "sslkit-audio"},
    "evaluator": dict.fromkeys(("zero_shot", "image_text_retrieval", "modality_gap"), "sslkit-text")
    | dict.fromkeys(("temporal_coherence", "label_propagation"), "sslkit-video"),
}
"""Kinds of this project that a distribution of its own brings."""

_providers: tuple[Callable[[str], Kinds], WhyMissing] | None = None


def provide(kinds: Callable[[str], Kinds], why_missing: WhyMissing) -> None:
    """Name the functions that answer `kinds` and `missing`. `sslkit/__init__.py` gives the registry's."""
    global _providers
    _providers = kinds, why_missing


def kinds(family: str) -> Kinds:
    """The registered spec classes of `family`, by kind; a kind that several plugins offer is not among them.

    Raises:
        PluginError: plugins are being loaded, so that not all kinds are there.
    """
    if _providers is None:
        raise AssertionError("`sslkit/__init__.py` names the providers at import")
    return _providers[0](family)


def missing(family: str, kind: str, otherwise: str) -> str:
    """Why `kind` is not among `kinds`: several plugins offer it, its distribution is not in use, or `otherwise`."""
    if _providers is None:
        raise AssertionError("`sslkit/__init__.py` names the providers at import")
    return _providers[1](family, kind) or otherwise
