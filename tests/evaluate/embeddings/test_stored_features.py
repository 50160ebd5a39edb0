"""What evaluators see of a file of embeddings, and what they are told that it has not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslkit import embed, load_embeddings
from sslkit.core.view import View
from sslkit.errors import DataError
from sslkit.evaluate.embeddings.stored_features import StoredFeatures, StoredSubject
from sslkit.evaluate.evaluation_sources import Sources
from tests.evaluate.embeddings.subjects import BROKEN, COUNT, labeled, trained

VIEW = View(8, 1, 1, (0.3,), (0.4,))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Embeddings in float16, some images of which cannot be read."""
    root = tmp_path_factory.mktemp("stored")
    run, data = trained(root / "run"), labeled(root / "images", BROKEN)
    return embed(run, data=data, out=root / "e.npy", dtype="float16", workers=0, device="cpu").path


@pytest.fixture
def subject(file):
    return StoredSubject(StoredFeatures(train=file), Sources(), VIEW, seed=5)


def test_features_are_those_of_the_file_in_float32(subject, file):
    features, there = subject.features("train"), load_embeddings(file)
    assert features.values.dtype == torch.float32
    assert np.array_equal(features.values.numpy(), there.values.astype(np.float32))
    assert features.labels.tolist() == there.labels.tolist()
    assert features.classes == ("cats", "dogs")
    assert subject.features("train") is features, "read once"


def test_the_source_has_names_and_labels_and_no_images(subject):
    source = subject.source("train")
    assert len(source) == COUNT - len(BROKEN)
    assert source.name(3) == "cats/0004.png", "0003 cannot be read"
    assert (source.channels, source.resident(), source.digests()) == (1, None, None)
    with pytest.raises(DataError, match=r"e\.npy: holds embeddings and no images"):
        source.load(0)


CALLS = {
    "images": lambda subject: subject.rows("train", lambda images, _: images),
    "the network": lambda subject: subject.backbone(),
    "features of block 1": lambda subject: subject.features("train", layer=1),
    "the run that trained the network": lambda subject: subject.system(),
}


@pytest.mark.parametrize("what", CALLS)
def test_what_a_file_has_not_is_named(subject, what):
    with pytest.raises(
        DataError, match=f"^needs {what}, and a file of embeddings has none; evaluate the run instead$"
    ):
        CALLS[what](subject)


def test_images_cannot_be_embedded_either(subject):
    for call in (subject.encode, subject.tokens):
        with pytest.raises(DataError, match="needs the network"):
            call(torch.zeros(1, 1, 8, 8))


def test_there_is_no_test_split_without_a_file(subject):
    with pytest.raises(DataError, match="'features' has no test split"):
        subject.features("test")
