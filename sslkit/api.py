"""The Python API: `Run(...).fit()`, and backbones of finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Self, Unpack, final

from sslkit.build.restore import restore
from sslkit.core.backbone import Backbone
from sslkit.errors import Interrupted
from sslkit.report.notebook_view import result_html, run_html
from sslkit.runs import metrics_log
from sslkit.specs.check import check
from sslkit.specs.extension import Continuation
from sslkit.specs.from_python import with_holders
from sslkit.specs.load import dump, load
from sslkit.specs.python_objects import objects_in
from sslkit.specs.run import RunSpec
from sslkit.specs.run_fields import RunFields
from sslkit.train.launch import extend, resume, train


class Result(NamedTuple):
    """The outcome of a run."""

    metrics: dict[str, Any]
    """Last value of every metric, by name."""
    best: dict[str, dict[str, Any]]
    """Best value of every evaluation metric that has a direction: `value`, `step`, and which is `better`."""
    paths: dict[str, Any]
    """Everything that was written."""
    summary: dict[str, Any]
    """The whole of `summary.json`."""
    spec: RunSpec | None = None
    """What was run, with its objects of Python; None where `resume_run` had a folder alone."""

    @property
    def backbone(self) -> Backbone:
        """The trained network of the run's readout, on the CPU, in evaluation mode."""
        return load_backbone(self.paths["run"])

    def _repr_html_(self) -> str:
        """Scores with baselines and the curve of the loss, for notebooks."""
        return result_html(self.summary, metrics_log.read(Path(self.paths["run"])))


@final
class Run:
    """A run from Python: `Run(data=Digits(), objective=MAE(), ...).fit()`.

    Takes the fields of `RunSpec`. `Run(...)` and the YAML file with the same fields are the same run. `data` may also
    be any dataset of torch, a tensor or array, or a list of PIL images: short for `PythonData(train=...)`. `backbone`
    may be any `torch.nn.Module`, of which the run trains a copy: short for `PythonModule(network=...)`.
    """

    def __init__(self, **fields: Unpack[RunFields]) -> None:
        """Validate the fields.

        Raises:
            SpecError: one readable error that names each offending path.
        """
        self.spec = RunSpec(**with_holders(fields))
        check(self.spec)

    def __repr__(self) -> str:
        """The name, the parts and the folder."""
        parts = (self.spec.data, self.spec.backbone, *self.spec.terms.values())
        return (
            f"<Run {self.spec.name}: {', '.join(part.summary() for part in parts)}, in {self.spec.run_dir}>"
        )

    def _repr_html_(self) -> str:
        """A table of the parts, for notebooks."""
        return run_html(self.spec)

    @classmethod
    def from_yaml(cls, path: str | Path, *overrides: str) -> Self:
        """The run in a YAML file, with `key.path=value` overrides."""
        spec = load(Path(path), overrides)
        fields: dict[str, Any] = {name: getattr(spec, name) for name in spec.model_fields_set}
        return cls(**fields)

    def to_yaml(self, *, full: bool = False) -> str:
        """The spec as YAML: what was set, or with `full` every field.

        Of objects of Python it has a description, and comments at the top that say so.
        """
        comments = [
            f"# {path}: {held.title} of Python, which no file holds" for path, held in objects_in(self.spec)
        ]
        return "".join(f"{line}\n" for line in comments) + dump(self.spec, full=full)

    def fit(self, *, data_changed: bool = False) -> Result:
        """Train to the end and return the result; a folder that holds this run already is continued.

        Args:
            data_changed: continue although the data are not those that the run began with.

        Raises:
            SslkitError: the run cannot be made, or stopped on an error that a user can mend.
            Interrupted: a signal stopped the run, which is saved. It is a KeyboardInterrupt: a loop over runs ends.
        """
        return _result(train(self.spec, data_changed=data_changed), self.spec)

    def resume(self, *overrides: str, data_changed: bool = False) -> Result:
        """Continue the run in this one's folder, with this one's objects, as `resume_run` does from a folder alone.

        `fit` continues too, but only the very run that this one describes; here the first weights of a module may be
        others, as its checkpoint has them.

        Args:
            overrides: `key.path=value` of fields that may change.
            data_changed: go on although the data are not those that the run began with.

        Raises:
            SslkitError: it cannot be continued, or stopped on an error that a user can mend.
            Interrupted: a signal stopped the run, which is saved.
        """
        done = resume(self.spec.run_dir, assignments=overrides, data_changed=data_changed)
        return _result(done, self.spec)


def resume_run(run_dir: str | Path, *overrides: str, data_changed: bool = False) -> Result:
    """Continue the run in `run_dir` to its end.

    Args:
        run_dir: the run folder.
        overrides: `key.path=value` of fields that may change, as `workers=8` or `data.root=/new/place`.
        data_changed: go on although the data are not those that the run began with.

    Raises:
        SslkitError: it cannot be continued, or stopped on an error that a user can mend.
        Interrupted: a signal stopped the run, which is saved.
    """
    return _result(resume(Path(run_dir), assignments=overrides, data_changed=data_changed))


def extend_run(
    run_dir: str | Path,
    *overrides: str,
    epochs: int | None = None,
    steps: int | None = None,
    schedule: Continuation = "stretch",
    data_changed: bool = False,
) -> Result:
    """Make the finished run in `run_dir` longer, and train to its new end.

    Args:
        run_dir: the run folder.
        overrides: `key.path=value` of fields that may change, as `workers=8`.
        epochs: its new length in passes over the data, counted from the beginning; give this or `steps`.
        steps: its new length in optimizer steps.
        schedule: how schedules over the run's length go on: `stretch`, as those of the longer run; `constant`, at their
            last values; `restart`, from their beginning over what is added.
        data_changed: go on although the data are not those that the run began with.

    Raises:
        SslkitError: it is not finished or would not be longer, or it stopped on an error that a user can mend.
        Interrupted: a signal stopped the run, which is saved.
    """
    lengths = {"epochs": epochs, "steps": steps}
    length = [f"{name}={number}" for name, number in lengths.items() if number is not None]
    return _result(extend(Path(run_dir), [*length, *overrides], schedule, data_changed=data_changed))


def load_backbone(run_dir: str | Path, checkpoint: str = "last") -> Backbone:
    """The network that the run in `run_dir` trained, on the CPU, in evaluation mode.

    Args:
        run_dir: the run folder.
        checkpoint: `last`, `best`, or the name of a checkpoint.

    Raises:
        CheckpointError: the folder holds no run or no readable checkpoint.
    """
    restored = restore(Path(run_dir), checkpoint)
    return restored.net(restored.spec.readout.net).eval()


def _result(summary: dict[str, Any], spec: RunSpec | None = None) -> Result:
    if not summary["finished"]:
        by, run_dir = summary["stopped_by"], summary["paths"]["run"]
        raise Interrupted(
            f"stopped by {by} at step {summary['step']}; `sslkit resume {run_dir}` or "
            f"`sslkit.resume_run({run_dir!r})` continues",
            by,
        )
    return Result(summary["metrics"], summary["best"], summary["paths"], summary, spec)
