"""`sslkit explain`."""

from __future__ import annotations

import torch
import yaml

from sslkit import ViT
from sslkit.cli.explain import lines
from sslkit.cli.main import OK, USER_ERROR
from sslkit.core.view import View
from sslkit.runs.lock import read_lock
from sslkit.specs.load import parse
from tests import tiny
from tests.cli.specs import call, write

FACTS = {
    "images": 50000, "channels": 3, "steps": 12345, "steps_per_epoch": 195, "lr": 0.00015, "lr_rule": "1.5e-4 /256",
    "warmup_steps": 617.25, "device": "cpu", "precision": "float32", "compile": True, "ranks": 2,
    "parameters": {"student": 1234567}, "notes": ["weights: resized: positions from 14 x 14 to 7 x 7 patches"],
    "passes": [
        {"net": "student", "view": "global", "crops": 2, "mask": "random(ratio=0.75)", "mode": "drop", "patches": 196,
         "visible": 49, "tokens_per_step": 25600, "guide": False, "for": ["mae"], "stages": []},
        {"net": "teacher", "view": "global", "crops": 2, "mask": None, "mode": "all", "patches": 196, "visible": 196,
         "tokens_per_step": 100864, "guide": True, "for": ["mae"], "stages": []},
    ],
    "plan": {"asked": 2, "run": 2, "tokens_per_step": 126464, "terms": {"mae": 1.0}, "cost": 1.0},
    "flops": {0: 6_000_000_000, 100: 1_234_000_000_000}, "graphs": 1,
}  # fmt: skip


def test_a_spec_is_shown_whole_and_resolved(tmp_path, capsys):
    spec = write(tmp_path / "spec.yaml")
    code, out, err = call(capsys, "explain", spec, "optimizer.lr=0.5", f"out={tmp_path / 'run'}")
    assert (code, err) == (OK, "")
    shown, _, resolved = out.partition("# resolved\n")
    assert parse(yaml.safe_load(shown)) == tiny.spec(tmp_path / "run", optimizer={"lr": 0.5})
    assert "betas:" in shown
    said = resolved.splitlines()
    assert "images      1,437 (1 channels)" in said
    assert "test        360 images" in said
    assert "steps       8 (44 an epoch)" in said
    assert "lr          0.0625 (0.5 /256 at batch 32), 0.4 steps of warm-up" in said
    assert (
        "  student on 1 x global, random(ratio=0.5), drop: 2 of 4 patches visible, 96 tokens a step" in said
    )
    at = next(i for i, line in enumerate(said) if line.startswith("first image"))
    assert said[at] == "first image digits train image 0: 8 x 8, 1 channel of uint8, 0 to 239"
    assert said[at + 1].startswith(
        "  becomes   global 1 x 8 x 8, 1 channel of float32, less [0.3] by [0.4]: -0.75 to "
    )
    assert said[at + 2] == "augmentations:"
    assert said[-1] == "  global, every crop: random_resized_crop(scale=[0.5, 1.0]), flip"
    assert not (tmp_path / "run").exists(), "nothing is written"


def test_the_facts_in_words():
    said = list(lines(FACTS))
    assert "note: weights: resized: positions from 14 x 14 to 7 x 7 patches" in said
    assert said[0] == "# resolved"
    assert "lr          0.00015 (1.5e-4 /256), 617.25 steps of warm-up" in said
    assert "device      cpu, float32, compiled, 2 rank(s)" in said
    assert "parameters  1,234,567 in student" in said
    assert said[-3:] == [
        "  student on 2 x global, random(ratio=0.75), drop: 49 of 196 patches visible, 25,600 tokens a step",
        "  teacher on 2 x global, before the masks: 196 of 196 patches visible, 100,864 tokens a step",
        "compute: 6 GFLOP, 1.234 TFLOP from step 100 a step, with heads, decoders and backwards",
    ]
    assert not any(line.startswith("compute") for line in lines({**FACTS, "flops": None}))
    assert "device      cpu, float32, not compiled, 2 rank(s)" in list(lines({**FACTS, "compile": False}))


def test_what_only_the_built_parts_know_is_an_error_here_too(tmp_path, capsys):
    spec = write(tmp_path / "spec.yaml", backbone={**tiny.VIT, "name": "vit_tinny_patch16_224"})
    code, out, err = call(capsys, "explain", spec)
    assert (code, out) == (USER_ERROR, "")
    assert "has no model 'vit_tinny_patch16_224'. Did you mean 'vit_tiny_patch16_224'" in err


def test_maskers_that_change_are_shown_stage_by_stage(tmp_path, capsys):
    masker = {
        "kind": "curriculum",
        "masker": {"kind": "random"},
        "field": "ratio",
        "start": 0.25,
        "end": 0.75,
    }
    objective = {"kind": "mae", "masker": {**masker, "levels": 3}, "decoder": tiny.DECODER}
    spec = write(tmp_path / "spec.yaml", objective=objective)
    code, out, _ = call(capsys, "explain", spec)
    assert code == OK
    said = out.splitlines()
    first = next(i for i, line in enumerate(said) if line.startswith("    from step 0"))
    assert said[first : first + 4] == [
        "    from step 0: ratio 0.25, 1 hidden, 3 of 4 patches visible, 128 tokens a step",
        "    from step 2: ratio 0.5, 2 hidden, 2 of 4 patches visible, 96 tokens a step",
        "    from step 6: ratio 0.75, 3 hidden, 1 of 4 patches visible, 64 tokens a step",
        "the masks take 3 shapes over the run; compiled, each is a graph of its own",
    ]
    bernoulli = {**masker, "masker": {"kind": "bernoulli"}, "levels": 2}
    spec = write(tmp_path / "spec.yaml", objective={"kind": "simmim", "masker": bernoulli})
    _, out, _ = call(capsys, "explain", spec)
    assert "    from step 4: ratio 0.75, at most 4 hidden, 4 of 4 patches visible, 160 tokens a step" in out
    assert "shapes over the run" not in out


def test_terms_are_told_who_shares_what_and_what_that_costs(tmp_path, capsys):
    """MAE alone encodes a masked crop; contrast adds a whole one to what it reads of the teacher."""
    masker = {"kind": "random", "ratio": 0.5}
    heads = {"projector": {"hidden": 8, "out": 4}}
    objectives = {
        "mim": {"kind": "mae", "masker": masker, "decoder": tiny.DECODER},
        "contrast": {"kind": "infonce", "masker": masker, "net": "teacher", **heads},
        "free": {"kind": "mae", "masker": masker, "salt": 1, "decoder": tiny.DECODER},
    }
    fields = {"objective": None, "objectives": objectives, "nets": {"teacher": {}}}
    spec = write(tmp_path / "spec.yaml", views={"global": {**tiny.VIEW, "crops": 2}}, **fields)
    code, out, _ = call(capsys, "explain", spec)
    assert code == OK
    said = out.splitlines()
    first = next(i for i, line in enumerate(said) if line == "passes in every step:") + 1
    masked = "  student on 2 x global, random(ratio=0.5){}, drop: 2 of 4 patches visible, 192 tokens a step"
    assert said[first : first + 5] == [
        f"{masked.format('')}, for contrast and mim",
        "  teacher on 2 x global: 4 of 4 patches visible, 320 tokens a step, for contrast",
        f"{masked.format(', salt 1')}, for free",
        "3 passes run where 4 are asked for, 704 tokens a step",
        "expected cost: 1.64 times that of contrast alone (alone: contrast 1.00, free 0.64, mim 0.64)",
    ]
    _, out, _ = call(capsys, "explain", spec, "balance.kind=pcgrad")
    assert "expected cost: 2.07 times that of contrast alone" in out, "a backward for each term"


def test_what_was_taken_of_weights_is_shown_before_a_run_at_its_start_and_in_its_lock(tmp_path, capsys):
    fields = {key: value for key, value in tiny.VIT.items() if key != "kind"}
    state = ViT(**fields).build(View(16, 1, 1, (0.5,), (0.5,))).export().state
    torch.save(
        {"model": {**state, "decoder_embed.weight": torch.ones(2)}, "optimizer": {}}, tmp_path / "mae.pth"
    )
    backbone = {**tiny.VIT, "checkpoint": str(tmp_path / "mae.pth")}
    spec = write(tmp_path / "spec.yaml", backbone=backbone)
    sentences = [
        "weights: resized: positions from 4 x 4 to 2 x 2 patches",
        "weights: left out: optimizer, decoder (1 arrays)",
    ]
    shown = call(capsys, "explain", spec)[1].splitlines()
    code, *printed = call(capsys, "run", spec, f"out={tmp_path / 'run'}")
    assert code == OK
    for sentence in sentences:
        assert f"note: {sentence}" in shown
        assert f"note: {sentence}" in "".join(printed)
    assert read_lock(tmp_path / "run")["resolved"]["notes"][1:] == sentences
