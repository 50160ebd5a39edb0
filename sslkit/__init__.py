"""sslkit: self-supervised visual learning built around a plugin registry.

`import sslkit` imports neither torch nor pydantic. Spec classes of installed plugins (`MAE`, `RandomMasker`, ...)
are attributes of this package: they are looked up in the registry at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sslkit import catalog

if TYPE_CHECKING:
    from sslkit.catalog import Kinds

_PUBLIC = {
    "Run": "sslkit.api",
    "Result": "sslkit.api",
    "check_images": "sslkit.analysis.image_data.image_faults",
    "compare": "sslkit.analysis.compare.compare_runs",
    "compose": "sslkit.train.compose",
    "load_backbone": "sslkit.api",
    "extend_run": "sslkit.api",
    "embed": "sslkit.evaluate.embeddings.embed_images",
    "load_embeddings": "sslkit.evaluate.embeddings.embedding_file",
    "export": "sslkit.evaluate.exports.export_model",
    "evaluate_network": "sslkit.evaluate.user_module",
    "draw_inputs": "sslkit.analysis.image_data.network_inputs",
    "image_statistics": "sslkit.analysis.image_data.image_statistics",
    "fit_joint": "sslkit.analysis.scaling.fit",
    "fit_power_law": "sslkit.analysis.scaling.fit",
    "register": "sslkit.registry.registered",
    "resume_run": "sslkit.api",
    "sweep": "sslkit.analysis.sweep.run_cells",
    "RunSpec": "sslkit.specs.run",
    "Ramp": "sslkit.specs.schedule",
    "LearningRateSchedule": "sslkit.specs.schedule",
    "ViewSpec": "sslkit.specs.views",
    "Normalize": "sslkit.specs.views",
    "NetSpec": "sslkit.specs.nets",
    "OptimizerSpec": "sslkit.specs.optimizer",
    "StartFrom": "sslkit.specs.start_from",
    "SplitSpec": "sslkit.specs.split",
    "Readout": "sslkit.specs.readout",
    "CheckpointSpec": "sslkit.specs.checkpoints",
    "LogSpec": "sslkit.specs.logging",
    "CompileSpec": "sslkit.specs.compilation",
    "Interrupted": "sslkit.errors",
    "SslkitError": "sslkit.errors",
    "hookimpl": "sslkit.registry.hookspecs",
}


def _kinds(family: str) -> Kinds:
    from sslkit.registry.manager import registry

    return registry().kinds(family)


def _why_missing(family: str, kind: str) -> str:
    from sslkit.registry.manager import registry

    return registry().why_missing(family, kind)


catalog.provide(_kinds, _why_missing)


def __getattr__(name: str) -> object:
    """Public names of the core, then spec classes of installed plugins (PEP 562)."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    if name == "__version__":  # what reads metadata takes longer to import than all else that `--help` needs
        from importlib import metadata

        return metadata.version("sslkit")
    if not name.startswith("_"):
        from sslkit.registry.manager import registry

        cls = registry().find(name)
        if cls is not None:
            return cls
    raise AttributeError(
        f"module 'sslkit' has no attribute {name!r}; `sslkit plugins list` shows what is installed"
    )


def __dir__() -> list[str]:
    """Public names, the plugins' spec classes included."""
    from sslkit.registry.manager import registry

    return sorted({*_PUBLIC, *registry().class_names})
