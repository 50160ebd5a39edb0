"""Fields that were set and that the images of a run leave without effect."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from sslkit.errors import SpecError
from sslkit.specs.load import override, parse
from sslkit.train.prepare import prepare
from tests import tiny

MASKED = {"kind": "random", "ratio": 0.5}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"probes": 8},
            "evaluate.0.probes: has no effect, as the search in 1,437 training images is exact; leave it out, or set "
            "`exact_up_to` below 1437",
        ),
        (
            {"engine": "torch", "exact_up_to": 100},
            "evaluate.0.engine: has no effect, as the search in 1,437 training images is approximate, which is "
            "faiss's; leave it out, or raise `exact_up_to`",
        ),
    ],
)
def test_a_field_of_a_search_that_the_number_of_images_turns_off(
    fields: dict[str, object], message: str
) -> None:
    run = tiny.spec(evaluate=[{"kind": "knn", **fields}])
    with pytest.raises(SpecError, match=f"^{re.escape(message)}$"):
        prepare(run, tiny.CPU)
    prepare(run, tiny.CPU, began=True)


def test_the_same_fields_where_they_have_an_effect() -> None:
    for fields in ({"probes": 8, "exact_up_to": 100}, {"engine": "torch"}):
        spec = tiny.spec(evaluate=[{"kind": "knn", **fields}])
        assert prepare(spec, tiny.CPU).length.steps > 0


IDLE = {"workers": 8, "resident": "0 GiB", "augment_on": "workers", "max_corrupt": 0.5}
NOTES = [
    "augment_on: has no effect, as the images are in memory and are cut on the training device",
    "resident: has no effect, as the images are in memory, where a CPU reads them",
    "workers: has no effect, as the images are in memory and need no workers",
    "max_corrupt: has no effect, as the images are in memory and can all be read",
]


def test_fields_on_decoding_are_told_of_where_images_are_in_memory() -> None:
    assert prepare(tiny.spec(**IDLE), tiny.CPU).notes == NOTES
    assert prepare(tiny.spec(workers=0, augment_on="device"), tiny.CPU).notes == []
    assert prepare(tiny.spec(**IDLE), tiny.CPU, began=True).notes == []


def test_workers_may_decode_for_an_evaluation(tmp_path: Path) -> None:
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        for i in range(2):
            Image.new("L", (8, 8), 40 * i).save(tmp_path / kind / f"{i}.png")
    folder = {"kind": "folder", "root": str(tmp_path), "channels": 1}
    knn = {"kind": "knn", "k": 1, "train": folder, "test": {**folder, "test": str(tmp_path)}}
    assert prepare(tiny.spec(**IDLE, evaluate=[knn]), tiny.CPU).notes == NOTES[:2]


def test_on_another_device_the_budget_for_images_counts() -> None:
    gpu = type(tiny.CPU)(torch.device("meta"))
    assert not [note for note in prepare(tiny.spec(resident="0 GiB"), gpu).notes if "resident" in note]


@pytest.mark.parametrize("kind", ["finetune", "peft"])
@pytest.mark.parametrize(("field", "value"), [("layer", 1), ("head", "mae.decoder")])
def test_a_readout_that_finetuning_does_not_read_is_refused(kind: str, field: str, value: object) -> None:
    fields = tiny.fields(evaluate=[{"kind": kind}], readout={field: value})
    with pytest.raises(SpecError, match=rf"evaluate\.0: .* so `readout\.{field}` has no effect on it"):
        parse(fields)
    parse(fields, began=True)
    parse(tiny.fields(evaluate=[{"kind": kind}]))
    parse(override(fields, ["evaluate=[{kind: knn}]"]))


@pytest.mark.parametrize(
    ("objectives", "kinds"),
    [
        ({"a": {"kind": "uniformity", "masker": MASKED}}, "'uniformity'"),
        (
            {"a": {"kind": "koleo", "masker": MASKED}, "b": {"kind": "infonce", "masker": MASKED}},
            "'infonce', 'koleo'",
        ),
    ],
)
def test_reconstruction_needs_an_objective_that_predicts_patches(
    objectives: dict[str, object], kinds: str
) -> None:
    views = {"global": {**tiny.VIEW, "crops": 2}}
    fields = tiny.fields(objective=None, objectives=objectives, views=views)
    parse(fields)
    with pytest.raises(
        SpecError, match=rf"evaluate\.0: measures .* predict none \({kinds}\); leave this out"
    ):
        parse({**fields, "evaluate": [{"kind": "reconstruction"}]})
    both = {**objectives, "mae": tiny.fields()["objective"]}
    parse({**fields, "objectives": both, "evaluate": [{"kind": "reconstruction"}]})


def test_a_missing_mask_is_told_of_before_the_first_step(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b"):
        Image.new("L", (8, 8)).save(tmp_path / "images" / f"{name}.png")
    Image.new("L", (8, 8)).save(tmp_path / "masks" / "a.png")
    data = {"kind": "segmentation", "root": str(tmp_path), "regions": 2, "channels": 1}
    run = tiny.spec(evaluate=[{"kind": "dense", "train": data, "test": {**data, "test": str(tmp_path)}}])
    with pytest.raises(Exception, match=r"evaluate\.0: .*b\.png: has no mask \(1 of 2 images have none\)"):
        prepare(run, tiny.CPU)
