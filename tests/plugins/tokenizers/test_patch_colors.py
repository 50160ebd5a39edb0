"""Target `patch_colors`: its codes, its sizes, and the specs of earlier versions that mean it."""

from __future__ import annotations

import pytest
import torch

from sslkit import PatchColors
from sslkit.errors import SpecError
from sslkit.specs.load import dump, parse, parse_yaml
from tests import tiny
from tests.plugins.tokenizers.shapes import crops, env

MODULE = "sslkit_tokens.colours:PatchColours"
OLD = {"kind": "vq_token", "module": MODULE, "arguments": {"patch": 4, "levels": 4}, "codes": 4}


def read(target):
    return parse(tiny.fields(objective={"kind": "beit", "target": target}))


def test_each_channel_is_cut_into_levels_the_first_one_slowest():
    images = torch.tensor([0.1, 0.6, 0.9]).view(3, 1, 1).expand(1, 1, 3, 32, 32)
    assert (PatchColors(levels=2).build(env(), "a")(crops(images)) == 0b011).all()
    target = PatchColors(levels=3).build(env(), "a")
    assert target.dim == 27
    assert (target(crops(images)) == 0 * 9 + 1 * 3 + 2).all()


def test_patches_are_those_of_the_student_also_of_smaller_images():
    steps = torch.randint(4, (2, 3, 4, 4), generator=torch.Generator().manual_seed(1))
    images = ((steps + 0.5) / 4).repeat_interleave(8, 2).repeat_interleave(8, 3)[None]
    whole, half = (PatchColors(size=size).build(env(), "a") for size in (None, 16))
    assert half.tokenizer.module.patch == 4
    assert whole(crops(images)).shape == half(crops(images)).shape == (1, 2, 16)
    assert (whole(crops(images)) == half(crops(images))).float().mean() > 0.9


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 3}, "3 pixels cannot be cut into 4 x 4 patches"),
        ({"levels": 256}, "16777216 codes, of at most"),
    ],
)
def test_what_cannot_be_counted_is_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        PatchColors(**fields).build(env(), "a")


@pytest.mark.parametrize("module", [MODULE, "sslkit_tokenizers.patch_colors:PatchColors"])
def test_the_names_of_earlier_versions_are_read_as_the_kind(module):
    """As a spec and as a lock have them; what is written from then on has today's fields."""
    now = read({"kind": "patch_colors", "levels": 4})
    assert read({**OLD, "module": module}) == now
    assert read({**OLD, "module": module, "tokenizer": None, "size": None}) == now
    assert "module" not in dump(now, full=True)
    assert parse(parse_yaml(dump(now), "spec")) == now
    assert read({**OLD, "size": 16}).objective.target.size == 16


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"arguments": {"levels": 4}}, "arguments: expected `patch` and `levels`"),
        ({"arguments": None}, "arguments: expected `patch` and `levels`"),
        ({"codes": 5}, "codes: 4 levels of a channel make another number"),
        ({"arguments": {"patch": 4, "levels": "four"}}, "levels: must be a whole number"),
        ({"tokenizer": "file"}, "module: names code"),
    ],
)
def test_what_they_never_meant_is_refused(fields, path):
    with pytest.raises(SpecError, match=rf"objective\.target\.{path}"):
        read({**OLD, **fields})
