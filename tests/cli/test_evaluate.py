"""`sslkit evaluate`."""

from __future__ import annotations

import pytest

from sslkit.cli.main import OK, USER_ERROR
from sslkit.runs.evaluations import evaluations
from sslkit.train.launch import train
from tests import tiny
from tests.cli.specs import call
from tests.train.test_trainer import silent

EVALUATE = [{"kind": "knn", "every": "4 steps"}, {"kind": "knn", "name": "knn5", "k": 5}]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with two evaluators: (folder, summary). Tests write nothing but evaluations."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, train(tiny.spec(out, evaluate=EVALUATE, checkpoint={"every": "4 steps"}), silent)


def test_every_evaluator_is_printed_with_its_protocol(finished, capsys):
    out, summary = finished
    code, printed, err = call(capsys, "evaluate", out)
    assert (code, err) == (OK, "")
    lines = printed.splitlines()
    assert lines[0] == f"{out} at step 8"
    accuracy = summary["metrics"]["eval/knn/accuracy"]
    assert lines[1].startswith(f"  knn (knn@1): accuracy {accuracy:.6g}  top5 ")
    assert lines[2].startswith("  knn5 (knn@1(k=5)): accuracy ")
    assert lines[3:] == [f"written: {out / 'evaluations' / 'step-00000008'}"]


def test_a_checkpoint_and_evaluators_can_be_chosen(finished, capsys):
    code, printed, _ = call(
        capsys, "evaluate", finished[0], "--checkpoint", "step-00000004", "--only", "knn5"
    )
    assert code == OK
    assert printed.splitlines()[0].endswith("at step 4")
    assert [line.split()[0] for line in printed.splitlines()[1:-1]] == ["knn5"]
    assert set(evaluations(finished[0], 4)) == {"knn", "knn5"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "linear"], "error: 'linear' is not an evaluator of this run. Known: knn, knn5"),
        (
            ["--checkpoint", "first"],
            "has no checkpoint 'first'. Known: last, best, step-00000004, step-00000008",
        ),
    ],
)
def test_what_the_run_does_not_have_is_refused(finished, capsys, words, message):
    code, printed, err = call(capsys, "evaluate", finished[0], *words)
    assert (code, printed) == (USER_ERROR, "")
    assert message in err
    assert len(err.splitlines()) == 1
