"""Files of weights name no other files."""

from __future__ import annotations

import json
import re

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sslkit import ViT
from sslkit.errors import CheckpointError
from sslkit.evaluate.export_part import export_part, read_part
from sslkit.evaluate.open_network import open_network
from sslkit.evaluate.stated_backbone import require_no_files
from sslkit.specs.evaluation import EvaluationSpec
from tests.whole.test_old_runs import KEPT


def restated(source, target, key, change):
    """A copy of the weights in `source` whose metadata `key` is what `change` makes of it."""
    with safe_open(source, "pt") as file:
        metadata = file.metadata()
    metadata[key] = json.dumps(change(json.loads(metadata[key])))
    save_file(load_file(source), target, metadata)
    return target


@pytest.fixture
def undeclared(monkeypatch):
    """A backbone that does not declare which of its fields are first weights, as of a plugin."""
    monkeypatch.setattr(ViT, "first_weights", ())


def test_a_part_reads_no_other_file(tmp_path, undeclared):
    export_part(KEPT / "tokens", "tokenizer", tmp_path / "a.safetensors")

    def change(backbone):
        return {**backbone, "spec": {**backbone["spec"], "checkpoint": "/etc/hostname"}}

    path = restated(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "backbone", change)
    with pytest.raises(CheckpointError, match=re.escape("also reads /etc/hostname (`checkpoint`)")):
        read_part(path, "tokenizer")


def test_weights_that_a_file_names_are_its_own(tmp_path, undeclared):
    """`checkpoint` is the file itself, whatever it says."""

    def change(network):
        return {**network, "backbone": {**network["backbone"], "checkpoint": "/etc/hostname"}}

    path = restated(KEPT / "backbone.safetensors", tmp_path / "a.safetensors", "sslkit", change)
    fields = {"data": {"kind": "digits"}, "evaluate": [{"kind": "knn"}], "out": tmp_path, "device": "cpu"}
    assert open_network(EvaluationSpec(file=path, **fields)).net.dim == 8


def test_a_spec_without_files_passes(tmp_path):
    require_no_files(ViT(), tmp_path)
    require_no_files(ViT(checkpoint=tmp_path), tmp_path, "checkpoint")
    with pytest.raises(CheckpointError, match="names no other"):
        require_no_files(ViT(checkpoint=tmp_path), tmp_path)
