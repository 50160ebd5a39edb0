"""Runs that begin with the networks of another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from timm.layers import resample_abs_pos_embed

from sslkit import Run, StartFrom
from sslkit.build.restore import restore
from sslkit.cli.main import OK, USER_ERROR
from sslkit.errors import CheckpointError, SpecError
from sslkit.evaluate.export import export
from sslkit.runs import checkpoint, metrics_log
from sslkit.runs.checkpoint import FOLDER, META, STATE, Checkpoints
from sslkit.runs.lock import read_lock
from sslkit.runs.summary import read_summary
from sslkit.specs.start_from import start_from_text
from sslkit.train.compose import compose
from sslkit.train.launch import resume, train
from sslkit.train.trainer import Trainer
from tests import tiny
from tests.cli.specs import call
from tests.distributed.forked import on_ranks
from tests.distributed.forked import sslkit as command
from tests.train.test_trainer import numbers, silent, stop_at

PAIR = {**tiny.VIEW, "crops": 2}
DINO = {"kind": "dino", "local": None, "head": {"hidden": 8, "bottleneck": 4}, "prototypes": 16}
TEACHER = {"teacher": {"momentum": 0.9}}


def distilled(out=None, **changes):
    """DINO: student and teacher, each with a head, and a center."""
    return tiny.spec(
        out, **{"views": {"global": PAIR}, "objective": DINO, "nets": TEACHER, "steps": 3, **changes}
    )


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The run of DINO that others begin with."""
    return train(distilled(tmp_path_factory.mktemp("runs") / "other"), silent)


def begun(other, **changes):
    """The parts of a run that begins with it, and its weights."""
    run = other["paths"]["run"]
    built = compose(distilled(start_from={"run": run}, **changes), tiny.CPU).system.state_dict()
    return built, checkpoint.load(_checkpoints(run)[-1]).state["system"]


def _checkpoints(run):
    return Checkpoints(Path(run) / FOLDER).all()


def parts(out):
    """Part -> what became of it, as the lock says."""
    return read_lock(out)["lineage"][0]["from"]["parts"]


def test_the_same_spec_takes_everything(other):
    built, before = begun(other)
    assert built.keys() == before.keys()
    taken = [name for name in before if name.startswith(("nets.", "objectives."))]
    assert all(torch.equal(built[name], before[name]) for name in taken)
    fresh = compose(distilled(), tiny.CPU).system.state_dict()
    assert not torch.equal(
        fresh["nets.student.net.blocks.0.attn.qkv.weight"], built["nets.student.net.blocks.0.attn.qkv.weight"]
    )


def test_what_is_taken_is_told_and_kept_in_the_lock(other, tmp_path):
    said = []
    run = other["paths"]["run"]
    train(distilled(tmp_path, start_from={"run": run}, steps=1), said.append)
    entry = read_lock(tmp_path)["lineage"][0]
    origin = entry["from"]
    assert (entry["step"], origin["step"], origin["folder"]) == (0, 3, run)
    assert origin["run"] == other["run"]
    assert origin["weights_sha256"] == other["weights_sha256"]
    assert origin["parts"] == {
        "nets.student": "taken",
        "nets.teacher": "taken",
        "objectives.dino.student_head": "taken",
        "objectives.dino.teacher_head": "taken",
        "objectives.dino.center": "taken",
    }
    place = said.index(
        f"begins with {run}, step 3 (run {other['run'][:8]}, weights {other['weights_sha256'][:8]}):"
    )
    assert said[place + 1] == "  nets.student: taken"


def test_heads_of_other_shapes_are_fresh_and_their_center_with_them(other, tmp_path):
    wider = {**DINO, "prototypes": 24}
    train(distilled(tmp_path, start_from={"run": other["paths"]["run"]}, objective=wider, steps=1), silent)
    what = parts(tmp_path)
    assert what["nets.teacher"] == "taken"
    for head in ("student_head", "teacher_head"):
        assert what[f"objectives.dino.{head}"].startswith("fresh: of another shape 2: last_layer.weight")
    assert what["objectives.dino.center"] == "fresh: its heads are"


def test_another_objective_takes_the_network_alone(other, tmp_path):
    run = tiny.spec(tmp_path, start_from={"run": other["paths"]["run"]}, steps=1)
    train(run, silent)
    what = parts(tmp_path)
    assert what["nets.student"] == "taken"
    assert what["objectives.mae.decoder"] == "fresh: the other run has no such part"


def test_averages_and_copies_that_it_lacks_begin_as_the_student(tmp_path):
    plain = train(tiny.spec(tmp_path / "plain", steps=2), silent)
    nets = {"ema": {"momentum": 0.9}, "start": {"refresh": "never"}}
    objectives = {
        "main": {"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}, "decoder": tiny.DECODER},
        "hold": {"kind": "anchor"},
    }
    composed = compose(
        tiny.spec(
            start_from={"run": plain["paths"]["run"]}, nets=nets, objective=None, objectives=objectives,
            readout={"net": "ema"},
        ),
        tiny.CPU,
    )  # fmt: skip
    student = composed.system.nets["student"].state_dict()
    before = restore(tmp_path / "plain").system.nets["student"].state_dict()
    for name in ("ema", "start"):
        net = composed.system.nets[name].state_dict()
        assert all(torch.equal(net[key], student[key]) for key in net)
    assert all(torch.equal(student[key], before[key]) for key in before)


def test_a_mask_token_that_it_lacks_is_fresh(other, tmp_path):
    objective = {"kind": "simmim", "masker": {"kind": "random", "ratio": 0.5}}
    train(
        tiny.spec(tmp_path, start_from={"run": other["paths"]["run"]}, objective=objective, steps=1), silent
    )
    assert parts(tmp_path)["nets.student"] == "taken, fresh: mask_token"


@pytest.mark.parametrize(
    ("positions", "told"),
    [("learned", "taken, resized: positions from 2 x 2 to 4 x 4 patches"), ("sincos", "taken")],
)
def test_positions_are_resampled_where_they_are_learned(tmp_path, positions, told):
    backbone = {**tiny.VIT, "positions": positions}
    small = train(tiny.spec(tmp_path / "small", steps=1, backbone=backbone), silent)
    large = tiny.spec(
        tmp_path / "large", steps=1, backbone=backbone, views={"global": {**tiny.VIEW, "size": 16}},
        start_from={"run": small["paths"]["run"]},
    )  # fmt: skip
    fixed = compose(tiny.spec(backbone=backbone, views=large.views), tiny.CPU)
    composed = compose(large, tiny.CPU)
    train(large, silent)
    assert parts(tmp_path / "large")["nets.student"] == told
    if positions == "sincos":
        one, two = (c.system.nets["student"].state_dict()["net.pos_embed"] for c in (fixed, composed))
        assert torch.equal(one, two)


def test_a_last_stage_of_higher_resolution_takes_networks_heads_and_center(tmp_path):
    """As DINOv2 ends: the same run on larger crops; all that is resized is the table of positions."""
    backbone = {**tiny.VIT, "positions": "learned"}
    first = train(distilled(tmp_path / "first", backbone=backbone), silent)["paths"]["run"]
    views = {"global": {**PAIR, "size": 16}}
    last = distilled(tmp_path / "last", backbone=backbone, views=views, start_from={"run": first})
    composed = compose(last, tiny.CPU)
    before, now = checkpoint.load(_checkpoints(first)[-1]).state["system"], composed.system.state_dict()
    tables = {f"nets.{net}.net.pos_embed" for net in ("student", "teacher")}
    assert {name for name, value in before.items() if not torch.equal(value, now[name])} == tables
    table = resample_abs_pos_embed(before["nets.teacher.net.pos_embed"], [4, 4], num_prefix_tokens=1)
    torch.testing.assert_close(now["nets.teacher.net.pos_embed"], table, rtol=0, atol=1e-5)
    summary = train(last, silent)
    assert summary["step"] == 3
    resized = "taken, resized: positions from 2 x 2 to 4 x 4 patches"
    told = parts(tmp_path / "last")
    assert told["nets.student"] == told["nets.teacher"] == resized
    assert {what for name, what in told.items() if name.startswith("objectives.")} == {"taken"}


def test_a_student_that_does_not_fit_is_refused(other, tmp_path, capsys):
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump(tiny.fields(backbone={**tiny.VIT, "depth": 3})))
    code, _, err = call(capsys, "run", file, "--from", other["paths"]["run"], "--out", tmp_path / "run")
    assert code == USER_ERROR
    assert "start_from: the student of " in err
    assert "does not fit `backbone`: fresh: lacks 12: net.blocks.2.norm1.weight" in err
    assert not (tmp_path / "run").exists()


def test_a_net_of_its_own_keeps_its_weights(other, tmp_path):
    file = tmp_path / "teacher.safetensors"
    export(Path(other["paths"]["run"]), file)
    nets = {"teacher": {"backbone": {**tiny.VIT, "checkpoint": str(file)}}}
    spec = tiny.spec(
        tmp_path / "run", nets=nets, objective={"kind": "distill", "net": "teacher"}, steps=1,
        start_from={"run": other["paths"]["run"]},
    )  # fmt: skip
    train(spec, silent)
    assert parts(tmp_path / "run")["nets.teacher"] == "its own weights"


def interrupted(spec, monkeypatch, step):
    def die():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        stop_at(patch, step, die)
        with pytest.raises(KeyboardInterrupt):
            train(spec, silent)


@pytest.mark.parametrize("step", [1, 4])
def test_killed_and_resumed_without_the_other_run_it_ends_bit_equal(other, tmp_path, monkeypatch, step):
    """Its first checkpoint, of step 0, holds what it took."""
    source = shutil.copytree(other["paths"]["run"], tmp_path / "source")
    changes = {
        "steps": 6,
        "evaluate": [{"kind": "knn", "baselines": True}],
        "start_from": {"run": str(source)},
    }
    whole = train(distilled(tmp_path / "whole", **changes), silent)
    interrupted(distilled(tmp_path / "cut", **changes), monkeypatch, step)
    shutil.rmtree(source)
    resumed = resume(tmp_path / "cut", silent)
    assert resumed["weights_sha256"] == whole["weights_sha256"]
    assert numbers(tmp_path / "cut") == numbers(tmp_path / "whole")
    assert "baseline/start/knn/accuracy" in resumed["baselines"]
    assert read_lock(tmp_path / "cut")["lineage"][0]["from"]["step"] == 3


def test_killed_before_the_first_step_it_resumes_without_the_other_run(other, tmp_path, monkeypatch):
    source = shutil.copytree(other["paths"]["run"], tmp_path / "source")
    spec = distilled(tmp_path / "cut", start_from={"run": str(source)})

    def die(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_loop", lambda self, feed: die(feed))
        with pytest.raises(KeyboardInterrupt):
            train(spec, silent)
    assert [path.name for path in _checkpoints(tmp_path / "cut")] == ["step-00000000"]
    shutil.rmtree(source)
    whole = train(distilled(tmp_path / "whole", start_from={"run": other["paths"]["run"]}), silent)
    assert resume(tmp_path / "cut", silent)["weights_sha256"] == whole["weights_sha256"]


def test_a_run_without_another_has_no_checkpoint_of_step_0(tmp_path, monkeypatch):
    interrupted(tiny.spec(tmp_path), monkeypatch, 1)
    assert _checkpoints(tmp_path) == []


def test_a_named_checkpoint_and_an_unknown_one(other, tmp_path, capsys):
    run = other["paths"]["run"]
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump(tiny.fields(steps=1)))
    code, out, _ = call(capsys, "run", file, "--from", f"{run}:3", "--out", tmp_path / "one")
    assert code == OK
    assert f"begins with {run}, step 3 (" in out
    code, _, err = call(capsys, "run", file, "--from", f"{run}:2", "--out", tmp_path / "two")
    assert code == USER_ERROR
    assert "start_from: " in err
    assert "has no checkpoint 'step-00000002'. Known: last, best, step-00000003" in err


def test_explain_and_validate_tell_it(other, tmp_path, capsys):
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump(tiny.fields()))
    code, out, _ = call(capsys, "explain", file, "--from", other["paths"]["run"])
    assert code == OK
    assert "  nets.student: taken\n" in out
    assert "  objectives.mae.decoder: fresh: the other run has no such part\n" in out
    code, _, err = call(capsys, "validate", file, "--from", tmp_path / "nowhere")
    assert code == USER_ERROR
    assert f"start_from.run: no folder {tmp_path / 'nowhere'}; give that of a run" in err


def test_the_report_tells_it(other, tmp_path, capsys):
    train(distilled(tmp_path, start_from={"run": other["paths"]["run"]}, steps=1), silent)
    code, _, _ = call(capsys, "report", tmp_path, "--fast")
    assert code == OK
    assert "began with " in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_from_python(other, tmp_path):
    fields = tiny.fields(tmp_path, steps=1)
    run = Run(**fields, start_from=StartFrom(run=other["paths"]["run"]))
    assert Run(**{**fields, "start_from": {"run": other["paths"]["run"]}}).spec == run.spec
    assert run.fit().summary["step"] == 1
    assert parts(tmp_path)["nets.student"] == "taken"


def test_two_origins_are_refused(other, tmp_path):
    file = tmp_path / "net.safetensors"
    export(Path(other["paths"]["run"]), file)
    backbone = {**tiny.VIT, "checkpoint": str(file)}
    with pytest.raises(
        SpecError, match=r"start_from: gives the student its first weights, and so does `backbone.checkpoint`"
    ):
        tiny.spec(backbone=backbone, start_from={"run": other["paths"]["run"]})


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"start_from: .*holds no run"):
        train(tiny.spec(tmp_path / "run", start_from={"run": str(tmp_path)}), silent)


def test_a_damaged_checkpoint_is_refused(other, tmp_path):
    source = shutil.copytree(other["paths"]["run"], tmp_path / "source")
    (_checkpoints(source)[-1] / STATE).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"start_from: .*is damaged or cut short"):
        train(tiny.spec(tmp_path / "run", start_from={"run": str(source)}), silent)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("runs/a", {"run": "runs/a"}),
        ("runs/a:120", {"run": "runs/a", "checkpoint": "step-00000120"}),
        ("runs/a:best", {"run": "runs/a", "checkpoint": "best"}),
        ("C:/runs/a:step-00000003", {"run": "C:/runs/a", "checkpoint": "step-00000003"}),
    ],
)
def test_text_of_the_option(text, fields):
    assert start_from_text(text) == fields


def test_a_folder_with_a_colon_is_a_folder(tmp_path):
    (tmp_path / "a:12").mkdir()
    assert start_from_text(str(tmp_path / "a:12")) == {"run": str(tmp_path / "a:12")}


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_on_two_ranks(other, tmp_path, parallel):
    fields = {"views": {"global": PAIR}, "objective": DINO, "nets": TEACHER, "steps": 2, "parallel": parallel}
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump(tiny.fields(**fields)))
    source = shutil.copytree(other["paths"]["run"], tmp_path / "source")
    printed = on_ranks(command, "run", file, "--from", source, "--out", tmp_path / "run")
    assert printed.count("  nets.student: taken\n") == 1
    first = checkpoint.load(_checkpoints(tmp_path / "run")[0])
    before = checkpoint.load(_checkpoints(source)[-1])
    assert first.step == 0
    nets = [name for name in before.state["system"] if name.startswith(("nets.", "objectives."))]
    assert all(torch.equal(first.state["system"][name], before.state["system"][name]) for name in nets)
    shutil.rmtree(tmp_path / "run" / FOLDER / "step-00000002")
    (tmp_path / "run" / "summary.json").unlink()
    whole = metrics_log.read(tmp_path / "run")
    shutil.rmtree(source)
    on_ranks(command, "resume", tmp_path / "run")
    again = metrics_log.read(tmp_path / "run")
    assert [entry.get("loss") for entry in again] == [entry.get("loss") for entry in whole]
    assert read_summary(tmp_path / "run")["finished"]
    assert json.loads((tmp_path / "run" / FOLDER / "step-00000000" / META).read_text())["evaluated"]


def test_a_queue_comes_along_with_its_head(tmp_path):
    moco = {"kind": "moco_v2", "projector": {"layers": 1, "out": 8}, "queue": 64}
    changes = {"views": {"global": PAIR}, "nets": {"teacher": {"momentum": 0.9, "update": "before_forward"}}}
    before = train(tiny.spec(tmp_path / "before", objective=moco, steps=3, **changes), silent)
    origin = {"run": before["paths"]["run"]}
    train(tiny.spec(tmp_path / "after", objective=moco, steps=1, start_from=origin, **changes), silent)
    assert set(parts(tmp_path / "after").values()) == {"taken"}
    longer = {**moco, "queue": 96}
    train(tiny.spec(tmp_path / "longer", objective=longer, steps=1, start_from=origin, **changes), silent)
    what = parts(tmp_path / "longer")
    assert what["objectives.moco_v2.projector"] == what["objectives.moco_v2.key_projector"] == "taken"
    (queue,) = (text for name, text in what.items() if "queue" in name)
    assert queue.startswith("fresh: of another shape 1: ")


def test_balancer_and_terms_of_other_names_begin_anew(tmp_path):
    masked = {"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}, "decoder": tiny.DECODER}
    one = {
        "objective": None,
        "objectives": {"main": masked, "hold": {"kind": "mae", **{k: masked[k] for k in masked}}},
    }
    two = {"objective": None, "objectives": {"main": masked, "other": one["objectives"]["hold"]}}
    balance = {"balance": {"kind": "uncertainty"}}
    before = train(tiny.spec(tmp_path / "before", steps=2, **one, **balance), silent)
    spec = tiny.spec(
        tmp_path / "after", start_from={"run": before["paths"]["run"]}, steps=1, **two, **balance
    )
    built, fresh = compose(spec, tiny.CPU).system, compose(tiny.spec(**two, **balance), tiny.CPU).system
    for name, value in built.balancer.state_dict().items():
        assert torch.equal(value, fresh.balancer.state_dict()[name])
    train(spec, silent)
    what = parts(tmp_path / "after")
    assert what["objectives.main.decoder"] == "taken"
    assert what["objectives.other.decoder"] == "fresh: the other run has no such part"
