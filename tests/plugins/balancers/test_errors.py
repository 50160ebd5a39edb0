"""What is wrong with a balancer is said in one line, at the place where the spec has it, and what to do about it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from sslkit.cli.main import main
from sslkit.errors import SpecError
from sslkit.specs.load import parse
from sslkit.train.compose import compose
from tests import tiny
from tests.plugins.balancers.runs import TERMS


def whole(balance: dict[str, Any]) -> dict[str, Any]:
    """`objectives` and `balance`."""
    return tiny.fields(objective=None, objectives=TERMS, balance=balance)


def short(balance: dict[str, Any]) -> dict[str, Any]:
    """The same as one hybrid."""
    return tiny.fields(objective={"kind": "hybrid", "objectives": TERMS, "balance": balance})


def nested(balance: dict[str, Any]) -> dict[str, Any]:
    """A hybrid that is a term."""
    inner = {"kind": "hybrid", "objectives": TERMS, "balance": balance}
    return tiny.fields(objective=None, objectives={"both": inner, "some": TERMS["some"]})


def deep(balance: dict[str, Any]) -> dict[str, Any]:
    """A hybrid that is a term of the hybrid that is the run's objective."""
    inner = {"kind": "hybrid", "objectives": TERMS, "balance": balance}
    return tiny.fields(objective={"kind": "hybrid", "objectives": {"both": inner, "some": TERMS["some"]}})


PLACES = {
    "balance": whole,
    "objective.balance": short,
    "objectives.both.balance": nested,
    "objective.objectives.both.balance": deep,
}
places = pytest.mark.parametrize(("path", "place"), PLACES.items(), ids=PLACES)


def told(fields: dict[str, Any]) -> str:
    """The message, of the check or of the build."""
    with pytest.raises(SpecError) as caught:
        compose(parse(fields), tiny.CPU)
    message = str(caught.value)
    assert "\n" not in message
    return message


@places
@pytest.mark.parametrize(
    ("balance", "field", "message"),
    [
        (
            {"kind": "fixed", "weights": {"mae": 1}},
            "weights.mae",
            "is not an objective of this run. Known: some, most",
        ),
        ({"kind": "fixed", "weights": {"some": -0.5}}, "weights.some", "must be greater than or equal to 0"),
        ({"kind": "fixed", "weights": {"some": float("inf")}}, "weights.some", "must be a finite number"),
        ({"kind": "uncertainty", "initial": -11}, "initial", "must lie within -10.0 and 10.0, found -11.0"),
        ({"kind": "uncertainty", "form": "paper"}, "form", "is not a choice"),
        ({"kind": "uncertainty", "bound": 0}, "bound", "must be greater than 0"),
        ({"kind": "dwa", "steps": 0}, "steps", "must be greater than or equal to 1"),
        ({"kind": "dwa", "temprature": 1}, "temprature", "temperature"),
        ({"kind": "pcgrd"}, "kind", "Did you mean 'pcgrad'?"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(
    path: str, place: Any, balance: dict[str, Any], field: str, message: str
) -> None:
    found = told(place(balance))
    assert found.startswith(f"{path}.{field}: ")
    assert message in found


@places
@pytest.mark.parametrize(
    ("balance", "field", "message"),
    [
        ({"kind": "torchjd", "aggregator": "Nothing"}, "aggregator", "'Nothing' is no aggregator of torchjd"),
        ({"kind": "torchjd", "aggregator": "NashMTL"}, "aggregator", "keeps no state. Known: AlignedMTL, "),
        (
            {"kind": "torchjd", "aggregator": "CAGrad"},
            "options",
            "missing 1 required positional argument: 'c'",
        ),
        ({"kind": "torchjd", "options": {"scale_mode": "longest"}}, "options", "'longest'"),
        ({"kind": "torchjd", "options": {"x": 1}}, "options", "unexpected keyword argument 'x'"),
    ],
)
def test_what_torchjd_refuses_is_said_before_the_run(
    path: str, place: Any, balance: dict[str, Any], field: str, message: str
) -> None:
    """Some aggregators look at their arguments only when they weigh."""
    pytest.importorskip("torchjd")
    found = told(place(balance))
    assert found.startswith(f"{path}: {field}: ")
    assert message in found


@pytest.mark.parametrize("place", [nested, deep])
@pytest.mark.parametrize("kind", ["pcgrad", "gradnorm", "cagrad", "mgda", "imtl_g", "nash"])
def test_inside_hybrids_only_losses_are_weighed(place: Any, kind: str) -> None:
    path = next(path for path, one in PLACES.items() if one is place)
    found = told(place({"kind": kind}))
    assert found.startswith(
        f"{path}: {kind!r} weighs gradients, which only the balancer of the whole run can do"
    )
    assert "move the terms of this hybrid up" in found


@pytest.mark.parametrize("weight", [0, {"start": 1.0, "end": 0.0, "until": 0.5}])
def test_mgda_and_a_weight_of_0(weight: Any) -> None:
    """Its gradient of 0 is the shortest combination, so the student would stand still."""
    terms = {**TERMS, "most": {**TERMS["most"], "weight": weight}}
    found = told(tiny.fields(objective=None, objectives=terms, balance={"kind": "mgda"}))
    assert found.startswith(
        "balance: would train nothing that objectives share once the weight of 'most' is 0"
    )
    terms["most"]["weight"] = {"start": 0.0, "end": 1.0}
    parse(tiny.fields(objective=None, objectives=terms, balance={"kind": "mgda"}))


def test_a_hybrid_as_objective_leaves_nothing_to_the_runs_own_balance() -> None:
    fields = short({"kind": "dwa"}) | {"balance": {"kind": "pcgrad"}}
    assert told(fields) == "balance: the hybrid has its own, `objective.balance`; set that one"
    assert parse(short({"kind": "dwa"})).balance_path == "objective.balance"
    assert parse(whole({"kind": "dwa"})).balance_path == "balance"
    assert parse(tiny.fields()).balance_path == "balance"


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-1, "a weight is at least 0, at the start and at the end, found -1"),
        (float("nan"), "must be a finite number"),
        ({"start": 1, "end": -2}, "a weight is at least 0"),
        ({"start": 0, "end": 1, "until": 3}, "less than or equal to 1"),
        ({"start": 0}, "is missing"),
        ("much", "must be a number"),
    ],
)
def test_weights_of_terms(weight: Any, message: str) -> None:
    terms = {**TERMS, "most": {**TERMS["most"], "weight": weight}}
    found = told(tiny.fields(objective=None, objectives=terms))
    assert found.startswith("objectives.most.weight")
    assert message in found


@pytest.mark.parametrize(
    "fields",
    [
        whole({"kind": "fixed", "weights": {"mae": 1}}),
        nested({"kind": "nash"}),
    ],
)
@pytest.mark.parametrize("command", ["explain", "run"])
def test_at_the_command_line_it_is_one_line_and_code_2(
    tmp_path: Any, capsys: pytest.CaptureFixture[str], fields: dict[str, Any], command: str
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(fields | {"out": str(tmp_path / "run")}))
    assert main([command, str(spec)]) == 2
    err = capsys.readouterr().err.strip()
    assert err.startswith("error: ")
    assert err.count("\n") == 0
    assert "Traceback" not in err
