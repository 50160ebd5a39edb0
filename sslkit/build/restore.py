"""Restores a run from a checkpoint, without its data and its initial weights."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, final

from sslkit.build.saved_state import load_net, load_system
from sslkit.build.system import Inputs, length_of, make_net, make_system, make_views
from sslkit.core.backbone import Backbone
from sslkit.core.context import Env
from sslkit.core.passes import Encode
from sslkit.core.system import System
from sslkit.errors import CheckpointError
from sslkit.nn.low_rank import merge
from sslkit.runs import metrics_log
from sslkit.runs.best_checkpoint import Best
from sslkit.runs.checkpoint import Loaded, load, step_of
from sslkit.runs.history import history
from sslkit.runs.lock import read_lock, trained_spec
from sslkit.specs.run import RunSpec


@final
class Restored:
    """A run as a checkpoint left it, on the CPU. What is not asked for is not built.

    A network is read without the run's objectives, targets, tokenizers and teachers, which a spec may bring along.
    """

    def __init__(self, spec: RunSpec, resolved: Mapping[str, Any], loaded: Loaded) -> None:
        """`resolved`: what the lock says of the run's length, channels and passes."""
        self.spec, self.loaded, self._resolved = spec, loaded, resolved
        kept = resolved.get("inputs", {}).get("channels")
        channels = int(resolved["channels"])
        self.views = make_views(spec, Inputs(kept, learned_of(resolved)) if kept else channels)

    def net(self, name: str) -> Backbone:
        """The net called `name`: `student`, a tower, or one of `nets`; low-rank changes are merged into its weights.

        Raises:
            CheckpointError: the checkpoint does not fit it.
        """
        net = self._net(name)
        merge(net)
        return net

    def _net(self, name: str) -> Backbone:
        if "_whole" in vars(self):
            return self.system.nets[name]
        trained = self.spec.original(name)
        net = make_net(self.spec, self.views, name, _passes_of(trained, self._resolved))
        try:
            load_net(net, name, self.loaded)
        except (
            CheckpointError
        ):  # of a backbone whose weights depend on more of the passes than the lock tells
            return self.system.nets[name]
        return net

    @property
    def system(self) -> System:
        """Nets, objectives and balancer, made at first use."""
        return self._whole[0]

    @property
    def env(self) -> Env:
        """What they were built with."""
        return self._whole[1]

    @cached_property
    def _whole(self) -> tuple[System, Env]:
        steps, every = int(self._resolved["steps"]), int(self._resolved["steps_per_epoch"])
        system, env = make_system(self.spec, self.views, length_of(self.spec, steps, every))
        load_system(system, self.loaded)
        return system, env


def restore(run_dir: Path, which: str = "last") -> Restored:
    """The run in `run_dir` at its `last` or `best` checkpoint, or at the one called `which`, on the CPU.

    Raises:
        CheckpointError: no run, no such checkpoint, or it is damaged.
    """
    spec = trained_spec(run_dir)
    loaded = find(run_dir, which)
    return Restored(spec, read_lock(run_dir)["resolved"], loaded)


def learned_of(resolved: Mapping[str, Any]) -> dict[str, str]:
    """What the transforms of a run learned, by view, from what its lock says under `resolved`."""
    return {name: unpacked(str(text)) for name, text in resolved.get("inputs", {}).get("learned", {}).items()}


def packed(text: str) -> str:
    """`text` as locks keep it: a vocabulary takes hundreds of kilobytes, which nobody reads there."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def unpacked(text: str) -> str:
    """What `packed` made it of."""
    return zlib.decompress(base64.b64decode(text)).decode()


def _passes_of(net: str, resolved: Mapping[str, Any]) -> list[Encode]:
    """The passes that ran through a trained net, as far as the lock tells; none where it cannot be read."""
    try:
        passes = [entry for entry in resolved.get("passes") or () if entry["net"] == net]
        return [
            Encode(str(entry["view"]), net)
            if entry["mask"] is None
            else Encode(str(entry["view"]), net, mask=str(entry["mask"]), mode=entry["mode"])
            for entry in passes
        ]
    except (KeyError, TypeError):
        return []


def find(run_dir: Path, which: str = "last") -> Loaded:
    """The `last` or `best` checkpoint of `run_dir`, or the one called `which`.

    A damaged one is an error here: other weights than those asked for would go unnoticed.

    Raises:
        CheckpointError: there is none, it is damaged, or not all of the folder is of one run.
        StorageError: it cannot be read.
    """
    by_name = {path.name: path for path in history(run_dir).checkpoints}
    if not by_name:
        raise CheckpointError(f"{run_dir}: has no checkpoint yet")
    if which in {"last", "best"}:
        newest = _load_newest(list(by_name.values()))
        if which == "last":
            return newest
        best = Best(trained_spec(run_dir))
        best.restore(newest.meta.get("best", {}), partial(metrics_log.read, run_dir))
        return load(_best_of(best, list(by_name.values())))
    if which not in by_name:
        raise CheckpointError(
            f"{run_dir}: has no checkpoint {which!r}. Known: last, best, {', '.join(by_name)}"
        )
    return load(by_name[which])


def _load_newest(paths: list[Path]) -> Loaded:
    try:
        return load(paths[-1])
    except CheckpointError as error:
        others = ", ".join(path.name for path in paths[:-1]) or "none"
        raise CheckpointError(f"{error}\nOlder checkpoints that can be asked for by name: {others}") from None


def _best_of(best: Best, paths: list[Path]) -> Path:
    if best.metric is None or best.step is None:
        metrics = ", ".join(best.values) or "none, as the run made no evaluation"
        raise CheckpointError(
            f"no best checkpoint by {best.metric or 'any metric'}. Metrics known: {metrics}"
        )
    path = next((path for path in paths if step_of(path) == best.step), None)
    if path is None:
        why = ", for an older version took higher values as better" if best.metric in best.corrected else ""
        raise CheckpointError(
            f"the best checkpoint (step {best.step} by {best.metric}) is no longer there{why}. "
            f"Known: last, {', '.join(path.name for path in paths)}"
        )
    return path
