"""The plugin `evaluators`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl

KINDS = {
    "evaluator": {
        "knn": "sslkit_evaluators.specs.probes:KNN",
        "linear": "sslkit_evaluators.specs.probes:LinearProbe",
        "logistic": "sslkit_evaluators.specs.logistic_probes:LogisticRegression",
        "lowshot": "sslkit_evaluators.specs.logistic_probes:LowShot",
        "probing": "sslkit_evaluators.specs.logistic_probes:Probing",
        "retrieval": "sslkit_evaluators.specs.images:Retrieval",
        "robustness": "sslkit_evaluators.specs.images:Robustness",
        "finetune": "sslkit_evaluators.specs.finetuning:Finetune",
        "peft": "sslkit_evaluators.specs.finetuning:PEFT",
        "geometry": "sslkit_evaluators.specs.analysis:FeatureGeometry",
        "attention": "sslkit_evaluators.specs.analysis:AttentionStatistics",
        "dense": "sslkit_evaluators.specs.dense:Dense",
        "concept": "sslkit_evaluators.specs.dense:Concept",
        "reconstruction": "sslkit_evaluators.specs.dense:Reconstruction",
    },
}
"""Family -> kind -> its class, which the registry imports when a spec names the kind."""


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The evaluators of this package."""
    from pkgutil import resolve_name

    return [resolve_name(path) for kinds in KINDS.values() for path in kinds.values()]
