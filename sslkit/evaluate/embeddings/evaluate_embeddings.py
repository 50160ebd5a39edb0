"""Evaluation of files of embeddings, without the network or its images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from sslkit.core.evaluator import Scores
from sslkit.core.problem import Problem
from sslkit.core.view import View
from sslkit.errors import DataError
from sslkit.evaluate.embeddings.embedding_file import About, read_about
from sslkit.evaluate.embeddings.partial_rows import in_words
from sslkit.evaluate.embeddings.stored_features import StoredFeatures, StoredSubject
from sslkit.evaluate.evaluation_sources import Sources, require_splits
from sslkit.evaluate.features import Loading
from sslkit.evaluate.readout import Reading
from sslkit.evaluate.subject import score
from sslkit.evaluate.variants import variant_of
from sslkit.evaluate.write_results import About as Written
from sslkit.evaluate.write_results import store
from sslkit.runs.evaluations import StoredEvaluation, Variant, folder_of
from sslkit.runtime import seeds
from sslkit.runtime.parallel import Parallel
from sslkit.specs.evaluation import EvaluationSpec
from sslkit.specs.families import EvaluatorSpec
from sslkit.specs.readout import Readout

ALIKE = ("weights_sha256", "head_sha256", "net", "tokens", "layer", "view", "crop", "shape")
"""What the embeddings of both splits have in common."""


def score_embeddings(
    spec: EvaluationSpec, wanted: Mapping[int, EvaluatorSpec], parallel: Parallel
) -> tuple[dict[str, Scores], About, dict[str, str]]:
    """Scores of the embeddings that `spec` names, written to its folder; what the training file says; variants.

    Raises:
        DataError: a file is missing or damaged, both are not of one network, or an evaluator needs images.
        StorageError: results could not be written.
    """
    assert spec.features is not None, "the spec checks itself"
    assert spec.out is not None, "the spec checks itself"
    data = StoredFeatures(train=spec.features, test=spec.test_features)
    about = read_about(spec.features)
    _require_alike(about, spec)
    _require_no_images(wanted)
    sources = Sources()
    view = View(**about.view.model_dump())
    require_splits(wanted, data, sources)
    results = score(
        wanted,
        lambda evaluator: StoredSubject(
            data, sources, view, seeds.key(spec.seed, "evaluate", evaluator.label)
        ),
    )
    variants: dict[str, str] = {}
    if parallel.first:
        folder = folder_of(spec.out, about.step)

        def name(evaluator: EvaluatorSpec, record: StoredEvaluation) -> Variant:
            variant = variant_of(evaluator, data, record, folder, None)
            variants[evaluator.label] = variant.words
            return variant

        left_out = tuple(sorted({one.reason for one in about.unreadable}))
        written = Written(spec.out, about.step, about.weights_sha256, None, left_out)
        store(written, wanted, results, data, _reading(about, view, parallel, spec.seed), sources, name)
    return results, about, variants


def _require_alike(about: About, spec: EvaluationSpec) -> None:
    """Pass where the test embeddings, if there are any, are of the same network, read alike, and of other images."""
    if spec.test_features is None:
        return
    train, test = (one.model_dump(mode="json") for one in (about, read_about(spec.test_features)))
    differing = [name for name in ALIKE if train[name] != test[name]]
    if differing:
        raise DataError(
            f"{spec.test_features}: is of another network or reading than {spec.features} "
            f"({in_words(differing, train, test)}); take both with the same options"
        )
    if train["fingerprint"] == test["fingerprint"]:
        raise DataError(
            f"{spec.test_features}: is of the same images as {spec.features}, so that what was learned from would be "
            "scored; take the embeddings of another `--split` or other images"
        )


def _require_no_images(wanted: Mapping[int, EvaluatorSpec]) -> None:
    lines = [
        f"evaluate.{place}{problem.path}: {problem.message}" for place, problem in _image_problems(wanted)
    ]
    if lines:
        raise DataError("\n".join(lines))


def _image_problems(wanted: Mapping[int, EvaluatorSpec]) -> Iterator[tuple[int, Problem]]:
    for place, spec in wanted.items():
        if spec.build().reads_images:
            reason = f"{spec.kind_name()!r} reads images or the network, and a file of embeddings has none"
            yield place, Problem("", f"{reason}; evaluate the run, or leave it out")
        for field in ("train", "test"):
            if getattr(spec, field) is not None:
                yield place, Problem(f".{field}", "names images, and embeddings are evaluated; leave it out")


def _reading(about: About, view: View, parallel: Parallel, seed: int) -> Reading:
    """How the embeddings were taken, as results record it."""
    readout = Readout(
        net=about.net,
        layer=about.layer,
        pool="mean" if about.tokens == "mean" else "cls",
        crop=about.crop,
        batch_size=about.batch_size,
    )
    loading = Loading(view, about.crop, about.batch_size, 0, parallel, lambda source, index, reason: None)
    return Reading(readout, loading, contextlib.nullcontext, seed)
