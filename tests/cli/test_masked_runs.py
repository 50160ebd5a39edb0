"""Masked runs from command to command: teachers and tokenizers that earlier runs wrote, guides, stages, resuming."""

from __future__ import annotations

import json
import os
import shutil
import signal
from itertools import pairwise, takewhile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sslkit.cli.main import OK, USER_ERROR, main
from sslkit.runs.checkpoint import Checkpoints, load
from sslkit.runs.evaluations import evaluations
from sslkit.runs.lock import read_lock
from sslkit.train.launch import train
from tests import tiny
from tests.cli.specs import call, write
from tests.train.test_trainer import numbers, silent, stop_at

VIEWS = {"global": {**tiny.VIEW, "size": 16}}
"""4 x 4 patches."""
NARROW = {**tiny.VIT, "width": 12, "depth": 1}
CODES = {"size": 6, "dim": 4, "sample": 4}
KNN = {"kind": "knn", "every": "end"}


def guided(**masker):
    """SimMIM on a teacher's features, its masks guided by the same teacher."""
    masker = {"kind": "attention", "ratio": 0.5, **masker}
    return {"kind": "simmim", "masker": masker, "target": {"kind": "teacher_feature"}}


def beit(tokenizer):
    target = {"kind": "vq_token", "tokenizer": str(tokenizer)}
    return {"kind": "beit", "masker": {"kind": "random", "ratio": 0.5}, "target": target}


def explained(out):
    """What `explain` says of passes."""
    lines = out.splitlines()
    return list(
        takewhile(lambda line: line.startswith("  "), lines[lines.index("passes in every step:") + 1 :])
    )


def command(*words, code=OK):
    """Run a command that must end with `code`."""
    assert main([str(word) for word in words]) == code


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A network of its own width that an earlier run exported. Tests must not change it."""
    folder = tmp_path_factory.mktemp("teacher")
    spec = write(folder / "spec.yaml", views=VIEWS, backbone=NARROW, steps=2)
    command("run", spec, "--out", folder / "run")
    command("export", folder / "run", "--out", folder / "net.safetensors")
    return folder / "net.safetensors"


def frozen(teacher):
    return {"teacher": {"backbone": {**NARROW, "checkpoint": str(teacher)}}}


@pytest.fixture(scope="module")
def distilled(teacher, tmp_path_factory):
    """A run with a frozen teacher whose file was moved after it ended. Tests must not change it."""
    folder = tmp_path_factory.mktemp("distilled")
    file = shutil.copy(teacher, folder / "net.safetensors")
    spec = write(
        folder / "spec.yaml",
        views=VIEWS,
        nets=frozen(file),
        steps=3,
        objective=guided(),
        evaluate=[KNN],
        backbone={**tiny.VIT, "depth": 1},
    )
    command("run", spec, "--out", folder / "run")
    Path(file).unlink()
    return folder / "run"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A tokenizer of 4 x 4 patches. Tests must not change it."""
    folder = tmp_path_factory.mktemp("tokenizer")
    objective = {"kind": "vq_vae", "codebook": CODES, "decoder": tiny.DECODER}
    spec = write(folder / "spec.yaml", views=VIEWS, objective=objective, steps=2)
    command("run", spec, "--out", folder / "run")
    command("export", folder / "run", "--part", "tokenizer", "--out", folder / "tokens.safetensors")
    return folder / "tokens.safetensors"


def stopped(folder, monkeypatch, spec, step):
    """The run of `spec`, stopped by a signal at `step`."""
    with monkeypatch.context() as patch:
        stop_at(patch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
        command("run", spec, "--out", folder, code=128 + signal.SIGTERM)
    return folder


def test_a_frozen_teacher_stays_what_it_was(teacher, distilled):
    state = load(Checkpoints(distilled / "checkpoints").all()[-1]).state["system"]
    assert {name for name in state if name.startswith("nets.teacher.net.")} == {
        f"nets.teacher.net.{name}" for name in load_file(teacher)
    }
    for name, value in load_file(teacher).items():
        assert torch.equal(state[f"nets.teacher.net.{name}"], value), name
    assert not read_lock(distilled)["resolved"]["parameters"].keys() & {"teacher", "nets.teacher"}


def test_one_pass_of_the_teacher_guides_and_is_the_target(teacher, tmp_path, capsys):
    spec = write(tmp_path / "spec.yaml", views=VIEWS, nets=frozen(teacher), objective=guided())
    code, out, _ = call(capsys, "explain", spec)
    assert code == OK
    assert explained(out) == [
        "  teacher on 1 x global, before the masks: 16 of 16 patches visible, 544 tokens a step",
        "  student on 1 x global, attention(ratio=0.5), token: 16 of 16 patches visible, 544 tokens a step",
    ]


def test_guides_and_stages_are_explained_together(teacher, tmp_path, capsys):
    inner = {key: value for key, value in guided()["masker"].items() if key != "ratio"}
    masker = {"kind": "curriculum", "masker": inner, "field": "ratio", "start": 0.5, "end": 0.75}
    objective = {"kind": "mae", "masker": {**masker, "levels": 2}, "decoder": tiny.DECODER}
    spec = write(tmp_path / "spec.yaml", views=VIEWS, nets=frozen(teacher), objective=objective)
    code, out, _ = call(capsys, "explain", spec)
    assert code == OK
    said = explained(out)
    assert said[0].startswith("  teacher on 1 x global, before the masks: 16 of 16 patches visible")
    assert said[2:] == [
        "    from step 0: ratio 0.5, 8 hidden, 8 of 16 patches visible, 288 tokens a step",
        "    from step 4: ratio 0.75, 12 hidden, 4 of 16 patches visible, 160 tokens a step",
    ]
    assert "the masks take 2 shapes over the run; compiled, each is a graph of its own" in out


@pytest.mark.parametrize("part", ["evaluate", "export"])
def test_a_run_is_of_use_without_the_file_of_its_teacher(distilled, tmp_path, capsys, part):
    words = (
        ["evaluate", distilled] if part == "evaluate" else ["export", distilled, "--out", tmp_path / "a.pt"]
    )
    code, out, err = call(capsys, *words)
    assert (code, err) == (OK, "")
    assert "written: " in out
    if part == "evaluate":
        summary = json.loads((distilled / "summary.json").read_text())["metrics"]
        assert evaluations(distilled)["knn"].metrics["accuracy"] == summary["eval/knn/accuracy"]


def test_starting_over_needs_the_file(distilled, tmp_path, capsys):
    without = shutil.ignore_patterns("step-*", "summary.json", "manifest.json")  # as of one that never saved
    again = shutil.copytree(distilled, tmp_path / "run", ignore=without)
    code, _, err = call(capsys, "resume", again)
    assert code == USER_ERROR
    assert err.startswith("error: nets.teacher.backbone.checkpoint: no file ")
    assert err.count("\n") == 1, "and nothing else is wrong with a lock that sets every field"


def test_a_run_with_a_frozen_teacher_goes_on_bit_equal(teacher, tmp_path, capsys, monkeypatch):
    fields = {"views": VIEWS, "nets": frozen(teacher), "objective": guided(variant="hint", hints=0.2)}
    run = stopped(tmp_path / "run", monkeypatch, write(tmp_path / "spec.yaml", **fields), 5)
    code, out, _ = call(capsys, "resume", run)
    assert code == OK
    assert "from step 5" in out
    whole = train(tiny.spec(tmp_path / "whole", **fields), silent)
    assert json.loads((run / "summary.json").read_text())["weights_sha256"] == whole["weights_sha256"]
    assert numbers(run) == numbers(tmp_path / "whole")


def test_data2vec_goes_on_bit_equal_with_its_moving_teacher(tmp_path, capsys, monkeypatch):
    masker = {"kind": "random", "ratio": 0.5}
    momentum = {"start": 0.8, "end": 0.99, "shape": "linear"}
    fields = {
        "objective": {"kind": "data2vec", "masker": masker},
        "nets": {"teacher": {"momentum": momentum}},
    }
    run = stopped(tmp_path / "run", monkeypatch, write(tmp_path / "spec.yaml", **fields), 5)
    before = load(Checkpoints(run / "checkpoints").all()[-1]).state["system"]
    assert not torch.equal(before["nets.teacher.net.norm.bias"], before["nets.student.net.norm.bias"])
    assert call(capsys, "resume", run)[0] == OK
    whole = train(tiny.spec(tmp_path / "whole", **fields), silent)
    assert json.loads((run / "summary.json").read_text())["weights_sha256"] == whole["weights_sha256"]
    assert {"data2vec/target_std", "data2vec/prediction_std"} <= numbers(run)[0].keys()


@pytest.mark.parametrize("kind", ["difficulty", "information"])
def test_what_a_masker_learned_survives_a_stop(tmp_path, capsys, monkeypatch, kind):
    """And evaluation, which hides nothing, does not need it."""
    masker = {"kind": kind, "ratio": 0.5}
    objective = {"kind": "mae", "masker": masker, "decoder": tiny.DECODER}
    fields = {"views": VIEWS, "objective": objective, "nets": {"teacher": {}}, "evaluate": [KNN]}
    run = stopped(tmp_path / "run", monkeypatch, write(tmp_path / "spec.yaml", **fields), 5)
    learned = load(Checkpoints(run / "checkpoints").all()[-1]).state["masking"]
    assert learned
    assert call(capsys, "resume", run)[0] == OK
    whole = train(tiny.spec(tmp_path / "whole", **fields), silent)
    assert json.loads((run / "summary.json").read_text())["weights_sha256"] == whole["weights_sha256"]
    ends = [
        load(Checkpoints(p / "checkpoints").all()[-1]).state["masking"] for p in (run, tmp_path / "whole")
    ]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in learned)
    assert any(not torch.equal(ends[0][name], learned[name]) for name in learned)
    code, out, _ = call(capsys, "evaluate", run)
    assert code == OK
    assert f"accuracy {whole['metrics']['eval/knn/accuracy']:.6g}" in out


def test_tokens_of_one_run_are_the_targets_of_the_next(tokenizer, tmp_path, capsys):
    """Until its file is moved: the run says which, and goes on when it is back."""
    file = Path(shutil.copy(tokenizer, tmp_path / "tokens.safetensors"))
    every = {"every": "2 steps"}
    spec = write(
        tmp_path / "spec.yaml", views=VIEWS, objective=beit(file), steps=4, checkpoint=every, log=tiny.DRAWN
    )
    code, out, _ = call(capsys, "run", spec, "--out", tmp_path / "run")
    assert code == OK
    assert "reconstruction.png" in out
    assert 0 <= numbers(tmp_path / "run")[-1]["beit/accuracy"] <= 1
    end = json.loads((tmp_path / "run/summary.json").read_text())["weights_sha256"]
    shutil.rmtree(tmp_path / "run/checkpoints/step-00000004")
    (tmp_path / "run/summary.json").unlink()
    moved = file.rename(tmp_path / "elsewhere.safetensors")
    code, out, err = call(capsys, "resume", tmp_path / "run")
    assert (code, out) == (USER_ERROR, "")
    assert err.startswith("error: objective")
    assert err.endswith(f": no file {file}; `sslkit export RUN_DIR --part tokenizer --out FILE` writes one\n")
    assert call(capsys, "export", tmp_path / "run", "--out", tmp_path / "net.pt")[0] == OK, (
        "it is not asked for"
    )
    moved.rename(file)
    assert call(capsys, "resume", tmp_path / "run")[0] == OK
    assert json.loads((tmp_path / "run/summary.json").read_text())["weights_sha256"] == end


@pytest.mark.parametrize(
    ("changes", "found", "patches"),
    [
        ({"views": {"global": {**tiny.VIEW, "size": 24}}}, "4 x 4", "6 x 6"),
        ({"views": VIEWS, "backbone": {**tiny.VIT, "patch": 8}}, "4 x 4", "2 x 2"),
    ],
)
def test_a_tokenizer_of_another_grid_is_refused_before_anything_is_written(
    tokenizer, tmp_path, capsys, changes, found, patches
):
    spec = write(tmp_path / "spec.yaml", objective=beit(tokenizer), **changes)
    for words in (["explain", spec], ["run", spec, "--out", tmp_path / "run"]):
        code, _, err = call(capsys, *words)
        assert code == USER_ERROR
        assert err.startswith(
            f"error: objective: target: {tokenizer} cuts an image of 16 pixels into {found} "
        )
        assert f"the student's view has {patches} patches; change " in err
    assert not (tmp_path / "run").exists()


def test_a_net_in_place_of_a_tokenizer_is_refused(teacher, tmp_path, capsys):
    spec = write(tmp_path / "spec.yaml", views=VIEWS, objective=beit(teacher))
    code, _, err = call(capsys, "explain", spec)
    assert code == USER_ERROR
    assert (
        f"{teacher}: is no tokenizer; `sslkit export RUN_DIR --part tokenizer --out FILE` writes one" in err
    )


@pytest.mark.parametrize(
    ("masker", "message"),
    [
        ({"kind": "attention", "net": "techer"}, "objective.masker.net: 'techer' is not a net of this run."),
        ({"kind": "attention", "variant": "middle"}, "objective.masker.variant: 'middle' is not a choice."),
        ({"kind": "semantic", "clusters": 1}, "objective.masker.clusters: must be greater than or equal to 2"),
        ({"kind": "information", "cel": 2}, "objective.masker.cel: is not a field of InformationMasker."),
        (
            {"kind": "mixture", "maskers": [{"kind": "random"}, {"kind": "semantic", "net": "x"}]},
            "objective.masker.maskers.1.net: 'x' is not a net of this run.",
        ),
        (
            {"kind": "curriculum", "masker": {"kind": "difficulty", "net": "x"}, "field": "share", "start": 0,
             "end": 1}, "objective.masker.masker.net: 'x' is not a net of this run.",
        ),
        (
            {"kind": "curriculum", "masker": {"kind": "random"}, "field": "ratios", "start": 0.1, "end": 0.2},
            "objective.masker.field: 'ratios' is not a field of RandomMasker. Did you mean 'ratio'?",
        ),
    ],
)  # fmt: skip
def test_mistakes_in_maskers_are_told_with_their_path(tmp_path, capsys, masker, message):
    objective = {"kind": "mae", "masker": masker, "decoder": tiny.DECODER}
    spec = write(tmp_path / "spec.yaml", views=VIEWS, objective=objective, nets={"teacher": {}})
    code, out, err = call(capsys, "validate", spec)
    assert (code, out) == (USER_ERROR, "")
    assert message in err


@pytest.mark.parametrize(
    ("target", "columns"),
    [
        ({"kind": "pixel"}, 3),
        ({"kind": "normalized_pixel"}, 3),
        ({"kind": "hog", "cell": 4}, 4),
        ({"kind": "frequency"}, 4),
        ({"kind": "teacher_feature"}, 4),
        ({"kind": "perceptual"}, 4),
        ({"kind": "patch_colors", "levels": 5}, 4),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else None,
)  # fmt: skip
def test_every_target_leaves_a_figure(tmp_path, target, columns):
    """What the target draws stands beside what was predicted; pixels fill the gaps of the image itself."""
    from PIL import Image

    from sslkit.runs.figures import GAP, PICTURE, TITLE

    objective = {"kind": "simmim", "masker": {"kind": "random", "ratio": 0.5}, "target": target}
    fields = {"objective": objective, "nets": {"teacher": {}}, "backbone": {**tiny.VIT, "depth": 1}}
    train(tiny.spec(tmp_path, views=VIEWS, steps=1, log=tiny.DRAWN, **fields), silent)
    with Image.open(tmp_path / "figures/reconstruction.png") as picture:
        width, height = picture.size
        values = torch.tensor(picture.convert("L").get_flattened_data()).view(height, width)
    assert width == columns * (PICTURE + GAP)
    assert (height - TITLE) % (PICTURE + GAP) == 0
    pictures = values[TITLE:].unflatten(1, (columns, -1)).movedim(1, 0)
    assert all(one.unique().numel() > 2 for one in pictures), "no column is empty"
    assert not any(torch.equal(a, b) for a, b in pairwise(pictures))
