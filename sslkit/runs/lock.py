"""The run folder: its spec as given, and a lock file with everything resolved."""

from __future__ import annotations

import contextlib
import copy
import glob
import hashlib
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import uuid4

import yaml

from sslkit import catalog
from sslkit.errors import CheckpointError, SpecError
from sslkit.registry.manager import REGISTERED, used_plugins
from sslkit.runs.allowed_changes import DATA, FREE, LENGTH, Changes, changes, file_paths, other_run
from sslkit.runs.file_shapes import LOCK_FILE
from sslkit.runs.manifest import Manifest, write_manifest
from sslkit.runs.python_parts import python_parts
from sslkit.runs.seal import RUN, digest
from sslkit.runs.summary import read_summary
from sslkit.runtime.atomic_files import storing, write_text
from sslkit.runtime.readable import present, reading
from sslkit.specs.families import BackboneSpec
from sslkit.specs.load import changed, dump, override, parse, parse_as, parse_yaml, similar_path
from sslkit.specs.run import RunSpec
from sslkit.specs.run_metrics import refusal
from sslkit.specs.walk import walk

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
Fields = dict[str, Any]
"""A lock, or a spec as YAML has it."""

SPEC = "spec.yaml"
LOCK = "spec.lock.yaml"
SEAL = "# sha256 of all above: "
"""What the last line of a lock begins with; those of earlier versions have none, and no run's id."""
COPY = ".spec.lock.yaml"
"""A copy of the lock, for people: without its lock no checkpoint can be used."""
PACKAGES = (
    "sslkit",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "pillow",
    "pydantic",
    "faiss-gpu",
    "faiss-cpu",
    "scikit-learn",
)


def write_lock(
    spec: RunSpec,
    run_dir: Path,
    resolved: Mapping[str, object],
    data: Mapping[str, object] | None = None,
    lineage: Sequence[Mapping[str, object]] = (),
) -> str:
    """Write `manifest.json`, `spec.yaml` and `spec.lock.yaml` of a run that begins; returns the run's id.

    The lock comes last: without it the folder holds no run. `data`: fingerprints of what the run reads. `lineage`: the
    run whose networks it begins with.

    Raises:
        StorageError: a file could not be written.
    """
    run, text = uuid4().hex, dump(spec)
    with storing(run_dir / LOCK):
        (run_dir / LOCK).unlink(missing_ok=True)  # of a run that never saved
    write_manifest(run_dir, Manifest(run, {SPEC: digest(parse_yaml(text, SPEC))}))
    write_text(run_dir / SPEC, text)
    plugins = used_plugins(part for _, part in walk(spec))
    lock = {
        RUN: run,
        "spec": spec.model_dump(mode="json"),
        "resolved": dict(resolved),
        "data": dict(data or {}),
        "lineage": list(lineage),
        "folder": str(Path.cwd()),
        "plugins": dict(plugins),
        **({"python_parts": parts} if (parts := python_parts(spec)) else {}),
        "packages": package_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git": git_commit(),
        "command": sys.argv,
    }
    rewrite_lock(run_dir, lock)
    return run


def rewrite_lock(run_dir: Path, lock: Mapping[str, object]) -> None:
    """Replace the lock of the run in `run_dir`. Raises StorageError where it could not be written."""
    text = yaml.safe_dump(dict(lock), sort_keys=False, allow_unicode=True)
    for name in (COPY, LOCK):
        write_text(run_dir / name, f"{text}{SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n")


def read_lock(run_dir: Path) -> Fields:
    """The lock of the run in `run_dir`.

    Raises:
        CheckpointError: the folder holds no run, or the lock is damaged or was edited.
        StorageError: it cannot be read.
    """
    if not present(run_dir):
        raise CheckpointError(f"{run_dir}: no such folder.{similar_path(run_dir)}")
    path = run_dir / LOCK
    try:
        with reading(path):
            text, seal, checksum = path.read_text(encoding="utf-8").rpartition(SEAL)
    except FileNotFoundError:
        raise CheckpointError(
            f"{run_dir}: holds no run (no {LOCK}); give the folder that `sslkit run` printed"
        ) from None
    except UnicodeDecodeError:
        raise _damaged(path) from None
    if not seal:
        text = checksum
    elif checksum.strip() != hashlib.sha256(text.encode()).hexdigest():
        raise _damaged(path)
    lock = copy.deepcopy(_parsed(text, str(path)))
    if RUN in lock and not seal:
        raise _damaged(path)
    LOCK_FILE.check(lock, str(path))  # which gives fields in another order
    return lock


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path}: is damaged or was edited, as its checksum is another; {restored_by(path.parent)}. Fields change by "
        f"`sslkit resume {path.parent} key.path=value`"
    )


def restored_by(run_dir: Path) -> str:
    """How the lock of the run in `run_dir` comes back."""
    if not present(run_dir / COPY):
        return "bring back a copy of it"
    return f"`cp {shlex.quote(str(run_dir / COPY))} {shlex.quote(str(run_dir / LOCK))}` brings it back"


@lru_cache(maxsize=256)
def _parsed(text: str, where: str) -> Fields:
    """Parsed once, as a run that goes on reads its lock several times, and a comparison those of many."""
    return parse_yaml(text, where)


def locked_spec(run_dir: Path, assignments: Sequence[str] = ()) -> RunSpec:
    """The resolved spec of the run in `run_dir`, with `out` and the files that it names set to where they are now."""
    return parse(override(_located(run_dir), assignments), began=True)


def trained_spec(run_dir: Path) -> RunSpec:
    """As `locked_spec`, for a run that trained.

    Its data and the weights that it began with, which may be gone, are not looked for.
    """
    return parse_as(RunSpec, without_first_weights(_located(run_dir)))


def continued_spec(run_dir: Path, assignments: Sequence[str] = (), free: Sequence[str] = ()) -> RunSpec:
    """What a run with a checkpoint goes on with: its spec with overrides, and no weights to begin with.

    `free`: fields that may change beside those that always may.

    Raises:
        SpecError: a changed field makes another run, or the spec does not fit any more, as data that are gone.
    """
    wanted = override(without_first_weights(_located(run_dir)), assignments)
    spec = parse_as(RunSpec, wanted)
    wrong = other_run(changes_of(spec, run_dir), [*free, *file_paths(spec)])
    if wrong:
        longer = f" `sslkit extend {run_dir}` makes a finished run longer." if {*wrong} & {*LENGTH} else ""
        raise SpecError(
            f"{', '.join(wrong)}: cannot change when a run is continued: that is another run, to be started in another "
            f"folder with --out.{longer} May change: {', '.join([DATA, *FREE])}"
        )
    return parse(wanted, began=True)


def without_first_weights(fields: Fields) -> Fields:
    """The fields of a run, without those that say which weights its networks begin with."""
    nets = {
        name: {**net, "backbone": begun_anew(net.get("backbone"))}
        for name, net in fields.get("nets", {}).items()
    }
    towers = {name: begun_anew(tower) for name, tower in fields.get("towers", {}).items()}
    anew = {"backbone": begun_anew(fields.get("backbone")), "towers": towers, "nets": nets}
    return {**fields, **anew, **({"start_from": None} if "start_from" in fields else {})}


def begun_anew(backbone: T) -> T:
    """The fields of `backbone` without its first weights, as far as it can do without."""
    if not isinstance(backbone, dict):
        return backbone
    cls = catalog.kinds("backbone").get(str(backbone.get("kind")))
    if cls is None or not issubclass(cls, BackboneSpec):
        return backbone
    fields = {name: cls.model_fields[name] for name in cls.first_weights if name in cls.model_fields}
    defaults = {name: field.default for name, field in fields.items() if not field.is_required()}
    return cast("T", {**backbone, **defaults})


def _located(run_dir: Path) -> Fields:
    """The locked spec; relative paths that lead nowhere from here are those of the folder where the run began."""
    lock = read_lock(run_dir)
    with _registered_kinds_told(run_dir, lock):
        fields = _accepted({**lock["spec"], "out": str(run_dir)})
    folder = lock.get("folder")
    if folder is None or Path(folder) == Path.cwd():
        return fields
    moved = [
        (path, str(Path(folder) / value))
        for path, value in file_paths(parse_as(RunSpec, fields)).items()
        if not value.expanduser().is_absolute() and _leads(Path(folder) / value)
    ]
    return changed(fields, moved)


@contextlib.contextmanager
def _registered_kinds_told(run_dir: Path, lock: Fields) -> Iterator[None]:
    """Where the lock does not fit what is installed, say that some of its kinds were registered in Python."""
    try:
        yield
    except SpecError as error:
        opening = f"{REGISTERED}:"
        modules = [
            name.removeprefix(opening) for name in lock.get("plugins") or {} if name.startswith(opening)
        ]
        if not modules:
            raise
        raise SpecError(
            f"{error}\n{run_dir}: kinds of this run were registered in Python, by {', '.join(modules)}: register them "
            f"there again, and go on with `Run(...).fit()` or `sslkit.resume_run({str(run_dir)!r})`"
        ) from None


def _accepted(fields: Fields) -> Fields:
    """`fields` without a `checkpoint.best` that is refused today: no checkpoint was ever kept by it."""
    spec = parse_as(RunSpec, fields)
    if spec.checkpoint.best is None or not refusal(spec.checkpoint.best, spec.evaluate):
        return fields
    return {**fields, "checkpoint": {**fields["checkpoint"], "best": None}}


def _leads(path: Path) -> bool:
    """Whether there is something, or some file that a pattern names."""
    return path.exists() or next(iter(glob.iglob(str(path), recursive=True)), None) is not None  # noqa: PTH207


def changes_of(spec: RunSpec, run_dir: Path) -> Changes:
    """What differs between `spec` and the lock in `run_dir`, first weights and the folder aside."""
    now, then = spec.model_dump(mode="json"), parse_as(RunSpec, _located(run_dir)).model_dump(mode="json")
    differing = dict(changes(without_first_weights(then), without_first_weights(now)))
    return {path: values for path, values in differing.items() if path != "out"}


def differences(spec: RunSpec, run_dir: Path) -> list[str]:
    """Fields in which the run in `run_dir` is not the one of `spec`, those aside that may change.

    Once it is finished nothing is evaluated any more, so that `evaluate` counts.
    """
    ours, theirs = spec.model_dump(mode="json"), parse_as(RunSpec, _located(run_dir)).model_dump(mode="json")
    free = set(FREE) - ({"evaluate"} if read_summary(run_dir).get("finished") else set())
    return [key for key in ours if key not in free and ours[key] != theirs.get(key)]


def version_changes(run_dir: Path) -> list[str]:
    """Packages whose version differs from the one that started the run: bit-equality is not promised across them."""
    then = read_lock(run_dir).get("packages", {})
    return [
        f"{name} {then[name]} -> {now}"
        for name, now in package_versions().items()
        if then.get(name, now) != now
    ]


def package_versions() -> dict[str, str]:
    """Installed versions of what results depend on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_commit() -> str | None:
    """Commit of the working folder, with `+changes` where it has any; None outside git."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
        status = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+changes" if status.stdout.strip() else "")


def device_name(device: torch.device) -> str:
    """What people call the device."""
    import torch

    return (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{device.type} ({platform.machine()})"
    )
