"""Evaluation of any network after training; a run's own gives the numbers it had during training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple, TypedDict

from sslkit.core.context import Env
from sslkit.core.evaluator import Scores
from sslkit.core.system import System
from sslkit.errors import SpecError, SslkitWarning, StorageError
from sslkit.evaluate.embeddings.evaluate_embeddings import score_embeddings
from sslkit.evaluate.evaluation_sources import Sources, require_splits
from sslkit.evaluate.feature_cache import FEATURES, FeatureStore
from sslkit.evaluate.open_network import Network, of_run, open_network
from sslkit.evaluate.readout import Reading, reading_of
from sslkit.evaluate.shared_images import require_unseen
from sslkit.evaluate.subject import evaluate
from sslkit.evaluate.variants import reference_of, variant_of
from sslkit.evaluate.write_results import About, store
from sslkit.registry.manager import used_plugins
from sslkit.runs.evaluations import StoredEvaluation, Variant, folder_of
from sslkit.runs.lock import package_versions
from sslkit.runs.weights import weights_sha256
from sslkit.runtime.mixed_precision import autocast_of, resolved_precision
from sslkit.runtime.parallel import Parallel, start
from sslkit.runtime.rank_agreement import on_first_rank
from sslkit.specs.evaluation import EvaluationSpec
from sslkit.specs.families import EvaluatorSpec
from sslkit.specs.run import RunSpec
from sslkit.specs.walk import walk


class Outcome(TypedDict):
    """Scores of an evaluation, and where its results were written."""

    step: int
    folder: str
    metrics: dict[str, dict[str, float]]
    """By label."""
    protocols: dict[str, str]
    """By label."""
    variants: dict[str, str]
    """Label -> how it differs from the run's own; empty for the run's own."""
    unreadable: list[str]
    """Why images were left out."""


class Measured(NamedTuple):
    """The results of an evaluation."""

    scores: dict[str, Scores]
    """By label."""
    unreadable: set[str]
    """Why images were left out."""
    variants: dict[str, str]
    """Label -> how what was written differs from the run's own; empty for the run's own."""


def evaluate_run(run_dir: Path, which: str = "last", only: Sequence[str] = (), keep: bool = False) -> Outcome:
    """Run the evaluators of the run in `run_dir` on one of its checkpoints; write their results to `evaluations/`.

    Args:
        run_dir: the run folder.
        which: `last`, `best`, or the name of a checkpoint.
        only: labels of the evaluators to run; all of them if empty.
        keep: whether features are kept in the run folder, for the next time.

    Raises:
        SpecError: the run has no evaluators, or none of that label.
        CheckpointError: there is no such checkpoint.
    """
    return _evaluated(of_run(run_dir, which), only, keep)


def evaluate_spec(spec: EvaluationSpec, only: Sequence[str] = (), keep: bool = False) -> Outcome:
    """Run the evaluation `spec`; write the results to `evaluations/` in its folder.

    Raises:
        SpecError: the protocols do not fit the network, or there is none of that label.
        CheckpointError: a run, checkpoint or file is missing or damaged.
        DataError: images or labels are missing.
        StorageError: results could not be written; its notes have them.
    """
    if spec.features is not None:
        return _of_embeddings(spec, only)
    return _evaluated(open_network(spec), only, keep)


def _of_embeddings(spec: EvaluationSpec, only: Sequence[str]) -> Outcome:
    """Every rank computes the same scores; the first writes them."""
    assert spec.out is not None, "the spec checks itself"
    parallel = start(spec.device)
    try:
        results, about, variants = score_embeddings(spec, _wanted(spec.evaluate, spec.out, only), parallel)
    finally:
        parallel.close()
    return {
        "step": about.step,
        "folder": str(folder_of(spec.out, about.step)),
        "metrics": {label: dict(scores.metrics) for label, scores in results.items()},
        "protocols": {e.label: e.build().protocol for e in spec.evaluate if e.label in results},
        "variants": variants,
        "unreadable": sorted(one.reason for one in about.unreadable),
    }


def _evaluated(network: Network, only: Sequence[str], keep: bool) -> Outcome:
    results, unreadable, variants = measure(network, only, keep)
    return {
        "step": network.step,
        "folder": str(folder_of(network.folder, network.step)),
        "metrics": {label: dict(scores.metrics) for label, scores in results.items()},
        "protocols": {e.label: e.build().protocol for e in network.spec.evaluate if e.label in results},
        "variants": variants,
        "unreadable": sorted(unreadable),
    }


def measure(network: Network, only: Sequence[str] = (), keep: bool = False, write: bool = True) -> Measured:
    """The scores of each evaluator, by label.

    Args:
        network: what is measured.
        only: labels of the evaluators to run; all of them if empty.
        keep: whether features are kept in its folder.
        write: whether results are written there.
    """
    wanted = _wanted(network.spec.evaluate, network.folder, only)
    parallel = start(network.spec.device)
    try:
        return _measured(network, wanted, parallel, keep, write)
    finally:
        parallel.close()


def _wanted(
    evaluators: Sequence[EvaluatorSpec], folder: Path, only: Sequence[str]
) -> dict[int, EvaluatorSpec]:
    """The evaluators to run, by their place in the spec."""
    labels = [e.label for e in evaluators]
    if not labels:
        raise SpecError(f"{folder}: its spec has no `evaluate`, so there is nothing to run")
    for label in only:
        if label not in labels:
            raise SpecError(f"{label!r} is not an evaluator of this run. Known: {', '.join(labels)}")
    return {i: e for i, e in enumerate(evaluators) if not only or e.label in only}


def _measured(
    network: Network, wanted: Mapping[int, EvaluatorSpec], parallel: Parallel, keep: bool, write: bool
) -> Measured:
    spec, unreadable, sources = network.spec, set[str](), Sources()
    channels = (
        network.view.channels if network.view.transform is None else None
    )  # of what it makes, not of images
    require_splits(wanted, spec.data, sources, channels, network.net, network.spec.readout.pool)
    on_first_rank(parallel, lambda: _tell_shared(wanted, spec, sources))
    reading = reading_for(network, parallel, unreadable.add)
    digest = weights_sha256(network.net)
    features = kept_features(network, reading, digest) if keep and parallel.world == 1 else None
    results = evaluate(network.net, wanted, spec.data, reading, sources, features)
    variants: dict[str, str] = {}
    if write and parallel.first:
        folder, reference = folder_of(network.folder, network.step), reference_of(network)
        run = None if reference is None else reference.run
        left_out = tuple(sorted(unreadable))
        about = About(network.folder, network.step, digest, network.checkpoint, left_out, run)

        def name(evaluator: EvaluatorSpec, record: StoredEvaluation) -> Variant:
            variant = variant_of(evaluator, spec.data, record, folder, reference)
            variants[evaluator.label] = variant.words
            return variant

        try:
            store(about, wanted, results, spec.data, reading, sources, name)
        except StorageError as error:  # as on a full disk: the error at least carries the scores
            for label, scores in results.items():
                error.add_note(f"{label}: " + ", ".join(f"{k} {v:.4g}" for k, v in scores.metrics.items()))
            raise
    return Measured(results, unreadable, variants)


def _tell_shared(wanted: Mapping[int, EvaluatorSpec], spec: RunSpec, sources: Sources) -> None:
    for line in require_unseen(wanted, spec.data, sources, spec.max_duplicates):
        warnings.warn(line, SslkitWarning, stacklevel=2)


def _opened(network: Network, parallel: Parallel) -> Callable[[], tuple[System, Env]] | None:
    """Builds the run of `network` at the first call, on the device and in evaluation mode."""
    objectives = network.objectives
    if objectives is None:
        return None

    @cache
    def build() -> tuple[System, Env]:
        system, env = objectives()
        return system.to(parallel.device).eval(), env

    return build


def reading_for(network: Network, parallel: Parallel, unreadable: Callable[[str], None]) -> Reading:
    """How `network` is read, which moves to the device of `parallel`; `unreadable` gets why an image is left out."""
    spec = network.spec
    network.net.to(parallel.device)
    open_run = _opened(network, parallel)
    reading = reading_of(
        spec,
        network.view,
        parallel,
        partial(autocast_of, resolved_precision(spec, parallel.device), parallel.device),
        lambda source, index, reason: unreadable(reason),
        open_run() if open_run is not None and spec.readout.head is not None else None,
    )
    return reading._replace(open_run=open_run)


def kept_features(network: Network, reading: Reading, digest: str) -> FeatureStore:
    """The features in the folder of `network`, whose weights have the hash `digest`."""
    device = reading.loading.parallel.device
    about = {
        "weights": digest,
        "network": _network(network),
        "versions": {**package_versions(), **used_plugins(part for _, part in walk(network.spec.backbone))},
        "head": None if reading.head is None else weights_sha256(reading.head),
        "readout": reading.readout.model_dump(mode="json"),
        "view": network.view.seen(),
        "precision": resolved_precision(network.spec, device),
        "device": device.type,
    }
    return FeatureStore(network.folder / FEATURES, about)


def _network(network: Network) -> dict[str, object]:
    """The specs that decide, beside the weights, the features of an image."""
    spec = network.spec
    backbone = spec.backbone_of(spec.readout.net)
    objectives = {} if spec.readout.head is None else {term.name: term.spec for term in spec.all_terms()}
    return {name: part.model_dump(mode="json") for name, part in {**objectives, "backbone": backbone}.items()}
