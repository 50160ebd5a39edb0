"""Which entry of a checkpoint, and which of its networks, is taken."""

from __future__ import annotations

import pytest
import torch

from sslkit.errors import CheckpointError
from sslkit_backbones.public_weights.layout_table import LAYOUTS, ROOTS, layout_of
from sslkit_backbones.public_weights.nested_weights import weights_in
from sslkit_backbones.public_weights.weights_report import left_out, mismatch

ROOT = "patch_embed.proj.weight"
ONE = torch.ones(1)


@pytest.mark.parametrize(
    ("checkpoint", "entries", "prefix"),
    [
        ({ROOT: ONE}, (), ""),
        ({"model": {ROOT: ONE}, "model_ema": {ROOT: ONE}}, ("model_ema",), ""),
        ({"student": {ROOT: ONE}, "teacher": {f"backbone.{ROOT}": ONE}}, ("teacher",), "backbone."),
        ({"model": {"module": {ROOT: ONE}}}, ("model", "module"), ""),
        ({"weights of mine": {ROOT: ONE}, "epoch": 3}, ("weights of mine",), ""),
        ({f"_orig_mod.module.{ROOT}": ONE}, (), "_orig_mod.module."),
        ({f"base_encoder.{ROOT}": ONE, f"momentum_encoder.{ROOT}": ONE}, (), "base_encoder."),
        ({f"backbone.{ROOT}": ONE, f"momentum_backbone.{ROOT}": ONE}, (), "backbone."),
        ({f"student_backbone.{ROOT}": ONE, f"teacher_backbone.{ROOT}": ONE}, (), "teacher_backbone."),
        ({ROOT: ONE, f"teacher.{ROOT}": ONE}, (), ""),
    ],
)
def test_one_network_is_taken(checkpoint, entries, prefix):
    weights = weights_in(checkpoint, ROOTS)
    assert (weights.entries, weights.prefix) == (entries, prefix)
    assert ROOT in weights.state


def test_what_lies_beside_it_is_named():
    state = {f"a.net.{ROOT}": ONE, "a.head.weight": ONE, "a.head.bias": ONE, "queue": ONE}
    weights = weights_in({"model": state, "optimizer": {}}, ROOTS)
    assert weights.beside == ("optimizer", "head (2 arrays)", "queue (1 arrays)")


def test_nothing_to_take_is_an_error():
    with pytest.raises(CheckpointError, match="it holds no weights, but 'a', 'b', 'c', 'd' and 1 more"):
        weights_in(dict.fromkeys("abcde", 1), ROOTS)


def test_names_of_heads_and_decoders_are_left_out_and_others_are_not():
    names = [
        "head.weight",
        "fc.bias",
        "decoder_pred.weight",
        "heading.weight",
        "blocks.0.attn.relative_position_index",
    ]
    assert left_out(names) == (["head (2 arrays)", "decoder (1 arrays)"], ["heading.weight"])


def test_a_mismatch_names_the_first_few():
    assert list(mismatch([], list("abcde"), [])) == ["the network lacks 5: a, b, c and 2 more"]


def test_every_file_has_a_layout():
    assert layout_of({"anything": ONE}, "").title == LAYOUTS[-1].title
