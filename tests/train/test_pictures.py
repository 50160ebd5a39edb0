"""The figures of a run."""

from __future__ import annotations

import contextlib

import pytest
import torch

from sslkit.evaluate.evaluation_sources import Sources
from sslkit.evaluate.readout import reading_of
from sslkit.train.compose import compose
from sslkit.train.pictures import SHOWN, draw_curves, draw_pictures
from sslkit_sources.specs.images import Digits
from sslkit_targets.pixel import PixelTarget
from tests import tiny
from tests.cli.specs import folder, images

SMALL = {"size": 4, "crops": 1, "normalize": {"mean": [0.1], "std": [0.2]}}


@pytest.fixture
def drawn(monkeypatch):
    """What was to be saved: (file name, pictures, mean, std), in place of files."""
    saved = []
    monkeypatch.setattr(
        "sslkit.runs.figures.save_pictures",
        lambda path, pictures, mean, std, show: saved.append((path.name, pictures, mean, std)),
    )
    return saved


def draw(run, tmp_path):
    """Draw the pictures of `run`: its parts and the paths."""
    composed = compose(run, tiny.CPU)
    reading = reading_of(run, composed.env.views[run.first_view], tiny.CPU, contextlib.nullcontext)
    return composed, draw_pictures(composed, reading, Sources(), run, tmp_path)


def term(**changes):
    return {"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}, "decoder": tiny.DECODER, **changes}


def test_held_out_images_of_several_classes_are_shown(drawn, tmp_path):
    _, paths = draw(tiny.spec(), tmp_path)
    assert paths == [tmp_path / "figures" / "reconstruction.png"]
    ((name, pictures, mean, std),) = drawn
    assert (name, mean, std) == ("reconstruction.png", (0.3,), (0.4,))
    assert pictures.columns == ("input", "masked", "reconstruction")
    assert pictures.images.shape == (SHOWN, 3, 1, 8, 8)
    assert not pictures.images.requires_grad
    source = Digits().build("test")
    places = source.labels.argsort(stable=True)[[i * 360 // SHOWN for i in range(SHOWN)]]
    assert len(set(source.labels[places].tolist())) == SHOWN, "all of the eight are of other classes"
    torch.testing.assert_close(pictures.images[:, 0] * 0.4 + 0.3, source.images[places].float() / 255)


def test_the_same_images_are_hidden_alike_at_every_time(drawn, tmp_path):
    draw(tiny.spec(), tmp_path)
    draw(tiny.spec(), tmp_path)
    assert torch.equal(drawn[0][1].images, drawn[1][1].images)


def test_several_objectives_have_figures_of_their_own_in_their_views_colors(drawn, tmp_path):
    run = tiny.spec(
        objective=None, views={"global": tiny.VIEW, "small": SMALL}, backbone={**tiny.VIT, "patch": 2},
        objectives={"a": term(), "b": term(view="small")},
    )  # fmt: skip
    _, paths = draw(run, tmp_path)
    assert [path.name for path in paths] == ["a-reconstruction.png", "b-reconstruction.png"]
    assert [(mean, std) for _, _, mean, std in drawn] == [((0.3,), (0.4,)), ((0.1,), (0.2,))]
    assert [pictures.images.shape[-1] for _, pictures, _, _ in drawn] == [8, 4]


def test_without_a_test_split_training_images_are_shown(drawn, tmp_path):
    root = images(tmp_path / "images", 3)
    (root / "0000.png").write_bytes(b"no image")
    run = tiny.spec(data=folder(root), batch_size=1)
    composed, _ = draw(run, tmp_path)
    shown = drawn[0][1].images[:, 0] * 0.4 + 0.3
    files = [composed.source.load(i)[None].float() / 255 for i in (1, 1, 2)]
    torch.testing.assert_close(
        shown, torch.cat(files), msg="a file that cannot be read is replaced by the next"
    )


def test_drawing_leaves_training_as_it_was(drawn, tmp_path):
    run = tiny.spec(backbone={**tiny.VIT, "drop_path": 0.5})
    composed, _ = draw(run, tmp_path)
    assert composed.system.training
    assert all(p.grad is None for p in composed.step.parameters)
    supply = tiny.feed(run, composed)
    composed.step(0, supply.step(0))
    assert tiny.same(composed, tiny.steps(run, 1)[0])


def test_a_target_that_describes_no_image_has_no_figure(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(PixelTarget, "to_image", lambda self, guess, seen, *more: None)
    assert draw(tiny.spec(), tmp_path)[1] == []
    assert drawn == []


def test_curves_are_drawn_of_what_was_recorded(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    (path,) = draw_curves(tmp_path)
    assert path == tmp_path / "figures" / "curves.png"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_members_of_a_hybrid_have_figures_in_one_folder(drawn, tmp_path):
    inner = {"kind": "hybrid", "objectives": {"a": term(), "b": term(salt=1)}}
    _, paths = draw(tiny.spec(objective=None, objectives={"both": inner}), tmp_path)
    assert [path.name for path in paths] == ["both-a-reconstruction.png", "both-b-reconstruction.png"]


def test_conflict_is_drawn_where_terms_were_balanced(tmp_path):
    figures = tmp_path / "figures"
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0, "loss/a": 1.0, "loss/b": 2.0}\n')
    assert draw_curves(tmp_path) == [figures / "curves.png"]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "loss": 1.0, "balance/a_b/cosine": -0.5}\n')
    assert draw_curves(tmp_path) == [figures / "curves.png", figures / "conflict.png"]
    assert (figures / "conflict.png").read_bytes().startswith(b"\x89PNG")
