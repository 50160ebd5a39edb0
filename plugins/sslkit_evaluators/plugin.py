"""The plugin `evaluators`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl
from sslkit_evaluators.specs.analysis import AttentionStatistics, FeatureGeometry
from sslkit_evaluators.specs.dense import Concept, Dense, Reconstruction
from sslkit_evaluators.specs.finetuning import PEFT, Finetune
from sslkit_evaluators.specs.images import Retrieval, Robustness
from sslkit_evaluators.specs.logistic_probes import LogisticRegression, LowShot, Probing
from sslkit_evaluators.specs.probes import KNN, LinearProbe


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The evaluators of this package."""
    return [
        KNN,
        LinearProbe,
        LogisticRegression,
        LowShot,
        Probing,
        Retrieval,
        Robustness,
        Finetune,
        PEFT,
        FeatureGeometry,
        AttentionStatistics,
        Dense,
        Concept,
        Reconstruction,
    ]
