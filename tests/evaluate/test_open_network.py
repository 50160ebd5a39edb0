"""Networks of every origin, measured alike."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from sslkit import KNN, LinearProbe, evaluate_network
from sslkit.cli.main import OK, USER_ERROR
from sslkit.errors import CheckpointError, SpecError
from sslkit.evaluate.evaluate_network import evaluate_run, evaluate_spec
from sslkit.evaluate.export import export
from sslkit.evaluate.open_network import open_network
from sslkit.runs import metrics_log
from sslkit.runs.evaluations import evaluations
from sslkit.specs.evaluation import EvaluationSpec
from sslkit.specs.load import parse_as
from sslkit.train.launch import train
from sslkit_sources.specs.images import Digits
from tests import tiny
from tests.cli.specs import call

EVALUATE = [
    {"kind": "knn", "every": "4 steps"},
    {"kind": "linear", "learning_rates": [0.1, 1.0], "epochs": 2},
]
CNN = {"kind": "cnn", "name": "test_resnet", "stem": "cifar"}
RUNS = {
    "vit": {"readout": {"pool": "mean"}},
    "average": {"nets": {"ema": {"momentum": 0.5}}, "readout": {"net": "ema", "batch_size": 100}},
    "cnn": {
        "backbone": CNN,
        "objective": {"kind": "simclr", "projector": {"layers": 2, "hidden": 12, "out": 6}},
        "views": {"global": {**tiny.VIEW, "size": 16, "crops": 2}},
        "steps": 4,
    },
}


@pytest.fixture(scope="module", params=RUNS.values(), ids=RUNS.keys())
def finished(request, tmp_path_factory):
    """A run that was evaluated at its end. Tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(tiny.spec(out, evaluate=EVALUATE, **request.param), lambda text: None)
    return out


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "run")


def spec(**fields):
    return parse_as(EvaluationSpec, {"workers": 0, **fields})


def recorded(run_dir):
    return {k: v for entry in metrics_log.read(run_dir) for k, v in entry.items() if k.startswith("eval/")}


def flat(result):
    return {f"eval/{label}/{name}": v for label, m in result["metrics"].items() for name, v in m.items()}


def test_training_afterwards_and_an_export_give_the_same_numbers(run, tmp_path):
    """The digits of all metrics, through the run's own network and through the exported file."""
    during = recorded(run)
    afterwards = evaluate_run(run)
    assert flat(afterwards) == during
    export(run, tmp_path / "net.safetensors")
    exported = evaluate_spec(
        spec(
            file=str(tmp_path / "net.safetensors"), data={"kind": "digits"}, evaluate=EVALUATE, out=tmp_path / "out",
            seed=3,
        )
    )  # fmt: skip
    assert flat(exported) == during
    own, theirs = evaluations(run)["knn"], evaluations(tmp_path / "out")["knn"]
    assert own.predictions().guesses.tolist() == theirs.predictions().guesses.tolist()
    assert own.data == theirs.data
    assert own.view == theirs.view


def test_other_protocols_on_a_run_come_beside_its_own(run):
    more = spec(run=str(run), evaluate=[{"kind": "knn", "name": "one", "k": 1}])
    result = evaluate_spec(more)
    assert list(result["metrics"]) == ["one"]
    assert set(evaluations(run)) == {"knn", "linear", "one"}


def test_what_is_set_replaces_what_the_run_says(run):
    other = evaluate_spec(spec(run=str(run), data={"kind": "digits", "test_share": 0.5}))
    by_title = {found.title: found for found in evaluations(run).values()}
    assert by_title["knn on digits"].data["test"]["images"] == 899
    wide = evaluate_spec(spec(run=str(run), readout={"layer": 0, "pool": "mean"}))
    layers = {
        found.title: found.readout["layer"] for found in evaluations(run).values() if found.label == "knn"
    }
    assert layers.pop("knn") == layers.pop("knn on digits") == -1, "the run's own stays"
    assert list(layers.values()) == [0]
    assert flat(other) != flat(wide)


def test_features_are_kept_and_read_again(run, monkeypatch):
    first = evaluate_run(run, keep=True)
    kept = sorted((run / "features").iterdir())
    assert len(kept) == 4, "values and labels of two splits"

    def never(*args):
        raise AssertionError("features were made again")

    monkeypatch.setattr("sslkit.evaluate.subject.rows", never)
    assert flat(evaluate_run(run, keep=True)) == flat(first)
    with pytest.raises(AssertionError, match="made again"):
        evaluate_run(run)
    with pytest.raises(AssertionError, match="made again"):
        evaluate_spec(spec(run=str(run), readout={"crop": 0.5}), keep=True)


def test_damaged_features_are_made_again(run):
    first = flat(evaluate_run(run, keep=True))
    for path in (run / "features").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    assert flat(evaluate_run(run, keep=True)) == first
    assert all(path.stat().st_size > 40 for path in (run / "features").iterdir())


BACKBONE = {"kind": "timm", "name": "test_resnet"}
GIVEN = {
    "backbone": BACKBONE,
    "size": 32,
    "normalize": {"mean": [0.5], "std": [0.5]},
    "data": {"kind": "digits"},
    "evaluate": [{"kind": "knn", "k": 5}],
}


def test_a_timm_network_by_its_name(tmp_path):
    result = evaluate_spec(spec(**GIVEN, out=tmp_path))
    assert result["metrics"]["knn"]["accuracy"] > 0.5
    found = evaluations(tmp_path)["knn"]
    assert (found.step, found.checkpoint, found.view["size"]) == (0, None, 32)
    again = evaluate_spec(spec(**GIVEN, out=tmp_path / "again"))
    assert flat(again) == flat(result), "weights come from the seed"


class Small(torch.nn.Module):
    """`[B, 64]` of digits: the pixels."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images):
        return images.flatten(1) * self.scale


def test_a_module_from_python(tmp_path):
    """The pixels themselves, so the scores are those of the raw-pixel baseline."""
    net = Small().train()
    found = evaluate_network(
        net, [KNN(k=5), LinearProbe(learning_rates=(0.1,), epochs=2)], Digits(), size=8, mean=(0.3,), std=(0.4,),
        out=tmp_path,
    )  # fmt: skip
    assert list(found) == ["knn", "linear"]
    assert found["knn"].metrics["accuracy"] > 0.95
    assert net.training
    assert evaluations(tmp_path)["knn"].metrics == found["knn"].metrics
    without = evaluate_network(net, [KNN(k=5)], Digits(), size=8, mean=(0.3,), std=(0.4,))
    assert without["knn"].metrics == found["knn"].metrics


def test_a_module_is_read_by_a_function(tmp_path):
    found = evaluate_network(
        torch.nn.ModuleDict({"inner": Small()}), [KNN(k=5)], Digits(), size=8, mean=(0.3,), std=(0.4,),
        forward=lambda _, images: images.flatten(1) * 2,
    )  # fmt: skip
    assert found["knn"].metrics["accuracy"] > 0.95


def test_files_that_are_no_exports(tmp_path):
    with pytest.raises(CheckpointError, match=r"a\.safetensors: cannot be read: No such file"):
        open_network(spec(**_file(tmp_path)))
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"a\.safetensors: cannot be read as safetensors"):
        open_network(spec(**_file(tmp_path)))
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="does not say how it is read, as files of `sslkit export` do"):
        open_network(spec(**_file(tmp_path)))
    said = {"backbone": {"kind": "gone"}, "view": {}, "readout": {}}
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", {"sslkit": json.dumps(said)})
    with pytest.raises(CheckpointError, match="no plugin here can load a 'gone' from a file"):
        open_network(spec(**_file(tmp_path)))


def _file(tmp_path):
    given = {k: v for k, v in GIVEN.items() if k in {"data", "evaluate"}}
    return {**given, "file": str(tmp_path / "a.safetensors"), "out": tmp_path}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give exactly one of `run`, `file`, `backbone` and `features`; found none"),
        ({"run": "a", "backbone": BACKBONE}, "give exactly one of .*; found run and backbone"),
        ({"backbone": BACKBONE}, "an evaluation of a `backbone` needs `data`, `evaluate`, `out`, `size` too"),
        ({"run": "a", "evaluate": [{"kind": "knnn"}]}, "'knnn' is not an evaluator. Did you mean 'knn'"),
    ],
)
def test_specs_that_are_not_whole(fields, message):
    with pytest.raises(SpecError, match=message):
        spec(**fields)


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(SpecError, match="normalize: gives statistics of 3 channels but the images have 1"):
        open_network(spec(**{**GIVEN, "normalize": None}, out=tmp_path))
    twice = [{"kind": "knn"}, {"kind": "knn"}]
    with pytest.raises(SpecError, match=r"evaluate\.1\.name: 'knn' is taken"):
        open_network(spec(**{**GIVEN, "evaluate": twice}, out=tmp_path))
    flat_images = {"kind": "folder", "root": str(tmp_path / "none")}
    with pytest.raises(SpecError, match="none: no such folder"):
        open_network(spec(**{**GIVEN, "data": flat_images}, out=tmp_path))


def test_the_command_takes_runs_and_specs(run, tmp_path, capsys):
    code, out, err = call(capsys, "evaluate", run, "evaluate.0.k=9", "workers=0", "--only", "knn")
    assert (code, err) == (OK, "")
    assert out.splitlines()[1].startswith("  knn (knn@1(k=9)) k 9: accuracy ")
    code, out, err = call(capsys, "evaluate", run, "evaluate=[{kind: knn, name: x, k: 3}]", "workers=0")
    assert (code, err) == (OK, "")
    assert out.splitlines()[1].startswith("  x (knn@1(k=3)): accuracy ")
    path = tmp_path / "evaluation.yaml"
    path.write_text(json.dumps({**GIVEN, "workers": 0, "out": str(tmp_path / "out")}))
    code, out, err = call(capsys, "evaluate", path, "evaluate.0.k=7")
    assert (code, err) == (OK, "")
    assert "knn (knn@1(k=7)): accuracy" in out
    code, _, err = call(capsys, "evaluate", path, "sise=3")
    assert code == USER_ERROR
    assert "sise" in err
    assert "Did you mean 'size'" in err
