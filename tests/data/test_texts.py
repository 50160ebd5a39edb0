"""Texts in two arrays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslkit.interfaces import Texts, packed

ODD = b"caf\xe9.jpg".decode(errors="surrogateescape")


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]))))
def test_texts_come_back(texts):
    read = Texts(packed(texts))
    assert list(read) == texts
    assert len(read) == len(texts)


def test_names_that_are_no_unicode_come_back():
    read = Texts(packed(["", ODD, "b"]))
    assert (read[0], read[1], read[-1]) == ("", ODD, "b")
    for outside in (3, -4):
        with pytest.raises(IndexError):
            read[outside]
