from __future__ import annotations

import time

import pytest
import torch
import torch.nn.functional as F

from sslkit import LinearProbe
from sslkit.core.evaluator import Features
from sslkit.errors import DataError
from sslkit_evaluators.probes.linear import Recipe, batches, choose, fit, gradient, hold_out, logits, score
from tests.plugins.evaluators.subjects import clusters, names, subject

SHORT = LinearProbe(epochs=20)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def separable(seed: int, test_labels=None):
    train, test = clusters(300, 5, 16, 0.2, generator(seed)), clusters(100, 5, 16, 0.2, generator(seed + 1))
    return subject(train, test if test_labels is None else (test[0], test_labels), 5, seed)


def test_separable_features_are_separated():
    metrics = SHORT.build()(separable(0)).metrics
    assert list(metrics) == ["accuracy", "holdout_accuracy", "learning_rate"]
    assert metrics["accuracy"] >= 0.99
    assert metrics["holdout_accuracy"] == 1
    assert metrics["learning_rate"] in SHORT.learning_rates


def test_random_labels_give_chance():
    labels = torch.randint(0, 4, (1200,), generator=generator(3))
    values = torch.randn(1200, 16, generator=generator(4))
    metrics = SHORT.build()(subject((values[:600], labels[:600]), (values[600:], labels[600:]), 4)).metrics
    assert abs(metrics["accuracy"] - 0.25) < 4 * (0.25 * 0.75 / 600) ** 0.5


def test_test_labels_have_no_part_in_the_choice():
    right = SHORT.build()(separable(0)).metrics
    poisoned = SHORT.build()(separable(0, torch.randint(0, 5, (100,), generator=generator(9)))).metrics
    assert poisoned["learning_rate"] == right["learning_rate"]
    assert poisoned["holdout_accuracy"] == right["holdout_accuracy"]
    assert poisoned["accuracy"] < 0.5


def test_holdout_chooses_what_the_test_set_would_not():
    """Rates that are far too small fail on the holdout; the large one wins whatever the test labels say."""
    probe = LinearProbe(learning_rates=(1e-6, 1.0, 1e-5), epochs=10).build()
    assert probe(separable(0, torch.zeros(100, dtype=torch.int64))).metrics["learning_rate"] == 1.0


def test_equal_accuracies_go_to_the_lower_loss():
    values, labels = clusters(300, 5, 16, 0.2, generator())
    recipe = Recipe((0.1, 1.0), 20, 64, 0.1)
    chosen = choose(Features(values, labels, names(5)), 5, recipe, seed=0)
    held = hold_out(labels, 5, 0.1, generator())
    both = fit(values[~held], labels[~held], 5, recipe, _after_holdout(labels))
    accuracies, losses = score(both, values[held], labels[held])
    assert accuracies == [chosen.accuracy, chosen.accuracy]
    assert chosen.rate == recipe.learning_rates[losses.index(min(losses))]


def _after_holdout(labels):
    drawn = generator()
    hold_out(labels, 5, 0.1, drawn)
    return drawn


def test_rates_trained_together_equal_rates_trained_alone():
    values, labels = clusters(200, 4, 12, 1.0, generator())
    rates = (0.01, 0.1, 1.0)
    together = fit(values, labels, 4, Recipe(rates, 5, 32, 0.1), generator(1))
    for s, rate in enumerate(rates):
        alone = fit(values, labels, 4, Recipe((rate,), 5, 32, 0.1), generator(1))
        torch.testing.assert_close(together.weight[:, s], alone.weight[:, 0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.bias[s], alone.bias[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together.weight[:, 0], together.weight[:, 1], atol=1e-3)


def test_training_equals_torch_sgd():
    """Batch norm with fixed statistics, `nn.Linear`, `SGD(momentum=0.9)` and a cosine per step."""
    values, labels = (
        x.double() if x.is_floating_point() else x for x in clusters(70, 3, 6, 1.0, generator())
    )
    recipe = Recipe((0.5,), 4, 16, 0.1)
    fitted = fit(values, labels, 3, recipe, generator(2))
    drawn = generator(2)
    layer = torch.nn.Linear(6, 3).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(6, 1, 3, generator=drawn)[:, 0].T * 0.01)
        layer.bias.zero_()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5 * 16 / 256, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4 * 4)
    x = F.batch_norm(values, None, None, training=True, eps=1e-6)
    for rows in batches(70, 16, 4, drawn, values.device):
        optimizer.zero_grad()
        F.cross_entropy(layer(x[rows]), labels[rows]).backward()
        optimizer.step()
        schedule.step()
    torch.testing.assert_close(fitted.weight[:, 0].T, layer.weight.detach(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(fitted.logits(values)[:, 0], layer(x).detach(), rtol=1e-5, atol=1e-6)


def test_gradient_equals_autograd():
    values, labels = torch.randn(9, 4, dtype=torch.float64), torch.randint(0, 3, (9,))
    weight = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    out = logits(values, weight, bias)
    (F.cross_entropy(out[:, 0], labels) + F.cross_entropy(out[:, 1], labels)).backward()
    found = gradient(values, F.one_hot(labels, 3).double(), weight.detach(), bias.detach())
    torch.testing.assert_close(found[0], weight.grad)
    torch.testing.assert_close(found[1], bias.grad)


def test_score_equals_cross_entropy_in_parts(monkeypatch):
    values, labels = clusters(50, 3, 6, 1.0, generator())
    fitted = fit(values, labels, 3, Recipe((0.1, 1.0), 3, 16, 0.1), generator())
    whole = score(fitted, values, labels)
    monkeypatch.setattr("sslkit_evaluators.probes.linear.SCORED_AT_ONCE", 7)
    assert score(fitted, values, labels) == (whole[0], pytest.approx(whole[1], rel=1e-6))
    out = fitted.only(1).logits(values)[:, 0]
    assert whole[0][1] == pytest.approx((out.argmax(1) == labels).double().mean().item())
    assert whole[1][1] == pytest.approx(F.cross_entropy(out, labels).item(), rel=1e-5)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99, 0.001])
def test_holdout_is_a_share_of_each_class(share):
    sizes = torch.tensor([40, 10, 3, 2, 1, 0])
    labels = torch.repeat_interleave(torch.arange(6), sizes)[torch.randperm(56, generator=generator(5))]
    held = torch.bincount(labels[hold_out(labels, 6, share, generator())], minlength=6)
    wanted = (sizes * share).round().clamp(min=1)
    assert torch.equal(held, wanted.minimum((sizes - 1).clamp(min=0)).long())


def test_holdout_is_random_and_seeded():
    labels = torch.arange(200) % 4
    first = hold_out(labels, 4, 0.2, generator(0))
    assert torch.equal(first, hold_out(labels, 4, 0.2, generator(0)))
    assert not torch.equal(first, hold_out(labels, 4, 0.2, generator(1)))


def test_batches_are_full_and_cover_an_epoch():
    drawn = list(batches(10, 3, 2, generator(), torch.device("cpu")))
    assert [len(rows) for rows in drawn] == [3] * 6
    first, second = torch.cat(drawn[:3]), torch.cat(drawn[3:])
    assert len(first.unique()) == 9
    assert not torch.equal(first, second)


def test_result_depends_on_the_seed_alone():
    first = LinearProbe(epochs=3).build()(separable(7)).metrics
    torch.manual_seed(123)
    before = torch.get_rng_state()
    assert LinearProbe(epochs=3).build()(separable(7)).metrics == first
    assert torch.equal(torch.get_rng_state(), before)


def test_fewer_images_than_a_batch():
    assert (
        LinearProbe(epochs=200)
        .build()(subject(clusters(20, 2, 4, 0.1, generator()), clusters(20, 2, 4, 0.1, generator(1)), 2))
        .metrics["accuracy"]
        >= 0.9
    )


def test_one_image_a_class_is_an_error():
    train = (torch.randn(4, 3), torch.arange(4))
    with pytest.raises(DataError, match=r"at least two training images .* 4 images in 4 classes"):
        SHORT.build()(subject(train, train, 4))


def test_constant_features_are_harmless():
    values, labels = torch.ones(60, 4), torch.arange(60) % 3
    metrics = SHORT.build()(subject((values, labels), (values, labels), 3)).metrics
    assert metrics["accuracy"] == pytest.approx(1 / 3)


def test_protocol_names_what_differs():
    assert LinearProbe().build().protocol == "linear@1"
    assert LinearProbe(epochs=5).build().protocol == "linear@1(epochs=5)"


def test_default_probe_is_fast():
    """The size of the digits: 1,437 x 128 features, 10 classes, 13 rates, 100 epochs; half a second of CPU time."""
    train, test = clusters(1437, 10, 128, 1.0, generator()), clusters(360, 10, 128, 1.0, generator(1))
    start = time.process_time()
    LinearProbe().build()(subject(train, test, 10))
    assert time.process_time() - start < 5


def test_every_rate_is_tried_with_every_decay():
    probe = LinearProbe(learning_rates=(0.1, 1.0), weight_decays=(0.0, 0.01, 10.0), epochs=5)
    scores = probe.build()(separable(0))
    assert list(scores.metrics) == ["accuracy", "holdout_accuracy", "learning_rate", "weight_decay"]
    grid = scores.tables["grid"]
    assert [(row["learning_rate"], row["weight_decay"]) for row in grid] == [
        (0.1, 0.0), (0.1, 0.01), (0.1, 10.0), (1.0, 0.0), (1.0, 0.01), (1.0, 10.0),
    ]  # fmt: skip
    best = max(grid, key=lambda row: (row["holdout_accuracy"], -row["holdout_loss"]))
    assert scores.metrics["learning_rate"] == best["learning_rate"]
    assert scores.metrics["weight_decay"] == best["weight_decay"]
    assert scores.metrics["holdout_accuracy"] == best["holdout_accuracy"]
    assert probe.build().protocol.endswith("weight_decays=(0.0, 0.01, 10.0))")


@pytest.mark.parametrize("optimizer", ["sgd", "lars", "adamw"])
def test_settings_trained_together_equal_settings_alone(optimizer):
    values, labels = clusters(200, 4, 12, 1.0, generator())
    recipe = Recipe((0.01, 0.1), 5, 32, 0.1, (0.0, 0.1), optimizer)
    together = fit(values, labels, 4, recipe, generator(1))
    for s, (rate, decay) in enumerate(recipe.settings):
        alone = fit(
            values, labels, 4, recipe._replace(learning_rates=(rate,), weight_decays=(decay,)), generator(1)
        )
        torch.testing.assert_close(together.weight[:, s], alone.weight[:, 0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.bias[s], alone.bias[0], rtol=1e-4, atol=1e-5)


def test_one_inactive_decay_changes_no_bit():
    values, labels = clusters(200, 4, 12, 1.0, generator())
    plain = fit(values, labels, 4, Recipe((0.1, 1.0), 3, 32, 0.1), generator(1))
    listed = fit(values, labels, 4, Recipe((0.1, 1.0), 3, 32, 0.1, (0.0,), "sgd", True), generator(1))
    assert torch.equal(plain.weight, listed.weight)
    assert torch.equal(plain.bias, listed.bias)


def test_without_standardization_features_stay_as_they_are():
    values, labels = clusters(200, 4, 12, 0.1, generator())
    fitted = fit(values, labels, 4, Recipe((0.1,), 3, 32, 0.1, standardize=False), generator(1))
    assert torch.equal(fitted.mean, torch.zeros(12))
    assert torch.equal(fitted.scale, torch.ones(12))
    torch.testing.assert_close(
        fitted.logits(values)[:, 0], values @ fitted.weight[:, 0] + fitted.bias[0], rtol=1e-5, atol=1e-4
    )
    scale = 1000.0
    same = LinearProbe(epochs=5, learning_rates=(0.1,))
    train, test = clusters(200, 4, 12, 0.1, generator()), clusters(50, 4, 12, 0.1, generator(1))
    grown = [(x * scale, y) for x, y in (train, test)]
    assert same.build()(subject(train, test, 4)).metrics == same.build()(subject(*grown, 4)).metrics
    bare = same.model_copy(update={"standardize": False})
    assert "standardize=False" in bare.build().protocol


def test_settings_that_diverge_are_not_chosen():
    train, test = clusters(200, 4, 12, 0.2, generator()), clusters(50, 4, 12, 0.2, generator(1))
    probe = LinearProbe(learning_rates=(1e38, 0.1), epochs=20)
    scores = probe.build()(subject(train, test, 4))
    assert scores.metrics["learning_rate"] == 0.1
    assert scores.tables["grid"][0]["holdout_loss"] is None
    with pytest.raises(DataError, match="lower `learning_rates`"):
        LinearProbe(learning_rates=(1e38,), epochs=20).build()(subject(train, test, 4))


def test_many_settings_equal_few(monkeypatch):
    values, labels = clusters(200, 4, 12, 1.0, generator())
    recipe = Recipe(tuple(0.01 * (i + 1) for i in range(20)), 3, 32, 0.1)
    many = fit(values, labels, 4, recipe, generator(1))
    monkeypatch.setattr("sslkit_evaluators.probes.linear.FEW", 20)
    torch.testing.assert_close(many.weight, fit(values, labels, 4, recipe, generator(1)).weight)
