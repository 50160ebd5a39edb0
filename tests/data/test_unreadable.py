"""Images that cannot be read."""

from __future__ import annotations

import pytest
import torch

from sslkit.data.unreadable import decoded, readable
from sslkit.errors import DataError
from tests.fakes_train import MadeSource, pictures


def test_an_image_is_its_pixels_or_why_not():
    source = MadeSource(pictures(3), broken=frozenset({1}))
    image, reason = decoded(source, 0)
    assert torch.equal(image, source.images[0])
    assert reason == ""
    assert decoded(source, 1) == (None, "image 1 is broken")


def test_the_next_readable_image_stands_in_past_the_end_too():
    source = MadeSource(pictures(4), broken=frozenset({2, 3}))
    image, reasons = readable(source, 2)
    assert torch.equal(image, source.images[0])
    assert reasons == [(2, "image 2 is broken"), (3, "image 3 is broken")]
    assert readable(source, 1)[1] == []


def test_where_none_can_be_read_the_first_reason_is_told():
    with pytest.raises(DataError, match=r"^3 images in a row cannot be read; the first: image 1 is broken$"):
        readable(MadeSource(pictures(3), broken=frozenset(range(3))), 1)
