"""Groups runs into settings (seeds of one spec), and checks that their evaluations are comparable."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import DataError, SpecError
from sslkit.runs.evaluations import NAMING, Evaluation, evaluations
from sslkit.runs.lock import read_lock
from sslkit.specs.load import parse_as
from sslkit.specs.run import RunSpec
from sslkit.specs.walk import children

SPEED = ("out", "workers", "name", "parallel", "resident", "augment_on", "max_parts")
"""Fields of a run that change no number, or low bits at most."""
WEIGHTLESS = (*SPEED, "seed", "evaluate", "checkpoint", "log")
"""Fields of a run that make no other setting: the seed, and those that leave the weights as they are."""
LENGTH = ("epochs", "steps", "batch_size")
"""Fields that say how long a run trains."""

ROUNDING = 1e-5
"""Tolerance between a stored accuracy and that of the stored predictions."""


class Entry(NamedTuple):
    """One run and its evaluations."""

    run_dir: Path
    spec: Mapping[str, Any]
    """The locked one."""
    results: Mapping[str, Evaluation]
    resolved: Mapping[str, Any] = {}
    """What was resolved from the spec, such as steps and FLOPs."""
    images: str | None = None
    """Fingerprint of the training images; None where the run did not record it."""

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.spec["seed"])

    def headline(self, label: str) -> float:
        """The first metric of an evaluation. Raises DataError where it is no finite number."""
        evaluation = self.results[label]
        value = evaluation.metrics[evaluation.headline]
        if value is None or not math.isfinite(value):
            raise DataError(
                f"{evaluation.path}: `{evaluation.headline}` is no finite number, so there is nothing to compare"
            )
        return float(value)

    def correct(self, label: str) -> NDArray[np.bool_] | None:
        """`[N]` which images were right; None without predictions, or where the headline is not their accuracy."""
        predictions = self.results[label].predictions()
        if predictions is None or not len(predictions.labels):
            return None
        right = predictions.correct
        return right if abs(right.mean() - self.headline(label)) < ROUNDING else None


class Group(NamedTuple):
    """One setting."""

    name: str
    entries: tuple[Entry, ...]
    """By seed."""


def read_entries(run_dirs: Sequence[Path], step: int | None) -> list[Entry]:
    """The runs with their evaluations, at `step` or the last ones.

    Raises:
        SpecError: no run is given, or one is given twice.
        CheckpointError: a folder holds no run, or no such evaluations.
    """
    if not run_dirs:
        raise SpecError("nothing to compare: give the folders of runs")
    for one, other in combinations(run_dirs, 2):
        if one.resolve() == other.resolve():
            raise SpecError(f"{one} is given twice: a run cannot be compared with itself")
    locks = {path: read_lock(path) for path in run_dirs}
    return [
        Entry(path, _complete(lock["spec"]), evaluations(path, step), lock["resolved"], _images(lock))
        for path, lock in locks.items()
    ]


def _complete(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """`spec` with the fields that later versions added, so that seeds of two versions are one setting."""
    try:
        return parse_as(RunSpec, spec).model_dump(mode="json")
    except SpecError:  # of a kind that no plugin offers here
        return spec


def _images(lock: Mapping[str, Any]) -> str | None:
    record = (lock.get("data") or {}).get("data.train") or {}
    return record.get("fingerprint")


def grouped(entries: Sequence[Entry]) -> list[Group]:
    """Runs that differ only in their seed, together, in the order given.

    Images are the same where their content is, wherever they lie; where a run did not record it, where its spec is.

    Raises:
        SpecError: two runs are the same in everything, the seed included.
    """
    by_setting: dict[str, list[Entry]] = {}
    by_content = all(entry.images is not None for entry in entries)
    for entry in entries:
        fields = setting_of(entry)
        if by_content:
            fields["data"] = entry.images
        by_setting.setdefault(repr(sorted(leaves(fields))), []).append(entry)
    members = [sorted(group, key=lambda entry: entry.seed) for group in by_setting.values()]
    for group in members:
        for one, other in pairwise(group):
            if one.seed == other.seed:
                raise SpecError(
                    f"{one.run_dir} and {other.run_dir} are one setting with one seed ({one.seed}): they are no "
                    "two samples of it. Leave one out, or train it with another seed"
                )
    return [Group(name, tuple(group)) for name, group in zip(_names(members), members, strict=True)]


def setting_of(entry: Entry) -> dict[str, object]:
    """The fields of the run's spec that decide what it learns, without the seed."""
    return {key: value for key, value in entry.spec.items() if key not in WEIGHTLESS}


def differing(groups: Sequence[Group]) -> dict[str, tuple[str, ...]]:
    """Path in the spec -> its value in each setting, of all fields that are not the same in all; - where absent.

    The length of the run comes first, then what all settings have, and last what only some of them have.
    """
    specs = [dict(leaves(setting_of(group.entries[0]))) for group in groups]
    contents = [group.entries[0].images for group in groups]
    if None not in contents and len(set(contents)) == 1:
        specs = [
            {path: value for path, value in spec.items() if path.split(".")[0] != "data"} for spec in specs
        ]
    elif None not in contents:
        specs = [{**spec, "images": str(content)[:12]} for spec, content in zip(specs, contents, strict=True)]
    paths = dict.fromkeys(path for spec in specs for path in spec)
    values = {path: tuple(spec.get(path, "-") for spec in specs) for path in paths}
    differ = [path for path, row in values.items() if len(set(row)) > 1]
    differ.sort(key=lambda path: (path not in LENGTH, not all(path in spec for spec in specs)))
    return {path: values[path] for path in differ}


def leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """(dotted path, value) of everything in nested mappings and lists."""
    inside = list(children(value))
    if not inside:
        yield path, str(value)
    for key, inner in inside:
        yield from leaves(inner, f"{path}.{key}" if path else str(key))


def _names(groups: Sequence[Sequence[Entry]]) -> list[str]:
    """Of each setting: the name that its runs share, or what their folders begin with; no two alike."""
    choices = [_candidates(group) for group in groups]
    for names in zip(*choices, strict=True):
        if len(set(names)) == len(names) and all(names):
            return list(names)
    return [f"{names[-1]} ({number})" for number, names in enumerate(choices, start=1)]


def _candidates(group: Sequence[Entry]) -> tuple[str, str, str]:
    names = {str(entry.spec.get("name", "")) for entry in group}
    folders = [entry.run_dir.resolve().name for entry in group]
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*folders, strict=False))
    shared = "".join(letters[0] for letters in alike) if len(folders) > 1 else folders[0]
    return names.pop() if len(names) == 1 else "", shared.rstrip("-_. "), folders[0]


def common_labels(entries: Sequence[Entry], wanted: Sequence[str]) -> tuple[list[str], list[str]]:
    """Labels of evaluations that every run has, and those that only some have.

    Raises:
        SpecError: a wanted one is missing in some run, or the runs have none in common.
    """
    every = list(dict.fromkeys(label for entry in entries for label in entry.results))
    for label in wanted:
        without = [str(entry.run_dir) for entry in entries if label not in entry.results]
        if without:
            raise SpecError(f"{label!r} was not evaluated in {', '.join(without)}. Known: {', '.join(every)}")
    shared = [label for label in every if all(label in entry.results for entry in entries)]
    if not shared:
        raise SpecError(f"no evaluation was made of all runs. Some have: {', '.join(every)}")
    labels = [label for label in shared if not wanted or label in wanted]
    return labels, [] if wanted else [label for label in every if label not in shared]


def require_comparable(entries: Sequence[Entry], label: str) -> None:
    """Pass where all runs were measured alike by `label`.

    Raises:
        SpecError: two differ in protocol, settings, crop or data; the message says in what.
    """
    first = entries[0]
    for other in entries[1:]:
        one, two = first.results[label], other.results[label]
        reasons = [*_reasons(one, two), *_other_images(one, two)]
        if reasons:
            raise SpecError(
                f"{label}: {first.run_dir} and {other.run_dir} cannot be compared, for they differ in "
                f"{'; '.join(reasons)}. Evaluate both alike, or choose among evaluators with --evaluator"
            )


def require_one_step(group: Group, label: str) -> None:
    """Pass where the seeds of a setting were all measured at one step, and read alike. Raises SpecError otherwise."""
    by_step = {entry.results[label].step: entry.run_dir for entry in group.entries}
    if len(by_step) > 1:
        listing = ", ".join(f"{path} at {step}" for step, path in by_step.items())
        raise SpecError(
            f"{label}: seeds of one setting were measured at different steps ({listing}). "
            "Choose one with --step, or finish the runs"
        )
    first, *others = group.entries
    for other in others:
        one, two = first.results[label], other.results[label]
        differ = [name for name in ("readout", "view") if getattr(one, name) != getattr(two, name)]
        if differ:
            raise SpecError(
                f"{label}: seeds of one setting were read differently: {first.run_dir} and {other.run_dir} differ in "
                f"their {' and '.join(differ)}. Evaluate both alike"
            )


def _reasons(one: Evaluation, two: Evaluation) -> Iterator[str]:
    """How the settings of two evaluations differ."""
    if one.protocol != two.protocol:
        yield f"the protocol ({one.protocol}, {two.protocol})"
    mine, theirs = (_settings(evaluation) for evaluation in (one, two))
    for path in dict.fromkeys([*mine, *theirs]):
        if mine.get(path) != theirs.get(path):
            yield f"the setting `{path}` ({mine.get(path, '-')}, {theirs.get(path, '-')})"
    if one.readout.get("crop") != two.readout.get("crop"):
        yield f"the readout's crop ({one.readout.get('crop')}, {two.readout.get('crop')})"
    for split in dict.fromkeys([*one.data, *two.data]):
        if one.data.get(split, {}).get("fingerprint") != two.data.get(split, {}).get("fingerprint"):
            yield f"the {split} data (other fingerprints)"
    if one.headline != two.headline:
        yield f"the metric ({one.headline}, {two.headline})"


def _settings(evaluation: Evaluation) -> dict[str, str]:
    return dict(leaves({key: value for key, value in evaluation.settings.items() if key not in NAMING}))


def _other_images(one: Evaluation, two: Evaluation) -> Iterator[str]:
    """Whether one has scored images that the other has not, such as unreadable ones."""
    mine, theirs = one.predictions(), two.predictions()
    if (mine is None) != (theirs is None):
        yield "having predictions (one has none; evaluate it again)"
    elif mine is not None and theirs is not None and not np.array_equal(mine.labels, theirs.labels):
        yield f"the scored images ({len(mine.labels)} and {len(theirs.labels)}, with other labels)"
