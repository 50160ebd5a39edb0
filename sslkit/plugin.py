"""The front door for plugin authors, without torch: the hook, specs and their fields, checks, errors.

Components come from `sslkit.interfaces`. What both export is the stable interface (docs/stability.md).
"""

from __future__ import annotations

from sslkit.core.context import Env, Length, NetInfo
from sslkit.core.problem import Problem
from sslkit.core.view import Grid, Size, Stream, View, sides_of
from sslkit.errors import (
    CheckpointError,
    DataError,
    PluginError,
    SpecError,
    SslkitError,
    SslkitWarning,
    WorkerError,
    reason_of,
)
from sslkit.files.image_endings import readable_endings
from sslkit.files.regular import read_bytes, read_text, require_regular
from sslkit.files.typed_json import JsonFile
from sslkit.registry.hookspecs import hookimpl
from sslkit.specs.attribute_values import Values, names_of, value_numbers
from sslkit.specs.base import Count, Spec, slot_default
from sslkit.specs.error_location import annotation_of, options
from sslkit.specs.error_text import spec_error, suggest
from sslkit.specs.families import (
    AugmentField,
    AugmentSpec,
    BackboneField,
    BackboneSpec,
    BalancerField,
    BalancerSpec,
    Combined,
    EvaluatorField,
    EvaluatorSpec,
    LoggerField,
    LoggerSpec,
    MaskerField,
    MaskerSpec,
    ObjectiveField,
    ObjectiveSpec,
    SourceField,
    SourceSpec,
    TargetField,
    TargetSpec,
    TransformField,
    TransformSpec,
)
from sslkit.specs.listed_files import FolderRules, ListedFiles, ListingFile, listed_files, test_split_conflict
from sslkit.specs.listing_columns import ListingColumns
from sslkit.specs.metrics import HIGHER, LOWER, NEITHER, Better, Metric, Metrics
from sslkit.specs.nets import NetSpec
from sslkit.specs.optimizer import OptimizerSpec
from sslkit.specs.partial_defaults import completed_by
from sslkit.specs.pixel_fields import Alpha, Bands, require_fitting
from sslkit.specs.pixel_range import Range
from sslkit.specs.projection_head import BatchNormMode, Projection, group_problems
from sslkit.specs.protocol_names import own_fields, protocol
from sslkit.specs.python_objects import Held, holding, missing_objects
from sslkit.specs.readout import Readout
from sslkit.specs.references import AverageName, CopyName, NetName, Reference, TrainedName, ViewName
from sslkit.specs.run import RunSpec
from sslkit.specs.schedule import LearningRateSchedule, Ramp, Shape, Value, eased, ends
from sslkit.specs.split import SplitSpec
from sslkit.specs.split_names import split_of, splits_in
from sslkit.specs.terms import odd_names
from sslkit.specs.views import ViewSpec

API_VERSION = 1
"""Version of what `sslkit.plugin` and `sslkit.interfaces` export. It rises when a name goes or changes its meaning."""

# The hook, and what these names promise.
__all__ = [
    "API_VERSION",
    "hookimpl",
]

# Specs: the base of each family, and the type of a field that holds one of it.
__all__ += [
    "AugmentField",
    "AugmentSpec",
    "BackboneField",
    "BackboneSpec",
    "BalancerField",
    "BalancerSpec",
    "EvaluatorField",
    "EvaluatorSpec",
    "LoggerField",
    "LoggerSpec",
    "MaskerField",
    "MaskerSpec",
    "ObjectiveField",
    "ObjectiveSpec",
    "SourceField",
    "SourceSpec",
    "Spec",
    "TargetField",
    "TargetSpec",
    "TransformField",
    "TransformSpec",
]

# Fields: types of values, and defaults.
__all__ += [
    "AverageName",
    "CopyName",
    "Count",
    "LearningRateSchedule",
    "NetName",
    "Ramp",
    "Range",
    "Reference",
    "Shape",
    "TrainedName",
    "Value",
    "ViewName",
    "completed_by",
    "eased",
    "ends",
    "slot_default",
]

# Fields of sources that decode image files, and the endings of those that can be read.
__all__ += [
    "Alpha",
    "Bands",
    "readable_endings",
    "require_fitting",
]

# What `build` is told of the run: its views, networks, patches and length.
__all__ += [
    "Env",
    "Grid",
    "Length",
    "NetInfo",
    "Size",
    "View",
    "sides_of",
]

# What sources give of every sample.
__all__ += [
    "Stream",
]

# What `problems` and `unused` read and yield.
__all__ += [
    "Combined",
    "Problem",
    "RunSpec",
    "annotation_of",
    "odd_names",
    "options",
    "suggest",
]

# Errors for people; each says what was wrong, where, and what to do.
__all__ += [
    "CheckpointError",
    "DataError",
    "PluginError",
    "SpecError",
    "SslkitError",
    "SslkitWarning",
    "WorkerError",
    "reason_of",
    "spec_error",
]

# Objects of Python in the fields of a spec, as datasets and modules.
__all__ += [
    "Held",
    "holding",
    "missing_objects",
]

# Files that anybody may have written: regular ones, and JSON of the shape that is expected.
__all__ += [
    "JsonFile",
    "read_bytes",
    "read_text",
    "require_regular",
]

# Which files a source reads: listings, splits by name, attributes as numbers of their values.
__all__ += [
    "FolderRules",
    "ListedFiles",
    "ListingColumns",
    "ListingFile",
    "Values",
    "listed_files",
    "names_of",
    "split_of",
    "splits_in",
    "test_split_conflict",
    "value_numbers",
]

# Parts of a run that a spec may hold.
__all__ += [
    "NetSpec",
    "OptimizerSpec",
    "Readout",
    "SplitSpec",
    "ViewSpec",
]

# What evaluators report, and what their protocols are called.
__all__ += [
    "HIGHER",
    "LOWER",
    "NEITHER",
    "Better",
    "Metric",
    "Metrics",
    "own_fields",
    "protocol",
]

# Projection heads and their batch norm.
__all__ += [
    "BatchNormMode",
    "Projection",
    "group_problems",
]
