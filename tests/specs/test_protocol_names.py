"""Names of protocols."""

from __future__ import annotations

from sslkit import KNN
from sslkit.specs.protocol_names import protocol


def test_a_protocol_with_its_own_values_has_its_plain_name():
    assert protocol(KNN(), "knn@1", ("k", "temperature")) == "knn@1"
    assert protocol(KNN(k=KNN().k), "knn@1", ("k",)) == "knn@1"


def test_values_that_differ_are_told_in_the_order_of_the_fields():
    spec = KNN(k=5, temperature=0.2)
    assert protocol(spec, "knn@1", ("temperature", "k")) == "knn@1(temperature=0.2, k=5)"


def test_other_fields_do_not_count():
    assert protocol(KNN(k=5, name="five", every="2 steps"), "knn@1", ("temperature",)) == "knn@1"
