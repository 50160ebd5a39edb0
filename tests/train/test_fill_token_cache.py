"""Tokens of a teacher are computed once, kept by what they are of, and give the same run."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import torch

from sslkit.build.system import _require_fixed
from sslkit.cli.main import main
from sslkit.core.passes import Encode
from sslkit.data.content_hash import VARIABLE
from sslkit.errors import CheckpointError, DataError, SpecError, StorageError
from sslkit.evaluate.embeddings.partial_rows import RowWriter
from sslkit.runs.checkpoint import load
from sslkit.runs.lock import read_lock
from sslkit.specs.load import dump
from sslkit.train import fill_token_cache
from sslkit.train.launch import resume, train
from sslkit.train.prepare import prepare
from tests import tiny

IMAGES = 1437
"""Of the training split of digits."""
FIXED = {"size": 8, "normalize": {"mean": [0.3], "std": [0.4]}}
VIEWS = {"global": {**tiny.VIEW, "crops": 1}, "fixed": FIXED}
TEACHER = {**tiny.VIT, "width": 24, "depth": 1}
CNN = {"kind": "cnn", "name": "test_resnet", "stem": "cifar"}


def run_of(out=None, cache="exact", term=(), **changes):
    net = {"backbone": TEACHER} | ({} if cache is None else {"cache": cache})
    objective = {"kind": "distill", "teacher_view": "fixed", **dict(term)}
    parts = {"nets": {"teacher": net}, "views": VIEWS, "objective": objective, "backbone": CNN, "steps": 4}
    return tiny.spec(out, **{**parts, **changes})


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "caches"))
    return tmp_path / "caches" / fill_token_cache.FOLDER


def losses(out):
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(one["step"], one["loss"]) for one in records if "loss" in one]


@pytest.mark.parametrize("tokens", ["class", "mean"])
def test_a_run_with_cached_tokens_is_the_run_without(tmp_path, tokens):
    one = train(run_of(tmp_path / "a", cache=None, term={"tokens": tokens}), print)
    two = train(run_of(tmp_path / "b", term={"tokens": tokens}), print)
    for (step, plain), (_, cached) in zip(losses(tmp_path / "a"), losses(tmp_path / "b"), strict=True):
        assert cached == pytest.approx(plain, rel=1e-5), step
    assert one["step"] == two["step"] == 4


def test_every_pass_of_every_kind(tmp_path):
    """Patches on a grid, where student and teacher see one view that does not change."""
    term = {"tokens": "patch", "view": "fixed", "teacher_view": None}
    plain, cached = (
        run_of(tmp_path / str(c), cache=c, term=term, views={"fixed": FIXED}) for c in (None, "exact")
    )
    for run in (plain, cached):
        train(run, print)
    assert [loss for _, loss in losses(tmp_path / "exact")] == pytest.approx(
        [loss for _, loss in losses(tmp_path / "None")], rel=1e-5
    )


def test_only_what_the_loss_reads_is_kept(tmp_path, folder):
    for tokens, width in {"class": 24, "mean": 48}.items():
        before = set(folder.glob("*.npy"))
        train(run_of(tmp_path / tokens, term={"tokens": tokens}, steps=1), print)
        (file,) = set(folder.glob("*.npy")) - before
        assert np.load(file).shape == (IMAGES, width)
        assert json.loads(file.with_suffix(".json").read_text())["stored"] == "float32"
    assert not list(folder.glob("*.partial"))


def test_float16_halves_the_file_and_hardly_moves_the_loss(tmp_path, folder):
    train(run_of(tmp_path / "a", cache=None), print)
    train(run_of(tmp_path / "b", cache="float16"), print)
    (file,) = folder.glob("*.npy")
    assert np.load(file).dtype == np.float16
    assert [x for _, x in losses(tmp_path / "b")] == pytest.approx(
        [x for _, x in losses(tmp_path / "a")], rel=1e-2
    )


def test_another_run_reads_what_is_there_and_another_teacher_does_not(tmp_path, folder, capsys):
    train(run_of(tmp_path / "a"), print)
    train(run_of(tmp_path / "b", optimizer={"lr": 0.02}), print)
    text = capsys.readouterr().err
    assert text.count("are computed once") == 1
    assert text.count("are there: 0.1 MiB") == 1
    train(run_of(tmp_path / "c", seed=4), print)  # whose teacher is drawn from another seed
    assert capsys.readouterr().err.count("are computed once") == 1
    assert len(list(folder.glob("*.npy"))) == 2


def test_the_teacher_does_not_run_in_a_step(tmp_path, monkeypatch):
    composed = prepare(run_of(tmp_path / "a"), tiny.CPU).composed(run_of(tmp_path / "a"), tiny.CPU)
    spec, step = run_of(), composed.step
    step.cached = fill_token_cache.token_caches(spec, composed, tiny.CPU, lambda *_: None, Silent())
    monkeypatch.setattr(composed.system.nets["teacher"], "forward", None)
    (batch,) = tiny.feed(spec, composed).step(0)
    assert torch.isfinite(step(0, [batch]).total)
    with pytest.raises(ValueError, match="needs `indices`"):
        step(1, [batch._replace(indices=None)])


class Silent:
    def note(self, text: str) -> None:
        """Nothing."""

    warn = note


def test_a_resumed_run_ends_as_an_uninterrupted_one(tmp_path, folder):
    whole = train(run_of(tmp_path / "whole"), print)
    train(run_of(tmp_path / "half"), print)
    checkpoints = sorted((tmp_path / "half" / "checkpoints").iterdir())
    shutil.rmtree(checkpoints[-1])
    (tmp_path / "half" / "summary.json").unlink()
    for file in folder.iterdir():  # it may be removed at any time
        file.unlink()
    resumed = resume(tmp_path / "half", print)
    assert load(checkpoints[0]).step == 3
    assert resumed["weights_sha256"] == whole["weights_sha256"]


def test_what_a_kill_left_goes_on(tmp_path, folder, monkeypatch):
    add, encode, calls = RowWriter.add, fill_token_cache._Job._encode, []

    def killed(writer, *args):
        add(writer, *args)
        calls.append(args)
        if len(calls) == 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(RowWriter, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        train(run_of(tmp_path / "a"), print)
    (partial,) = folder.glob("*.partial")
    assert np.frombuffer((partial / "states").read_bytes(), np.uint8).sum() == 20 * 32
    monkeypatch.setattr(RowWriter, "add", add)
    monkeypatch.setattr(
        fill_token_cache._Job, "_encode", lambda job, batch: calls.append(batch) or encode(job, batch)
    )
    train(run_of(tmp_path / "a"), print)
    assert len(calls) - 20 == 1 + math.ceil(IMAGES / 32) - 20, "the first batch is looked at again"
    (file,) = folder.glob("*.npy")
    rows = np.load(file)
    file.unlink()
    train(run_of(tmp_path / "b"), print)
    np.testing.assert_array_equal(rows, np.load(file))


def test_other_tokens_under_the_same_name_are_refused(tmp_path, folder):
    train(run_of(tmp_path / "a", steps=1), print)
    (file,) = folder.glob("*.npy")
    rows = np.load(file)
    np.save(file, rows + 1)
    with pytest.raises(CheckpointError, match=r"holds other tokens than nets\.teacher computes now"):
        train(run_of(tmp_path / "b", steps=1), print)
    file.write_bytes(b"damaged")
    train(run_of(tmp_path / "c", steps=1), print)
    np.testing.assert_array_equal(rows, np.load(file))


def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    message = (
        r"file/tokens/\w+\.npy\.partial: could not be written: Not a directory\. "
        r"`SSLKIT_CACHE` names another folder; without `nets\.teacher\.cache` nothing is kept$"
    )
    with pytest.raises(StorageError, match=message):
        train(run_of(tmp_path / "a", steps=1), print)
    assert (tmp_path / "file").read_text() == "in the way"


def test_rows_that_lost_their_end_are_told_and_computed_again(tmp_path, folder, monkeypatch):
    finish = fill_token_cache._finish

    def cut(path, partial, about):
        finish(path, partial, about)
        path.write_bytes(path.read_bytes()[:-100])

    monkeypatch.setattr(fill_token_cache, "_finish", cut)
    with pytest.raises(CheckpointError, match=r"\.npy: is damaged \(.+\); remove it, and start again$"):
        train(run_of(tmp_path / "a", steps=1), print)
    monkeypatch.setattr(fill_token_cache, "_finish", finish)
    train(run_of(tmp_path / "a", steps=1), print)
    (file,) = folder.glob("*.npy")
    assert np.load(file).shape[0] == IMAGES


def test_tokens_that_are_not_finite_name_the_image(tmp_path, folder, monkeypatch):
    def damaged(job, batch, real=fill_token_cache._Job._encode):
        tokens = real(job, batch)
        tokens[0][0, 5] = torch.inf
        return tokens

    monkeypatch.setattr(fill_token_cache._Job, "_encode", damaged)
    with pytest.raises(
        DataError,
        match=r"nets\.teacher: the tokens of digits train image 5 are not finite: too large for float16",
    ):
        train(run_of(tmp_path / "a", cache="float16"), print)
    assert not list(folder.glob("*.npy"))


def test_a_view_that_changes_and_a_net_that_changes_are_refused(tmp_path):
    with pytest.raises(
        SpecError, match=r"nets\.teacher\.cache: the net sees view 'global', which changes at random"
    ):
        prepare(run_of(term={"teacher_view": None}, views={"global": VIEWS["global"]}), tiny.CPU)
    with pytest.raises(SpecError, match=r"nets\.teacher\.cache: is for a net that never changes"):
        run_of(nets={"teacher": {"cache": "exact"}})
    with pytest.raises(SpecError, match=r"nets\.teacher\.cache: an objective masks what the net sees"):
        _require_fixed(Encode("fixed", net="teacher", mask="a masker"), run_of())


def test_patches_need_the_same_crops(tmp_path):
    with pytest.raises(SpecError, match="teacher_view: shows other crops than 'global'"):
        run_of(term={"tokens": "patch"})
    with pytest.raises(SpecError, match="has 1 crops and 'global' has 2"):
        run_of(views={**VIEWS, "global": {**tiny.VIEW, "crops": 2}})


def test_explain_and_the_lock_tell(tmp_path, capsys):
    file = tmp_path / "spec.yaml"
    file.write_text(dump(run_of(tmp_path / "a", log={**tiny.DRAWN, "flops": True})))
    assert main(["explain", str(file)]) == 0
    text = capsys.readouterr().out
    assert "  teacher on 1 x fixed: cached on disk, exact; computed once" in text
    train(run_of(tmp_path / "a", steps=1, log={**tiny.DRAWN, "flops": True}), print)
    train(run_of(tmp_path / "b", cache=None, steps=1, log={**tiny.DRAWN, "flops": True}), print)
    cached, plain = (read_lock(tmp_path / name)["resolved"] for name in "ab")
    assert cached["flops"][0] < plain["flops"][0]
    assert [one.get("cached") for one in cached["passes"]] == ["exact", None]
    assert cached["plan"]["tokens_per_step"] < plain["plan"]["tokens_per_step"]
