"""The door for plugin authors, without torch: the hook, spec classes and their fields, checks, errors.

Components are in `sslkit.interfaces`. What both export is the stable interface of `API_VERSION` (docs/stability.md).
"""

from __future__ import annotations

from sslkit.core.context import Env, Grid, Length, NetInfo, View
from sslkit.core.problem import Problem
from sslkit.errors import (
    CheckpointError,
    DataError,
    PluginError,
    SpecError,
    SslkitError,
    WorkerError,
    reason_of,
)
from sslkit.registry.hookspecs import hookimpl
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
)
from sslkit.specs.metrics import HIGHER, LOWER, NEITHER, Better, Metric, Metrics
from sslkit.specs.nets import NetSpec
from sslkit.specs.optimizer import OptimizerSpec
from sslkit.specs.partial_defaults import completed_by
from sslkit.specs.patch_counts import part, require_both, visible_count
from sslkit.specs.projection_head import BatchNormMode, Projection, group_problems
from sslkit.specs.protocol_names import own_fields, protocol
from sslkit.specs.readout import Readout
from sslkit.specs.run import RunSpec
from sslkit.specs.schedule import LearningRateSchedule, Ramp, Shape, Value, eased, ends
from sslkit.specs.terms import odd_names
from sslkit.specs.views import ViewSpec

API_VERSION = 1
"""Rises when a name of the doors goes or changes its meaning; names are added without."""

__all__ = [
    "API_VERSION",
    "HIGHER",
    "LOWER",
    "NEITHER",
    "AugmentField",
    "AugmentSpec",
    "BackboneField",
    "BackboneSpec",
    "BalancerField",
    "BalancerSpec",
    "BatchNormMode",
    "Better",
    "CheckpointError",
    "Combined",
    "Count",
    "DataError",
    "Env",
    "EvaluatorField",
    "EvaluatorSpec",
    "Grid",
    "LearningRateSchedule",
    "Length",
    "LoggerField",
    "LoggerSpec",
    "MaskerField",
    "MaskerSpec",
    "Metric",
    "Metrics",
    "NetInfo",
    "NetSpec",
    "ObjectiveField",
    "ObjectiveSpec",
    "OptimizerSpec",
    "PluginError",
    "Problem",
    "Projection",
    "Ramp",
    "Readout",
    "RunSpec",
    "Shape",
    "SourceField",
    "SourceSpec",
    "Spec",
    "SpecError",
    "SslkitError",
    "TargetField",
    "TargetSpec",
    "Value",
    "View",
    "ViewSpec",
    "WorkerError",
    "annotation_of",
    "completed_by",
    "eased",
    "ends",
    "group_problems",
    "hookimpl",
    "odd_names",
    "options",
    "own_fields",
    "part",
    "protocol",
    "reason_of",
    "require_both",
    "slot_default",
    "spec_error",
    "suggest",
    "visible_count",
]
