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
    "backbone": {"video_vit": "sslkit_video.specs.networks:VideoViT"},
    "masker": {
        "tube": "sslkit_video.specs.masks:Tube",
        "frame": "sslkit_video.specs.masks:FrameMasker",
        "causal": "sslkit_video.specs.masks:Causal",
        "motion": "sslkit_video.specs.masks:MotionMasker",
    },
    "target": {"cubelet": "sslkit_video.specs.masked:Cubelet"},
    "objective": {"videomae": "sslkit_video.specs.masked:VideoMAE"},
}
"""Family -> kind -> its class, which the registry imports when a spec names the kind."""


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The kinds of this package."""
    from sslkit_video.specs.files import FrameFolders, VideoFolder
    from sslkit_video.specs.frames import Frames
    from sslkit_video.specs.masked import Cubelet, VideoMAE
    from sslkit_video.specs.masks import Causal, FrameMasker, MotionMasker, Tube
    from sslkit_video.specs.networks import VideoViT
    from sslkit_video.specs.sources import MovingDigits

    return [
        MovingDigits,
        VideoFolder,
        FrameFolders,
        Frames,
        VideoViT,
        Tube,
        FrameMasker,
        Causal,
        MotionMasker,
        Cubelet,
        VideoMAE,
    ]
