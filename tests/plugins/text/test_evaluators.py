"""Evaluators of images and texts on embeddings that are known."""

from __future__ import annotations

import math

import pytest
import torch

from sslkit.interfaces import Setting
from sslkit.plugin import DataError
from sslkit_text.captioned_source import CaptionedSource
from sslkit_text.pair_embeddings import AT_ONCE, PairEmbeddings
from sslkit_text.specs.scores import ImageTextRetrieval, ModalityGap, ZeroShot
from tests.plugins.text.pictures import Pictures, captioned
from tests.plugins.text.subjects import WIDTH, Known, direction_of

AXES = torch.eye(WIDTH)
CAT, DOG, BIRD = AXES[0], AXES[1], AXES[2]


def subject(texts, embeddings, **options):
    return Known(captioned(texts), torch.stack(list(embeddings)), **options)


def test_an_image_is_of_the_class_whose_prompt_is_nearest():
    """Labels of `Pictures` are cat, dog, cat, dog; the third is taken for a dog."""
    known = subject(["x"] * 4, [CAT, DOG, DOG, 3 * DOG])
    scores = ZeroShot().build()(known)
    assert scores.metrics == {"accuracy": 0.75}
    assert scores.predictions.guesses.tolist() == [0, 1, 1, 1]
    assert scores.predictions.labels.tolist() == [0, 1, 0, 1]
    assert scores.tables["accuracy_by_class"] == {"cat": 0.5, "dog": 1.0}
    assert known.prompts == ["a photo of a cat.", "a photo of a dog."]


def test_every_template_is_a_prompt_of_every_class():
    known = subject(["x"] * 2, [CAT, DOG])
    ZeroShot(templates=("the {}", "a {}!")).build()(known)
    assert known.prompts == ["the cat", "a cat!", "the dog", "a dog!"]


def test_classes_go_by_the_names_that_are_given():
    """Here the classes' names are exchanged, so all is wrong."""
    known = subject(["x"] * 2, [CAT, DOG])
    scores = ZeroShot(names={"cat": "dog", "dog": "cat"}).build()(known)
    assert scores.metrics["accuracy"] == 0
    assert known.prompts == ["a photo of a dog.", "a photo of a cat."]


def test_a_class_is_the_mean_of_its_prompts_at_length_1():
    """One of two prompts of a cat points at birds too, so its class lies between."""
    known = subject(["x"] * 2, [CAT + 0.6 * BIRD, DOG])
    pairs = PairEmbeddings(known, None)
    each = pairs.texts(["cat", "cat and bird"])
    torch.testing.assert_close(each.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(each[1], direction_of("cat and bird") / math.sqrt(2))
    assert ZeroShot(templates=("{}", "{} and bird")).build()(known).metrics["accuracy"] == 1


def test_names_of_no_class_are_refused_before_a_run():
    evaluator = ZeroShot(names={"owl": "bird"}).build()
    (problem,) = evaluator.check(Setting({"test": captioned(["x"] * 2)}, None, "cls"))
    assert problem.path == "names"
    assert "owl" in problem.message
    assert (
        list(
            ZeroShot(names={"cat": "kitten"}).build().check(Setting({"test": captioned(["x"])}, None, "cls"))
        )
        == []
    )


def test_images_without_labels_have_no_classes():
    pictures = Pictures(2)
    pictures.labels = None
    with pytest.raises(DataError, match="no labels"):
        ZeroShot().build()(Known(CaptionedSource(pictures, ["a", "b"]), torch.stack([CAT, DOG])))


def test_perfect_pairs_are_found_both_ways():
    scores = ImageTextRetrieval(ks=(1, 2)).build()(subject(["a cat", "a dog", "a bird"], [CAT, DOG, BIRD]))
    assert set(scores.metrics.values()) == {1.0}
    assert scores.tables["images"] == scores.tables["texts"] == 3
    assert scores.tables["median_rank_image_to_text"] == 1
    assert scores.intervals["image_to_text_1"] == (1.0, 1.0)


def test_recall_rises_with_depth():
    """The picture of a cat lies nearer to the dog's text; its own comes second."""
    known = subject(["a cat", "a dog", "a bird"], [CAT + 2 * DOG, DOG, BIRD])
    metrics = ImageTextRetrieval(ks=(1, 2, 3)).build()(known).metrics
    assert metrics["image_to_text_1"] == pytest.approx(2 / 3)
    assert metrics["image_to_text_2"] == metrics["image_to_text_3"] == 1
    assert metrics["text_to_image_1"] == 1


def test_intervals_hold_the_recall():
    texts = ["a cat", "a dog"] * 30
    embeddings = [CAT if i % 2 == 0 or i % 3 == 0 else DOG for i in range(60)]
    scores = ImageTextRetrieval(ks=(1,)).build()(subject(texts, embeddings))
    low, high = scores.intervals["image_to_text_1"]
    assert low < scores.metrics["image_to_text_1"] < high
    assert high - low < 0.3


def test_equal_texts_are_one_text():
    """Four images, two texts: any image of a text is a hit of it."""
    scores = ImageTextRetrieval(ks=(1,)).build()(
        subject(["a cat", "a dog", "a cat", "a dog"], [CAT, DOG, CAT, CAT + 0.5 * DOG])
    )
    assert scores.tables["texts"] == 2
    assert scores.metrics["image_to_text_1"] == 0.75
    assert scores.metrics["text_to_image_1"] == 1


def test_each_of_several_captions_is_a_text():
    known = subject(["a cat\0zero", "a dog"], [CAT, DOG])
    scores = ImageTextRetrieval(ks=(1,)).build()(known)
    assert scores.tables["texts"] == 3
    assert scores.metrics["image_to_text_1"] == 1, "one of its texts is enough"
    assert scores.metrics["text_to_image_1"] == pytest.approx(2 / 3), (
        "nothing points at zero: a tie is no hit"
    )


def test_embeddings_that_are_all_alike_find_nothing():
    same = [CAT] * 3
    metrics = ImageTextRetrieval(ks=(1,)).build()(subject(["zero a", "zero b", "zero c"], same)).metrics
    assert set(metrics.values()) == {0.0}


def test_the_gap_is_between_centers_and_cosines_are_of_pairs():
    scores = ModalityGap().build()(subject(["a dog", "a dog"], [CAT, CAT]))
    assert scores.metrics["gap"] == pytest.approx(math.sqrt(2))
    assert scores.metrics["positive"] == pytest.approx(0)
    assert scores.intervals["gap"] == pytest.approx((math.sqrt(2), math.sqrt(2)))
    closed = ModalityGap().build()(subject(["a cat", "a dog"], [CAT, DOG]))
    assert closed.metrics["gap"] == pytest.approx(0, abs=1e-6)
    assert closed.metrics["positive"] == pytest.approx(1)


def test_of_several_captions_the_gap_takes_the_first():
    scores = ModalityGap().build()(subject(["a cat\0a dog"] * 2, [CAT, CAT]))
    assert scores.metrics["positive"] == pytest.approx(1)


def test_one_pair_has_no_interval():
    scores = ModalityGap().build()(subject(["a cat"], [CAT]))
    assert scores.intervals == {}
    assert scores.metrics["gap"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("spec", [ZeroShot, ImageTextRetrieval, ModalityGap])
def test_what_is_declared_is_reported(spec):
    evaluator = spec().build()
    scores = evaluator(subject(["a cat", "a dog"], [CAT, DOG]))
    assert list(scores.metrics) == list(spec().reported_metrics())
    assert set(scores.intervals) <= set(scores.metrics)
    assert evaluator.needs == ("test",)
    assert evaluator.protocol.startswith(f"{spec().kind_name()}@1")


def test_an_objective_is_chosen_by_name():
    known = subject(["x"] * 2, [CAT, DOG], objectives=("first", "second"))
    torch.nn.init.zeros_(known.system()[0].objectives["first"].image_projection.weight)
    assert ZeroShot(objective="second").build()(known).metrics["accuracy"] == 1
    assert ZeroShot(objective="first").build()(known).metrics["accuracy"] == 0.5
    assert PairEmbeddings(known, None).objective is known.system()[0].objectives["first"]


@pytest.mark.parametrize(("name", "message"), [(None, "has none"), ("other", "'other'")])
def test_a_run_without_pairs_cannot_be_scored(name, message):
    objectives = () if name is None else ("pairs",)
    with pytest.raises(DataError, match=message):
        ModalityGap(objective=name).build()(subject(["a"] * 2, [CAT, DOG], objectives=objectives))


def test_many_texts_are_encoded_in_parts():
    known = subject(["x"] * 2, [CAT, DOG])
    texts = [f"{word} {i}" for i in range(AT_ONCE) for word in ("cat", "dog")]
    embedded = PairEmbeddings(known, None).texts(texts)
    assert embedded.shape == (2 * AT_ONCE, WIDTH)
    torch.testing.assert_close(embedded, torch.stack([CAT, DOG]).repeat(AT_ONCE, 1))
    assert known.prompts == texts


@pytest.mark.parametrize("spec", [ImageTextRetrieval(ks=(1,)), ModalityGap()])
def test_images_without_a_caption_are_left_out_and_counted(spec):
    """The others score as if those were not there."""
    texts, embeddings = ["a cat", " ", "a dog", "a bird"], [CAT, CAT, DOG, BIRD]
    scores = spec.build()(subject(texts, embeddings))
    alone = spec.build()(subject(["a cat", "a dog", "a bird"], [CAT, DOG, BIRD]))
    assert scores.metrics == alone.metrics
    assert scores.tables == {**alone.tables, "images_without_caption": 1}
    assert scores.intervals == alone.intervals


def test_some_image_must_have_a_caption():
    with pytest.raises(DataError, match=r"no test image has a caption\. The first: 0: has no caption"):
        PairEmbeddings(subject(["", " "], [CAT, DOG]), None).captioned()
