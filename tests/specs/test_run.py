"""The run as a whole: names, defaults, learning-rate rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslkit import KNN, MAE, OptimizerSpec
from sslkit.errors import SpecError
from sslkit.optim.optimizer import BETAS
from sslkit.specs.compilation import CompileSpec
from sslkit.specs.load import parse
from tests.specs.valid import small, valid


def test_terms_are_named_by_the_user_or_by_their_kind() -> None:
    assert parse(small()).terms == {"mae": MAE()}
    assert list(parse(valid()).terms) == ["main", "small"]


def test_the_run_folder() -> None:
    assert parse(small()).run_dir == Path("runs/run")
    assert parse(small(name="digits@2")).run_dir == Path("runs/digits@2")
    assert parse(small(out="elsewhere")).run_dir == Path("elsewhere")


def test_the_first_view_is_the_readout_s_or_the_first() -> None:
    views = {"global": {"size": 16}, "local": {"size": 8}}
    terms = {"one": {"kind": "mae"}, "two": {"kind": "mae", "view": "local"}}
    both = {key: value for key, value in small(views=views, objectives=terms).items() if key != "objective"}
    assert parse(both).first_view == "global"
    assert parse(small(views=views, readout={"view": "local"})).first_view == "local"


def test_evaluators_are_found_by_name_or_kind() -> None:
    spec = parse(valid())
    assert [e.label for e in spec.evaluate] == ["knn", "near"]
    assert spec.evaluator("near") == spec.evaluate[1]
    assert spec.evaluator("knn").due(2 * 7, steps_per_epoch=7)
    assert not spec.evaluator("knn").due(7, steps_per_epoch=7)
    assert not KNN().due(7, steps_per_epoch=7), "by default only at the end"


@pytest.mark.parametrize(
    ("scale", "batch", "peak"),
    [
        ("/256", 4096, 1.5e-4 * 16),
        ("/512", 2048, 1.5e-4 * 4),
        ("sqrt/1024", 4096, 1.5e-4 * 2),
        ("sqrt/1024", 256, 1.5e-4 / 2),
        ("absolute", 4096, 1.5e-4),
    ],
)
def test_learning_rate_rules(scale: str, batch: int, peak: float) -> None:
    assert OptimizerSpec(scale=scale).peak_lr(batch) == pytest.approx(peak, rel=1e-15)


def test_defaults_are_those_of_mae() -> None:
    optimizer = parse(small()).optimizer
    assert (optimizer.name, optimizer.lr, optimizer.scale) == ("adamw", 1.5e-4, "/256")
    assert (optimizer.betas or BETAS, optimizer.weight_decay, optimizer.clip) == ((0.9, 0.95), 0.05, None)


def test_compile_options_ask_for_one_static_graph() -> None:
    assert CompileSpec(backend="aot_eager").options() == {
        "backend": "aot_eager", "fullgraph": True, "dynamic": False, "mode": None,
    }  # fmt: skip


@pytest.mark.parametrize("count", ["batch_size", "micro_batch_size", "epochs"])
@pytest.mark.parametrize("value", [0, -1, 2**31])
def test_counts_are_whole_positive_and_bounded(count: str, value: int) -> None:
    with pytest.raises(SpecError, match=rf"^{count}: must be (greater|less) than"):
        parse(small(**{count: value}))


def test_all_problems_of_a_run_are_told_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        parse(small(readout={"net": "x", "view": "y"}, micro_batch_size=3))
    assert str(caught.value).splitlines() == [
        "micro_batch_size: 3 does not divide `batch_size` 8",
        "readout.net: 'x' is not a net of this run. Known: student. Add it: `nets: {x: {}}`, a moving average, or with "
        "`{x: {backbone: ...}}` a frozen network. Or `towers: {x: ...}`, trained beside `backbone`.",
        "readout.view: 'y' is not a view of this run. Known: global. Or set `view` to null.",
    ]
