"""What reads a trained network again where its crops are wider than high."""

from __future__ import annotations

import pytest
import torch

from sslkit import Run
from sslkit.errors import SpecError
from sslkit.evaluate.embeddings.embed_images import embed
from sslkit.evaluate.exports.opened_model import open_model
from sslkit.evaluate.exports.written import images_read

VIT = {"kind": "vit", "name": "vit_tiny_patch16_224", "patch": 8, "width": 16, "depth": 1, "heads": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("oblong") / "run"
    view = {"size": [16, 24], "normalize": {"mean": [0.305], "std": [0.376]}}
    decoder = {"depth": 1, "width": 16, "heads": 2}
    Run(
        data={"kind": "digits"}, views={"global": view}, backbone=VIT, batch_size=8, steps=1, out=out,
        objective={"kind": "mae", "decoder": decoder},
    ).fit()  # fmt: skip
    return out


def test_images_for_exports_have_the_shape_of_the_view(folder):
    model = open_model(str(folder))
    images = model.images(2)
    assert images.shape == (2, 1, 16, 24)
    assert torch.equal(images, model.images(2))
    assert images_read(model, normalize=True) == "float32 [B, 1, 16, 24], pixels in [0, 1]"


def test_embedding_refuses_it_before_anything_is_written(folder, tmp_path):
    with pytest.raises(SpecError, match="serves square crops only, found 16 x 24"):
        embed(str(folder), out=tmp_path / "embeddings.npy", split="test", workers=0)
    assert list(tmp_path.iterdir()) == []


def test_forms_of_squares_refuse_it_by_name(folder):
    """Hugging Face and timm name one side of the images."""
    with pytest.raises(SpecError, match="serves square crops only, found 16 x 24"):
        _ = open_model(str(folder)).view.size
