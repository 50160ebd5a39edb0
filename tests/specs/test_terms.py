"""The terms of a run, those inside hybrids included."""

from __future__ import annotations

import pytest

from sslkit import MAE, Hybrid, Uniformity
from sslkit.core.problem import Problem
from sslkit.errors import SpecError
from sslkit.specs.load import parse
from sslkit.specs.terms import mixed_pairs, odd_names, terms
from tests.specs.valid import small


def test_terms_go_by_the_hybrids_around_them() -> None:
    inner = Hybrid(mim=MAE(salt=3), deep=Hybrid(apart=Uniformity(salt=1)), salt=2)
    found = list(terms({"one": MAE(), "both": inner}, "objectives"))
    assert [(t.name, t.path, t.salt, t.balance is not None) for t in found] == [
        ("one", "objectives.one", "", False),
        ("both", "objectives.both", "2", True),
        ("both/mim", "objectives.both.objectives.mim", "2/3", False),
        ("both/deep", "objectives.both.objectives.deep", "2", True),
        ("both/deep/apart", "objectives.both.objectives.deep.objectives.apart", "2/1", False),
    ]
    assert found[2].spec == inner.objectives["mim"]


def test_a_run_has_the_terms_of_its_spelling() -> None:
    alone = parse(small())
    assert [(t.name, t.path) for t in alone.all_terms()] == [("mae", "objective")]
    assert alone.combined.balance == alone.balance
    listed = {key: value for key, value in small().items() if key != "objective"}
    listed = parse({**listed, "objectives": {"a": {"kind": "mae"}, "b": {"kind": "simmim"}}})
    assert [(t.name, t.path) for t in listed.all_terms()] == [("a", "objectives.a"), ("b", "objectives.b")]
    members = {"a": {"kind": "mae"}, "b": {"kind": "simmim"}}
    fields = {"objectives": members, "balance": {"kind": "pcgrad"}, "salt": 4}
    hybrid = parse(small(objective={"kind": "hybrid", **fields}))
    assert [(t.name, t.path, t.salt) for t in hybrid.all_terms()] == [
        ("a", "objective.objectives.a", "4"),
        ("b", "objective.objectives.b", "4"),
    ]
    assert hybrid.combined.balance.kind_name() == "pcgrad"
    assert list(hybrid.terms) == ["a", "b"]


@pytest.mark.parametrize("name", ["a/b", "a.b", "a-b", "1a", "_a", "", "a b"])
def test_names_are_words(name: str) -> None:
    (problem,) = odd_names("objectives", [name, "good_1"])
    assert problem.path == f"objectives.{name}"


def test_a_pair_of_terms_has_a_name_of_its_own() -> None:
    assert list(mixed_pairs("objectives", ["a", "b", "a_b", "c", "a_a"])) == []
    message = "records would call both a_b with a and a with b_a 'a_b_a'; rename one of them"
    assert list(mixed_pairs("objectives", ["a_b", "a", "b_a"])) == [Problem("objectives", message)]
    fields = {"objectives": {name: {"kind": "mae"} for name in ("a_b", "a", "b_a")}}
    with pytest.raises(SpecError, match=r"^objective\.objectives: records would call both a_b with a and"):
        parse(small(objective={"kind": "hybrid", **fields}))
