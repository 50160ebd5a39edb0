"""The run folder: its spec as given, and a lock file with everything resolved."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sslkit.errors import CheckpointError, SpecError
from sslkit.registry.manager import kinds, used_plugins
from sslkit.spec.explain import walk
from sslkit.spec.families import BackboneSpec
from sslkit.spec.load import dump, parse, parse_as, read_yaml
from sslkit.spec.metrics import refusal
from sslkit.spec.run import RunSpec
from sslkit.train.checkpoint import FOLDER, Checkpoints
from sslkit.train.files import write_text

if TYPE_CHECKING:
    import torch

SPEC = "spec.yaml"
LOCK = "spec.lock.yaml"
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
FREE = ("out", "workers", "name", "parallel")
"""Fields that may differ between the spec of a run and the one given to continue it: they change no number.

`parallel` changes rounding at most, as a change of the number of ranks does.
"""


def write_lock(spec: RunSpec, run_dir: Path, resolved: Mapping[str, Any]) -> None:
    """Write `spec.yaml` and `spec.lock.yaml`."""
    plugins = used_plugins(part for _, part in walk(spec))
    lock = {
        "spec": spec.model_dump(mode="json"),
        "resolved": dict(resolved),
        "plugins": dict(plugins),
        "packages": package_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git": git_commit(),
        "command": sys.argv,
    }
    write_text(run_dir / SPEC, dump(spec))
    write_text(run_dir / LOCK, yaml.safe_dump(lock, sort_keys=False, allow_unicode=True))


def read_lock(run_dir: Path) -> dict[str, Any]:
    """The lock of the run in `run_dir`.

    Raises:
        CheckpointError: the folder holds no run.
    """
    if not (run_dir / LOCK).is_file():
        raise CheckpointError(
            f"{run_dir}: holds no run (no {LOCK}); give the folder that `sslkit run` printed"
        )
    lock = read_yaml(run_dir / LOCK)
    missing = [part for part in ("spec", "resolved", "packages") if not isinstance(lock.get(part), dict)]
    if missing:
        raise CheckpointError(f"{run_dir / LOCK}: has no {missing[0]}; the file is damaged")
    return lock


def locked_spec(run_dir: Path) -> RunSpec:
    """The resolved spec of the run in `run_dir`, with `out` set to where it is now."""
    return _parsed({**read_lock(run_dir)["spec"], "out": str(run_dir)})


def trained_spec(run_dir: Path) -> RunSpec:
    """As `locked_spec`, for a run that trained: without the files that its networks began with, which may be gone."""
    spec = read_lock(run_dir)["spec"]
    nets = {
        name: {**net, "backbone": _begun_anew(net.get("backbone"))}
        for name, net in spec.get("nets", {}).items()
    }
    return _parsed({**spec, "backbone": _begun_anew(spec.get("backbone")), "nets": nets, "out": str(run_dir)})


def _parsed(fields: Mapping[str, Any]) -> RunSpec:
    """The spec in `fields`, without a `checkpoint.best` that is refused today: no checkpoint was ever kept by it."""
    spec = parse_as(RunSpec, fields)
    if spec.checkpoint.best is not None and refusal(spec.checkpoint.best, spec.evaluate):
        fields = {**fields, "checkpoint": {**fields["checkpoint"], "best": None}}
    return parse(fields)


def _begun_anew(backbone: Any) -> Any:  # noqa: ANN401
    """The fields of `backbone` without its `checkpoint`, where it has one that it can do without."""
    if not isinstance(backbone, dict) or backbone.get("checkpoint") is None:
        return backbone
    cls = kinds("backbone").get(str(backbone.get("kind")))
    field = cls.model_fields.get("checkpoint") if cls is not None and issubclass(cls, BackboneSpec) else None
    return backbone if field is None or field.is_required() else {**backbone, "checkpoint": None}


def differences(spec: RunSpec, run_dir: Path) -> list[str]:
    """Fields in which the run in `run_dir` is not the one of `spec`; those that change no number are free."""
    ours, theirs = spec.model_dump(mode="json"), locked_spec(run_dir).model_dump(mode="json")
    return [key for key in ours if key not in FREE and ours[key] != theirs.get(key)]


def require_same_run(spec: RunSpec, run_dir: Path) -> None:
    """Pass where `run_dir` holds no run, one that never saved a checkpoint, or the very run that `spec` describes.

    Raises:
        SpecError: it holds a different one.
    """
    if not (run_dir / LOCK).is_file() or not Checkpoints(run_dir / FOLDER).all():
        return
    different = differences(spec, run_dir)
    if different:
        raise SpecError(
            f"{run_dir}: holds a different run (its {', '.join(different)} differ{'s' * (len(different) == 1)}). "
            f"Choose another folder with --out, continue that run with `sslkit resume {run_dir}`, or delete the folder"
        )


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
