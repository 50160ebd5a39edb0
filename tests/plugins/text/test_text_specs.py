"""Specs of images and texts: what is refused before a run, by path, and what round-trips."""

from __future__ import annotations

import pytest
import yaml

from sslkit import Run, RunSpec
from sslkit.plugin import SpecError
from sslkit.specs.check import problems
from sslkit_text.plugin import sslkit_specs
from sslkit_text.specs.lengths import length_of
from sslkit_text.specs.words import BPE
from tests.conftest import ROOT
from tests.plugins.text.test_hybrid import data_of

EXAMPLE = ROOT / "examples" / "digits_clip.yaml"


def run_of(tmp_path, **changes):
    return RunSpec(**data_of(tmp_path, **changes))


def messages(run):
    return {problem.path: problem.message for problem in problems(run)}


def test_the_hybrid_has_no_problems(tmp_path):
    assert messages(run_of(tmp_path)) == {}


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"objective": {"kind": "clip", "text_view": "words"}}, "objective.text_view", "not a view"),
        ({"objective": {"kind": "clip", "text_net": "word"}}, "objective.text_net", "not a net"),
        ({"objective": {"kind": "clip", "text_view": "global"}}, "objective.text_view", "`view` itself"),
        ({"objective": {"kind": "siglip", "text_view": "global"}}, "objective.text_view", "`view` itself"),
        ({"objective": {"kind": "mlm", "view": "text", "net": "text"}}, "objective.view", "hides no words"),
    ],
)
def test_objectives_name_what_there_is(tmp_path, changes, path, message):
    run = run_of(tmp_path, objectives={}, balance={"kind": "fixed"}, **changes)
    assert message in messages(run)[path]


def test_a_network_of_images_does_not_read_texts(tmp_path):
    objectives = {"pairs": {"kind": "clip", "text_net": "student"}}
    run = Run(**data_of(tmp_path, objectives=objectives, balance={"kind": "fixed"}, towers={}))
    with pytest.raises(SpecError, match="text"):
        run.fit()


def test_heads_divide_the_width_of_a_tower(tmp_path):
    tower = {"kind": "text_transformer", "width": 16, "depth": 1, "heads": 3}
    assert "do not divide" in messages(run_of(tmp_path, towers={"text": tower}))["towers.text.heads"]


@pytest.mark.parametrize("kind", ["zero_shot", "image_text_retrieval", "modality_gap"])
def test_evaluators_need_pairs(tmp_path, kind):
    run = run_of(
        tmp_path,
        objectives={"pixels": {"kind": "mae", "decoder": {"depth": 1, "width": 16, "heads": 2}}},
        towers={},
        balance={"kind": "fixed"},
        evaluate=[{"kind": kind}],
    )
    assert "needs a `clip` or `siglip` objective" in messages(run)["evaluate.0"]


def test_evaluators_name_an_objective_of_pairs(tmp_path):
    run = run_of(tmp_path, evaluate=[{"kind": "modality_gap", "objective": "pixels"}])
    assert "'pixels' is no" in messages(run)["evaluate.0.objective"]
    assert messages(run_of(tmp_path, evaluate=[{"kind": "modality_gap", "objective": "pairs"}])) == {}


def test_a_missing_tokenizer_is_told(tmp_path):
    view = {
        "stream": "caption",
        "size": 12,
        "transform": {"kind": "bpe", "file": str(tmp_path / "none.json")},
    }
    views = {**data_of(tmp_path)["views"], "text": view}
    assert "there is no file" in messages(run_of(tmp_path, views=views))["views.text.transform.file"]


def test_a_missing_table_is_told(tmp_path):
    data = {"kind": "caption_table", "images": {"kind": "digits"}, "table": str(tmp_path / "none.csv")}
    assert "there is no file" in messages(run_of(tmp_path, data=data))["data.table"]


def test_fields_without_effect_are_told(tmp_path):
    file = BPE(file=tmp_path / "tokenizer.json", vocabulary=300)
    assert {problem.path for problem in file.unused(None)} == {"vocabulary", "min_frequency", "lower_case"}
    assert {problem.path for problem in BPE().unused(None)} == {"start", "end", "pad", "mask"}


@pytest.mark.parametrize(("size", "length"), [(12, 12), ((12,), 12), ((2, 12), 12)])
def test_lengths_of_rows(size, length):
    assert length_of(size) == length


@pytest.mark.parametrize("size", [(3, 12), (2, 2, 12)])
def test_other_shapes_are_no_rows(size):
    with pytest.raises(SpecError, match="have a length"):
        length_of(size)


@pytest.mark.parametrize(
    "cls", [cls for cls in sslkit_specs() if cls.example() is not None], ids=lambda c: c.__name__
)
def test_examples_round_trip(cls):
    example = cls.example()
    again = cls.model_validate(yaml.safe_load(yaml.safe_dump(example.model_dump(mode="json"))))
    assert again == example
    assert example.kind_name() == again.kind_name()


def test_the_example_of_digits_says_every_word_once():
    data = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    names = data["data"]["names"]
    assert [*names] == [str(i) for i in range(10)]
    assert len(set(names.values())) == 10
    assert data["evaluate"][0]["names"] == names
    assert set(data["evaluate"][0]["templates"]) <= set(data["data"]["templates"])
