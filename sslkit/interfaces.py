"""The door for plugin authors, with torch: the classes that components derive from, and what they get and return.

Specs are in `sslkit.plugin`, which also says what is stable (`API_VERSION`, docs/stability.md).
"""

from __future__ import annotations

from sslkit.core.augment import Augment, to_float, to_uint8
from sslkit.core.backbone import Attentions, Backbone, Exported
from sslkit.core.balancer import Balancer, Space
from sslkit.core.evaluator import Evaluator, Features, Predictions, Rows, Scores, Setting, Split, Subject
from sslkit.core.fingerprint import SIZE, digest, fingerprint_of, stacked
from sslkit.core.logger import Logger
from sslkit.core.masker import Masker, Scene, make_mask
from sslkit.core.objective import Objective, Part
from sslkit.core.passes import Encode, Mask, Mode, Output, Pictures, Request, Tokens
from sslkit.core.random_stream import Draw
from sslkit.core.source import Source
from sslkit.core.system import System
from sslkit.core.target import Target
from sslkit.data.content_hash import digests_of_files, digests_within, state_of
from sslkit.data.crops import Pipeline
from sslkit.data.decoding_workers import Loading
from sslkit.data.loaders import Feed, ResidentFeed, WorkerFeed, on_device
from sslkit.data.resident import resident
from sslkit.data.sampler import Order, Share
from sslkit.evaluate.evaluator_checks import (
    attribute_problems,
    class_problems,
    holdout_problems,
    layer_problems,
)
from sslkit.evaluate.export_part import Loaded, read_part
from sslkit.optim import optimizer
from sslkit.runs.figures import save_pictures
from sslkit.runtime import seeds
from sslkit.runtime.atomic_files import write_text
from sslkit.runtime.mixed_precision import autocast_of
from sslkit.runtime.mps import exact_device
from sslkit.statistics import mean_interval

__all__ = [
    "SIZE",
    "Attentions",
    "Augment",
    "Backbone",
    "Balancer",
    "Draw",
    "Encode",
    "Evaluator",
    "Exported",
    "Features",
    "Feed",
    "Loaded",
    "Loading",
    "Logger",
    "Mask",
    "Masker",
    "Mode",
    "Objective",
    "Order",
    "Output",
    "Part",
    "Pictures",
    "Pipeline",
    "Predictions",
    "Request",
    "ResidentFeed",
    "Rows",
    "Scene",
    "Scores",
    "Setting",
    "Share",
    "Source",
    "Space",
    "Split",
    "Subject",
    "System",
    "Target",
    "Tokens",
    "WorkerFeed",
    "attribute_problems",
    "autocast_of",
    "class_problems",
    "digest",
    "digests_of_files",
    "digests_within",
    "exact_device",
    "fingerprint_of",
    "holdout_problems",
    "layer_problems",
    "make_mask",
    "mean_interval",
    "on_device",
    "optimizer",
    "read_part",
    "resident",
    "save_pictures",
    "seeds",
    "stacked",
    "state_of",
    "to_float",
    "to_uint8",
    "write_text",
]
