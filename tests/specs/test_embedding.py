"""What `sslkit embed` may be asked for."""

from __future__ import annotations

import pytest

from sslkit.errors import SpecError
from sslkit.specs.embedding import ENDINGS, EmbeddingSpec, images_at, source_of_fields


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_of_each_ending_may_be_named(ending):
    spec = EmbeddingSpec(what="runs/x", out=f"e{ending}")
    assert spec.out.suffix == ending
    assert (spec.tokens, spec.layer, spec.dtype, spec.checkpoint, spec.split) == (
        None,
        None,
        "float32",
        "last",
        "train",
    )


REFUSED = [
    ({"what": ""}, "what"),
    ({"out": "e.csv"}, "must be a file that ends in .parquet, .npy or .safetensors"),
    ({"out": "e"}, "must be a file that ends in"),
    ({"tokens": "register"}, "tokens"),
    ({"dtype": "bfloat16"}, "dtype"),
    ({"layer": 1000}, "layer"),
    ({"size": 0}, "size"),
    ({"batch_size": 0}, "batch_size"),
    ({"workers": -1}, "workers"),
    ({"split": "validation"}, "split"),
    ({"index": True, "tokens": "patch"}, "`index` is of one vector an image; take `tokens` class or mean"),
    ({"layers": 3}, "Did you mean"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[next(iter(changes)) for changes, _ in REFUSED])
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(SpecError) as caught:
        EmbeddingSpec(**{"what": "runs/x", "out": "e.npy", **changes})
    assert message in str(caught.value)


def test_a_folder_that_ends_like_a_file_is_refused(tmp_path):
    (tmp_path / "e.npy").mkdir()
    with pytest.raises(SpecError, match="must be a file that ends in"):
        EmbeddingSpec(what="runs/x", out=tmp_path / "e.npy")


def test_a_folder_is_a_folder_of_images(tmp_path):
    assert images_at(tmp_path).kind_name() == "folder"
    assert images_at(tmp_path).channels == 3
    assert images_at(tmp_path, 1).channels == 1


@pytest.mark.parametrize(
    "text", ["kind: digits\n", "data: {kind: digits}\n", "name: x\ndata: {kind: digits}\nsteps: 3\n"]
)
def test_a_spec_of_images_alone_or_of_a_run(tmp_path, text):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    assert images_at(path).kind_name() == "digits"


def test_what_is_no_spec_of_images_is_told(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text("name: x\n")
    with pytest.raises(SpecError, match=r"spec\.yaml: says nothing of images; expected `data`, as in the"):
        images_at(path)
    with pytest.raises(
        SpecError, match=r"spec\.yml: no such folder of images or spec\. Did you mean .*spec\.yaml\?"
    ):
        images_at(path.with_suffix(".yml"))
    with pytest.raises(SpecError, match="digit"):
        source_of_fields({"kind": "digit"})
    with pytest.raises(SpecError, match="some plugin failed"):
        source_of_fields({"kind": "another"}, "some plugin failed")
