"""What a spec of a Hugging Face data set is told before anything is read."""

from __future__ import annotations

import re

import pytest

from sslkit.errors import DataError, SpecError
from sslkit.specs.load import parse
from sslkit_shards.specs import hf
from sslkit_shards.specs.hf import HuggingFace
from tests.conftest import ROOT
from tests.specs.valid import small


def checked(**fields):
    return parse(small(data={"kind": "hf", **fields}))


def test_a_name_on_the_hub_or_a_folder(tmp_path):
    assert checked(path="owner/name", revision="a1b2").data.path == "owner/name"
    assert checked(path=str(tmp_path)).data.train == "train"
    assert HuggingFace.example() is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": "./nothing/here/x"}, r"data\.path: \./nothing/here/x: no such folder; expected a folder, or owner"),
        ({"path": "a/b", "test": "train"}, "`test` is the split that is trained on"),
        ({"path": "a/b", "test": "test", "split": {"test": 0.1}}, "leave one out"),
        ({"path": "a/b", "split": {"test": 0.1, "by": "folder"}}, "rows lie in no folder"),
        ({"path": "a/b", "split": {"test": 0.1, "by": "group"}}, "name the column of groups"),
        ({"path": "a/b", "group_column": "patient"}, r"data\.group_column: has no effect"),
        ({"path": "a/b", "bands": [0, 1]}, "`bands` names 2 but channels is 3"),
        ({"path": ""}, r"data\.path"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_field(fields, message):
    with pytest.raises(SpecError, match=message):
        checked(**fields)


def test_without_datasets_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(hf, "find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"package datasets.*pip install 'sslkit-shards\[hf\]'"):
        checked(path="owner/name")
    with pytest.raises(DataError, match=r"pip install 'sslkit-shards\[hf\]'"):
        HuggingFace(path="owner/name").build("train")


def test_the_page_tells_every_field():
    page = (ROOT / "docs" / "shards.md").read_text(encoding="utf-8")
    section = page.partition("\n## Hugging Face")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert named == set(HuggingFace.model_fields) - {"kind"}
