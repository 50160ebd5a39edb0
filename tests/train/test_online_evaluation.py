"""Images that evaluation leaves out while a run trains."""

from __future__ import annotations

import pytest

from sslkit.errors import DataError
from sslkit.train.online_evaluation import LeftOut
from sslkit.train.watch.finite import UnreadableImages
from tests.fakes_train import MadeSource, pictures


def test_a_training_image_that_evaluation_cannot_read_counts_and_any_other_is_told(tmp_path):
    training, test, warnings = MadeSource(pictures(4)), MadeSource(pictures(2)), []
    skipped = UnreadableImages(tmp_path / "skipped.txt", 4, 0.25, str)
    left_out = LeftOut(training, skipped, warnings.append)
    left_out(test, 1, "b is broken")
    assert (skipped.reasons, warnings) == ({}, ["left out of evaluation: b is broken"])
    left_out(training, 2, "c is broken")
    left_out(training, 2, "c is broken")
    assert (skipped.reasons, len(warnings)) == ({2: "c is broken"}, 1)
    assert left_out.reasons == {"b is broken", "c is broken"}
    with pytest.raises(DataError, match="2 of 4 images cannot be read"):
        left_out(training, 3, "d is broken")
