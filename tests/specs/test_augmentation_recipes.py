"""Recipes against the numbers of the codes they are named after, and views that use them."""

from typing import get_args

import pytest

from sslkit import ViewSpec
from sslkit.errors import SpecError
from sslkit.specs import byte_sizes, views
from sslkit.specs.augmentation_recipes import RECIPES, Recipe
from sslkit.specs.load import dump, parse
from tests import tiny

BLUR = {"byol": (1.0, 0.1), "moco_v3": (1.0, 0.1), "barlow_twins": (1.0, 0.1), "dino_global": (1.0, 0.1),
        "ibot_global": (1.0, 0.1), "simclr": (0.5,), "moco_v2": (0.5,), "dino_local": (0.5,), "ibot_local": (0.5,),
        "swav_global": (0.5,), "swav_local": (0.5,), "lejepa": (0.5,),
        "lejepa_global": (0.5,), "lejepa_local": (0.5,)}  # fmt: skip
SCALE = {"simclr": (0.08, 1), "moco_v2": (0.2, 1), "moco_v3": (0.08, 1), "byol": (0.08, 1), "barlow_twins": (0.08, 1),
         "dino_global": (0.4, 1), "dino_local": (0.05, 0.4), "ibot_global": (0.25, 1), "ibot_local": (0.05, 0.25),
         "swav_global": (0.14, 1), "swav_local": (0.05, 0.14), "moco_cifar": (0.08, 1), "simclr_cifar": (0.08, 1),
         "light": (0.08, 1), "mae": (0.2, 1), "lejepa": (0.08, 1), "lejepa_global": (0.3, 1),
         "lejepa_local": (0.05, 0.3)}  # fmt: skip
STRENGTH = {"simclr": (0.8, 0.8, 0.8, 0.2), "moco_v2": (0.4, 0.4, 0.4, 0.1), "byol": (0.4, 0.4, 0.2, 0.1),
            "dino_local": (0.4, 0.4, 0.2, 0.1), "moco_cifar": (0.4, 0.4, 0.4, 0.1),
            "simclr_cifar": (0.4, 0.4, 0.4, 0.1), "swav_global": (0.8, 0.8, 0.8, 0.2),
            "lejepa": (0.8, 0.8, 0.8, 0.2), "lejepa_global": (0.4, 0.4, 0.2, 0.1),
            "lejepa_local": (0.4, 0.4, 0.2, 0.1)}  # fmt: skip


def chains(name: str):
    return ViewSpec(size=224, crops=len(RECIPES[name]), recipe=name).chains


def steps(chain, kind: str):
    return [step for step in chain if step.kind_name() == kind]


def run(**view):
    return tiny.fields(views={"global": {"size": 8, "normalize": {"mean": [0.3], "std": [0.4]}, **view}})


def test_every_name_has_a_recipe():
    assert set(get_args(Recipe)) == set(RECIPES) == set(SCALE)


@pytest.mark.parametrize("name", RECIPES)
def test_numbers_are_the_references(name):
    made = chains(name)
    assert {steps(chain, "random_resized_crop")[0].scale for chain in made} == {SCALE[name]}
    assert all(steps(chain, "flip")[0].probability == 0.5 for chain in made)
    assert tuple(step.probability for chain in made for step in steps(chain, "gaussian_blur")) == BLUR.get(
        name, ()
    )
    for chain in made:
        for jitter in steps(chain, "color_jitter"):
            found = (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
            assert found == STRENGTH.get(name, found)
            assert jitter.probability == 0.8
        assert all(step.probability == 0.2 for step in steps(chain, "grayscale"))


def test_only_second_crops_are_solarized_and_all_of_lejepa():
    found = {name: [len(steps(chain, "solarize")) for chain in chains(name)] for name in RECIPES}
    twos = {"byol", "moco_v3", "barlow_twins", "dino_global", "ibot_global"}
    expected = {name: [0, 1] if name in twos else [int(name.startswith("lejepa"))] for name in RECIPES}
    assert found == expected
    (step,) = steps(chains("byol")[1], "solarize")
    assert (step.threshold, step.probability) == (0.5, 0.2)


def test_kernels_and_edges_of_the_blur():
    """SimCLR and BYOL: 10 % of the side (23 of 224), zeros outside; the others use PIL's."""
    for name in BLUR:
        (blur,) = steps(chains(name)[0], "gaussian_blur")
        assert blur.sigma == (0.1, 2.0)
        own = name in {"simclr", "byol"}
        assert blur.edge == ("zeros" if own else "replicate")
        assert blur.radius(224) == (11 if own else 3 if name == "lejepa" else 8)


def test_interpolation():
    bicubic = {
        name
        for name in RECIPES
        if steps(chains(name)[0], "random_resized_crop")[0].interpolation == "bicubic"
    }
    linear = {"moco_v2", "moco_v3", "swav_global", "swav_local", "moco_cifar", "simclr_cifar", "light"}
    linear |= {"lejepa", "lejepa_global", "lejepa_local"}
    assert bicubic == set(RECIPES) - linear


def test_crops_take_lists_in_turn():
    lists = [[{"kind": "flip"}], [{"kind": "resize"}, {"kind": "flip", "probability": 1.0}]]
    view = ViewSpec(size=8, crops=5, by_crop=lists)
    assert [len(chain) for chain in view.chains] == [1, 2, 1, 2, 1]
    assert view.chains[0] is view.chains[2]
    plain = ViewSpec(size=8, crops=3, augment=lists[1])
    assert plain.chains == (plain.augment,) * 3
    assert len(ViewSpec(size=8, crops=4, recipe="byol").chains) == 4


@pytest.mark.parametrize("other", [{"crops": 1}, {"crops": 2, "augment": [{"kind": "resize"}]}])
def test_views_that_share_crops_begin_alike_and_have_as_many(other):
    cut = [{"kind": "random_resized_crop"}, {"kind": "flip"}]
    shared = {"size": 16, "crops": 2, "crops_like": "global", "augment": cut[:1]}
    fields = run(**{"augment": cut, **other})
    with pytest.raises(SpecError, match=r"views\.large\.crops_like: (crop 0 begins|'global' has 1 crops)"):
        parse({**fields, "views": {**fields["views"], "large": shared}})


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({"recipe": "simlcr"}, "views.global.recipe: 'simlcr' is not a choice. Did you mean 'simclr'?"),
        (
            {"recipe": "mae", "augment": [{"kind": "flip"}]},
            "views.global: gives `augment` and `recipe`; they exclude",
        ),
        ({"by_crop": [[]], "recipe": "mae"}, "views.global: gives `by_crop` and `recipe`; they exclude"),
        (
            {"recipe": "byol"},
            "views.global.recipe: 'byol' has lists for 2 crops, but `crops` is 1; set `crops`",
        ),
        ({"by_crop": [[], []]}, "views.global.by_crop: has 2 lists but `crops` is 1; set `crops`"),
        (
            {"crops": 2, "by_crop": [[{"kind": "flip"}], [{"kind": "flop"}]]},
            "views.global.by_crop.1.0.kind: 'flop' is not an augment. Did you mean 'flip'?",
        ),
        (
            {"by_crop": [[{"kind": "gaussian_blur", "kernel": 4}]]},
            "views.global.by_crop.0.0.kernel: must be 'auto', 'tenth' or an odd number of pixels below 1000",
        ),
    ],
)
def test_errors_name_the_path_and_the_way_out(view, message):
    with pytest.raises(SpecError) as caught:
        parse(run(**view))
    assert str(caught.value).startswith(message)


def test_a_recipe_whose_kind_nobody_offers_is_an_error_at_its_path(monkeypatch):
    known = views.catalog.kinds
    monkeypatch.setattr(
        views.catalog, "kinds", lambda family: {k: v for k, v in known(family).items() if k != "solarize"}
    )
    with pytest.raises(SpecError, match=r"^views.global.recipe: 'byol' needs the augmentation 'solarize'"):
        parse(run(recipe="byol", crops=2))


def test_yaml_keeps_the_name():
    spec = parse(run(recipe="dino_global", crops=2))
    assert "recipe: dino_global" in dump(spec)
    assert spec.views["global"].augment == ()


@pytest.mark.parametrize(("text", "count"), [("2 GiB", 2 << 30), ("0 GiB", 0), ("1.5 MiB", 3 << 19)])
def test_sizes(text, count):
    assert byte_sizes.byte_count(parse(tiny.fields(resident=text)).resident) == count


@pytest.mark.parametrize("text", ["2GB", "-1 GiB", "much", "2 KiB"])
def test_bad_sizes_are_refused(text):
    with pytest.raises(SpecError, match=r"resident: must be a number and its unit, as in '2 GiB'"):
        parse(tiny.fields(resident=text))
