"""The front door for plugin authors, with torch: the classes of components, what they get, what they return.

Specs come from `sslkit.plugin`. What both export is the stable interface (docs/stability.md). What few components
need, and takes long to import, is imported when it is asked for.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING

from sslkit.core.augment import Augment, as_stored, to_float, to_uint8
from sslkit.core.backbone import Attentions, Backbone, Exported, HuggingFaceModel
from sslkit.core.balancer import Balancer, Space
from sslkit.core.evaluator import Evaluator, Features, Predictions, Rows, Scores, Setting, Split, Subject
from sslkit.core.fingerprint import SIZE, digest, fingerprint_of, stacked
from sslkit.core.logger import Logger
from sslkit.core.masker import Masker, Scene, make_mask
from sslkit.core.objective import Objective, Part
from sslkit.core.passes import Encode, Mask, Mode, Output, Patches, Pictures, Request, Tokens
from sslkit.core.pixel_range import PixelRange, resolve_range, to_pixels
from sslkit.core.random_stream import Draw
from sslkit.core.source import Blocks, Source, readable_samples
from sslkit.core.system import System
from sslkit.core.target import Target
from sslkit.core.transform import CropPlace, Transform, bytes_of, text_of
from sslkit.data.content_hash import cache_folder, digests_of_files, digests_within, state_of
from sslkit.data.crops import Pipeline
from sslkit.data.decoding_workers import Loading
from sslkit.data.kept_folders import FolderNames, KeptFolders
from sslkit.data.loaders import Feed, ResidentFeed, WorkerFeed, on_device
from sslkit.data.resident import resident
from sslkit.data.sampler import BatchShare, Order
from sslkit.data.texts import Packed, Texts, packed
from sslkit.evaluate.evaluator_checks import (
    attribute_problems,
    class_problems,
    holdout_problems,
    layer_problems,
)
from sslkit.evaluate.matched_names import matched_by_name
from sslkit.functional.all_gather import all_rows
from sslkit.functional.patches import patchify, unpatchify
from sslkit.nn.token_target import TokenTarget, token_target
from sslkit.runtime import seeds
from sslkit.runtime.array_file import read_arrays
from sslkit.runtime.atomic_files import write_text, write_whole
from sslkit.runtime.mixed_precision import autocast_of
from sslkit.runtime.mps import exact_device

if TYPE_CHECKING:
    from sslkit.data.decoding.decode import Decoder, decoder_of
    from sslkit.data.decoding.first_images import settled_decoder
    from sslkit.data.decoding.image_limits import open_image
    from sslkit.evaluate.export_part import Loaded, read_part
    from sslkit.optim import optimizer
    from sslkit.runs.figures import save_pictures
    from sslkit.statistics import mean_interval

# Components: the class that each family derives from.
__all__ = [
    "Augment",
    "Backbone",
    "Balancer",
    "Evaluator",
    "Logger",
    "Masker",
    "Objective",
    "Source",
    "Target",
    "Transform",
]

# Passes: what is asked of a backbone, and what comes back.
__all__ += [
    "Encode",
    "Mask",
    "Mode",
    "Request",
    "Tokens",
    "all_rows",
    "patchify",
    "unpatchify",
]

# What maskers, augmentations and balancers get, and whence all randomness comes.
__all__ += [
    "Draw",
    "Scene",
    "Space",
    "as_stored",
    "make_mask",
    "seeds",
    "to_float",
    "to_uint8",
    "write_text",
]

# What objectives and backbones return.
__all__ += [
    "Attentions",
    "Exported",
    "HuggingFaceModel",
    "Output",
    "Part",
    "Patches",
    "Pictures",
]

# Targets: tokens of a tokenizer that a plugin brings.
__all__ += [
    "TokenTarget",
    "token_target",
]

# Evaluators: what they get, what they return, what they check before a run.
__all__ += [
    "Features",
    "Predictions",
    "Rows",
    "Scores",
    "Setting",
    "Split",
    "Subject",
    "System",
    "attribute_problems",
    "class_problems",
    "holdout_problems",
    "layer_problems",
    "matched_by_name",
    "mean_interval",
    "save_pictures",
]

# Sources: images that lie together, which training reads one soon after the other.
__all__ += [
    "Blocks",
]

# Sources and transforms: text as it travels; which crop a transform makes.
__all__ += [
    "CropPlace",
    "bytes_of",
    "readable_samples",
    "text_of",
]

# Sources: stored values as pixels in [0, 1].
__all__ += [
    "PixelRange",
    "resolve_range",
    "to_pixels",
]

# Sources: image files, decoded as the fields of a spec ask for.
__all__ += [
    "Decoder",
    "decoder_of",
    "open_image",
    "settled_decoder",
]

# Files that may be deleted, which save reading the same again.
__all__ += [
    "FolderNames",
    "KeptFolders",
    "Packed",
    "Texts",
    "cache_folder",
    "packed",
    "read_arrays",
    "write_whole",
]

# Sources: fingerprints of their content.
__all__ += [
    "SIZE",
    "digest",
    "digests_of_files",
    "digests_within",
    "fingerprint_of",
    "stacked",
    "state_of",
]

# Training inside an evaluator: images as a run's own training gets them, and its steps.
__all__ += [
    "BatchShare",
    "Feed",
    "Loading",
    "Order",
    "Pipeline",
    "ResidentFeed",
    "WorkerFeed",
    "autocast_of",
    "exact_device",
    "on_device",
    "optimizer",
    "resident",
]

# What `sslkit export --part` wrote.
__all__ += [
    "Loaded",
    "read_part",
]

_LATER = {
    "Decoder": "sslkit.data.decoding.decode:Decoder",
    "Loaded": "sslkit.evaluate.export_part:Loaded",
    "decoder_of": "sslkit.data.decoding.decode:decoder_of",
    "mean_interval": "sslkit.statistics:mean_interval",
    "open_image": "sslkit.data.decoding.image_limits:open_image",
    "optimizer": "sslkit.optim.optimizer",
    "read_part": "sslkit.evaluate.export_part:read_part",
    "save_pictures": "sslkit.runs.figures:save_pictures",
    "settled_decoder": "sslkit.data.decoding.first_images:settled_decoder",
}
"""Name -> where it is, for those that bring timm, matplotlib, SciPy, decoders or the reading of checkpoints."""


if not TYPE_CHECKING:  # for a type checker every name would be there

    def __getattr__(name: str) -> object:
        """Import what `_LATER` lists at its first use."""
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = resolve_name(_LATER[name])
        return value
