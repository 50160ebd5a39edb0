"""Concept bottlenecks of planted answers: what concepts tell, what they do not, and what putting them right mends."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sslkit import Concept
from sslkit.core.evaluator import Features, Setting
from sslkit.core.source import Source
from sslkit.errors import DataError
from sslkit.evaluate.evaluation_sources import Sources, require_splits
from sslkit_evaluators.concepts.concept import correct
from tests import tiny
from tests.plugins.evaluators.networks import Planted, network, run

QUICK = {"strengths": (1.0, 100.0), "iterations": 200}


class Told(Source):
    """Labels and attributes without images."""

    channels, fingerprint = 3, "told"

    def __init__(self, labels: Tensor, attributes: dict[str, Tensor], classes: tuple[str, ...]) -> None:
        self.labels, self.attributes, self.classes = labels, attributes, classes

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, index: int) -> Tensor:
        raise AssertionError("features are all that is read")


class World:
    """Concepts `a` (two values), `b` (two) and `c` (three) at random; features tell those of `seen` and noise."""

    seed = 0

    def __init__(
        self, label: Any, classes: int, seen: str = "abc", extra: Any = None, count: int = 240
    ) -> None:
        self.sources, self.values = {}, {}
        for place, split in enumerate(("train", "test")):
            generator = torch.Generator().manual_seed(place + 10)
            told = {
                name: torch.randint(0, values, (count,), generator=generator)
                for name, values in (("a", 2), ("b", 2), ("c", 3))
            }
            labels = label(**told)
            names = tuple(f"class {i}" for i in range(classes))
            self.sources[split] = Told(labels, told, names)
            shown = [torch.nn.functional.one_hot(told[name], 3).float() for name in seen]
            if extra is not None:
                shown.append(extra(labels))
            noise = 0.1 * torch.randn(count, 6, generator=generator)
            values = torch.cat([*shown, noise], dim=1)
            self.values[split] = values + 0.05 * torch.randn(values.shape, generator=generator)

    def source(self, split):
        return self.sources[split]

    def features(self, split, layer=None):
        source = self.sources[split]
        return Features(self.values[split], source.labels, source.classes)


def both(a, b, c):
    return 2 * a + b


def xor(a, b, c):
    return a ^ b


def score(subject, **fields):
    return Concept(**{**QUICK, **fields}).build()(subject)


def test_a_class_that_is_made_of_concepts_goes_through_the_bottleneck():
    scores = score(World(both, 4))
    assert list(scores.metrics)[:3] == ["accuracy", "direct_accuracy", "gap"]
    assert (
        scores.metrics["accuracy"] == scores.metrics["concept_accuracy"] == scores.metrics["concept_auc"] == 1
    )
    assert abs(scores.metrics["gap"]) < 0.02
    assert torch.equal(scores.predictions.labels, scores.predictions.guesses)
    assert 0.3 < scores.metrics["concept_majority"] < 0.6


def test_the_bottleneck_lets_nothing_else_through():
    """Exclusive or is not linear in its concepts, but features here tell the class as well."""
    scores = score(World(xor, 2, extra=lambda labels: 2.0 * labels[:, None].float()))
    assert scores.metrics["direct_accuracy"] > 0.98
    assert scores.metrics["concept_accuracy"] == 1
    assert scores.metrics["accuracy"] < 0.7, "three of four combinations at most"
    assert scores.metrics["gap"] == scores.metrics["direct_accuracy"] - scores.metrics["accuracy"]


@pytest.mark.parametrize("bottleneck", ["sequential", "independent"])
def test_putting_an_unknown_concept_right_mends_the_class(bottleneck):
    scores = score(World(both, 4, seen="ac"), bottleneck=bottleneck)
    known = {concept["name"]: concept for concept in scores.tables["concepts"]}
    assert known["a"]["accuracy"] == known["c"]["accuracy"] == 1
    assert known["b"]["accuracy"] < 0.65
    assert known["b"]["auc"] < 0.65
    curve = scores.tables["intervention"]
    assert curve["concepts"][0] == "b", "the one that held-out images found hardest"
    assert curve["accuracy"][0] == scores.metrics["accuracy"] < 0.7
    if bottleneck == "independent":
        assert curve["accuracy"][1:] == [1.0, 1.0, 1.0]


def test_weights_say_which_concept_speaks_for_which_class():
    table = score(World(both, 4)).tables
    assert table["columns"] == ["a", "b", "c=0", "c=1", "c=2"]
    weights = torch.tensor(table["weights"])
    assert weights.shape == (4, 5)
    assert table["classes"] == [f"class {i}" for i in range(4)]
    assert bool((weights[[2, 3], 0] > 0.5).all())
    assert bool((weights[[0, 1], 0] < -0.5).all())
    assert bool((weights[[1, 3], 1] > 0.5).all())
    assert bool((weights[[0, 2], 1] < -0.5).all())
    assert weights[:, 2:].abs().max() < 0.2 * weights[:, :2].abs().min(), "c says nothing of the class"
    torch.testing.assert_close(weights.sum(0), torch.zeros(5), rtol=0, atol=1e-3)
    assert len(table["bias"]) == 4


def test_only_the_concepts_that_are_asked_for():
    scores = score(World(both, 4), concepts=("b",))
    assert [concept["name"] for concept in scores.tables["concepts"]] == ["b"]
    assert scores.tables["columns"] == ["b"]
    assert 0.3 < scores.metrics["accuracy"] < 0.7
    assert scores.metrics["direct_accuracy"] == 1


def test_unknown_concepts_are_left_out_and_stay_as_predicted():
    world = World(both, 4)
    for split in ("train", "test"):
        world.sources[split].attributes["b"][::3] = -1
    scores = score(world)
    told = {concept["name"]: concept["images"] for concept in scores.tables["concepts"]}
    assert told == {"a": 240, "b": 160, "c": 240}
    assert scores.metrics["accuracy"] > 0.98
    world.sources["test"].attributes["b"][:] = -1
    silent = score(world)
    (b,) = [concept for concept in silent.tables["concepts"] if concept["name"] == "b"]
    assert (b["accuracy"], b["auc"], b["majority"], b["images"]) == (None, None, None, 0)
    assert silent.metrics["accuracy"] > 0.98
    assert silent.metrics["concept_accuracy"] == 1, "the mean of those that are told"


def test_corrections_replace_what_is_known():
    said = [torch.tensor([[0.3, 0.7], [0.9, 0.1]]), torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])]
    truth = [torch.tensor([0, -1]), torch.tensor([1, 7])]
    found = correct(said, truth, [0, 1])
    assert found[0].tolist() == [[1, 0], said[0][1].tolist()]
    assert found[1].tolist() == [[0, 1, 0], said[1][1].tolist()], "a value that no training image has"
    assert correct(said, truth, [1])[0] is said[0]
    assert said[0][0].tolist() == pytest.approx([0.3, 0.7]), "what was said is not changed"


def test_test_images_choose_nothing():
    world, poisoned = World(both, 4, seen="ac"), World(both, 4, seen="ac")
    source = poisoned.sources["test"]
    source.labels = (source.labels + 1) % 4
    source.attributes = {name: values.flip(0) for name, values in source.attributes.items()}
    right, wrong = score(world), score(poisoned)
    assert torch.equal(right.predictions.guesses, wrong.predictions.guesses)
    assert right.tables["weights"] == wrong.tables["weights"]
    assert right.tables["intervention"]["concepts"] == wrong.tables["intervention"]["concepts"]
    for key in ("strength", "holdout_accuracy"):
        assert [c[key] for c in right.tables["concepts"]] == [c[key] for c in wrong.tables["concepts"]]


def test_values_of_separate_sources_are_matched_by_name():
    world, other = World(both, 4, seen="ac"), World(both, 4, seen="ac")
    for source in (*world.sources.values(), other.sources["train"]):
        source.attribute_values = {"c": ("x", "y", "z")}
    source = other.sources["test"]
    source.attribute_values = {"c": ("z", "x", "y")}
    source.attributes = source.attributes | {"c": (source.attributes["c"] + 1) % 3}
    assert score(world).metrics == score(other).metrics
    source.attribute_values = {"c": ("z", "x", "w")}
    problems = list(Concept().build().check(Setting(other.sources, None, "cls")))
    assert any("concept 'c' is 'w' in test images" in problem.message for problem in problems)


def test_figures_are_drawn(tmp_path):
    scores = score(World(both, 4))
    assert set(scores.figures) == {"weights", "intervention"}
    for name, draw in scores.figures.items():
        draw(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000


def test_a_network_on_planted_images():
    """Colors tell the class and its parity; the coin is known of three images in four, and cannot be told."""
    spec = Concept(**QUICK)
    subject = network(spec, data=Planted(damaged=frozenset({1, 6})))
    scores = run(spec, subject)
    known = {concept["name"]: concept for concept in scores.tables["concepts"]}
    assert known["parity"]["accuracy"] > 0.9
    assert known["coin"]["images"] == 30
    assert known["coin"]["accuracy"] < 0.8
    assert scores.metrics["direct_accuracy"] > 0.9
    assert 0.2 < scores.metrics["accuracy"] <= 0.9, "parity alone tells two classes of four apart"
    assert run(spec, subject).metrics == scores.metrics


def test_data_without_attributes_is_refused_before_training():
    spec = tiny.spec()
    with pytest.raises(
        DataError, match=r"^evaluate\.0: 'concept' needs attributes of images, .* they have none"
    ):
        require_splits([Concept()], spec.data, Sources())
    require_splits([Concept()], Planted(), Sources())
    with pytest.raises(
        DataError, match=r"needs the attribute 'wings', which the train images lack; .* parity, coin"
    ):
        require_splits([Concept(concepts=("coin", "wings"))], Planted(), Sources())


def test_errors_say_what_is_wrong():
    world = World(both, 4)
    world.sources["train"].attributes["c"][:] = -1
    with pytest.raises(DataError, match="concept 'c' is unknown for all training images"):
        score(world)
    other = World(both, 4)
    other.sources["test"].classes = ("one",)
    with pytest.raises(DataError, match="train has 4 classes and test 1; they must be the same"):
        score(other)
    broken = World(both, 4)
    broken.values["test"][3, 0] = torch.nan
    with pytest.raises(DataError, match="features of 1 test images are not finite"):
        score(broken)
    with pytest.raises(DataError, match="needs two readable training images, found 1"):
        score(World(both, 4, count=1))


def test_protocol_names_what_differs():
    assert Concept().build().protocol == "concept@1"
    assert Concept(bottleneck="independent").build().protocol == "concept@1(bottleneck=independent)"
