"""The plugin `video`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sslkit.plugin import Spec, hookimpl

KINDS: Mapping[str, Mapping[str, str]] = {
    "source": {
        "moving_digits": "sslkit_video.specs.sources:MovingDigits",
        "video_folder": "sslkit_video.specs.files:VideoFolder",
        "frame_folders": "sslkit_video.specs.files:FrameFolders",
    },
    "transform": {"frames": "sslkit_video.specs.frames:Frames"},
    "backbone": {
        "video_vit": "sslkit_video.specs.networks:VideoViT",
        "slowfast": "sslkit_video.specs.pathways:SlowFast",
    },
    "masker": {
        "tube": "sslkit_video.specs.masks:Tube",
        "frame": "sslkit_video.specs.masks:FrameMasker",
        "causal": "sslkit_video.specs.masks:Causal",
        "motion": "sslkit_video.specs.masks:MotionMasker",
    },
    "target": {
        "cubelet": "sslkit_video.specs.masked:Cubelet",
        "optical_flow": "sslkit_video.specs.motion:OpticalFlow",
    },
    "objective": {
        "videomae": "sslkit_video.specs.masked:VideoMAE",
        "temporal_infonce": "sslkit_video.specs.temporal:TemporalInfoNCE",
        "temporal_byol": "sslkit_video.specs.temporal:TemporalBYOL",
        "temporal_consistency": "sslkit_video.specs.temporal:TemporalConsistency",
        "arrow_of_time": "sslkit_video.specs.order:ArrowOfTime",
        "frame_order": "sslkit_video.specs.order:FrameOrder",
        "flow": "sslkit_video.specs.motion:Flow",
        "vjepa": "sslkit_video.specs.vjepa:VJEPA",
    },
    "evaluator": {
        "temporal_coherence": "sslkit_video.specs.scores:TemporalCoherence",
        "label_propagation": "sslkit_video.specs.scores:LabelPropagation",
    },
    "augment": {
        "reorder": "sslkit_video.specs.order:Reorder",
        "temporally_consistent": "sslkit_video.specs.augments:TemporallyConsistent",
    },
}
"""Family -> kind -> its class, which the registry imports when a spec names the kind."""


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The kinds of this package."""
    from pkgutil import resolve_name

    return [resolve_name(path) for kinds in KINDS.values() for path in kinds.values()]
