"""Views and patch grids of any number of axes."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from sslkit.core.random_stream import Draw
from sslkit.core.transform import bytes_of, text_of
from sslkit.core.view import Grid, Stream, View, by, sides_of, size_of
from sslkit.errors import SpecError
from sslkit.testing.tiny_stream import LetterTransform

IMAGE = View(8, 2, 3, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
WIDE = View((8, 16), 1, 1, (0.5,), (0.25,))
CLIP = View((4, 8, 8), 1, 3, (0.5,) * 3, (0.25,) * 3, type="video", stream="clip", axes=3)
LETTERS = LetterTransform(6, b"abc")
WORDS = View(6, 1, 1, (), (), type="tokens", stream="caption", axes=1, transform=LETTERS)


@pytest.mark.parametrize(
    ("size", "axes", "sides"),
    [
        (8, 2, (8, 8)),
        (8, 1, (8,)),
        (8, 3, (8, 8, 8)),
        ((4, 6), 2, (4, 6)),
        ([4, 6], 2, (4, 6)),
        ((5,), 1, (5,)),
    ],
)
def test_one_number_is_every_side(size: int | tuple[int, ...], axes: int, sides: tuple[int, ...]) -> None:
    assert sides_of(size, axes) == sides


@pytest.mark.parametrize(("size", "axes"), [((4, 6), 1), ((4, 6), 3), ((4,), 2)])
def test_as_many_sides_as_axes(size: tuple[int, ...], axes: int) -> None:
    with pytest.raises(SpecError, match=f"has {len(size)} sides, found .* but what is cut has {axes}"):
        sides_of(size, axes)


def test_equal_sides_are_told_as_one_number() -> None:
    assert size_of((8, 8)) == 8
    assert size_of((8, 8, 8)) == 8
    assert size_of((7,)) == 7
    assert size_of((8, 16)) == (8, 16)
    assert by((8, 16)) == "8 x 16"
    assert by((8,)) == "8"


@pytest.mark.parametrize(
    ("view", "shape", "extent"),
    [
        (IMAGE, (3, 8, 8), 8),
        (WIDE, (1, 8, 16), (8, 16)),
        (CLIP, (3, 4, 8, 8), (4, 8, 8)),
        (WORDS, (6,), 6),
    ],
)
def test_the_shape_of_a_crop(view: View, shape: tuple[int, ...], extent: object) -> None:
    assert view.shape == shape
    assert view.extent == extent


def test_the_side_of_a_square_is_its_size_and_others_have_none() -> None:
    assert IMAGE.size == 8
    assert WORDS.size == 6
    for view, sides in ((WIDE, "8 x 16"), (CLIP, "4 x 8 x 8")):
        with pytest.raises(
            SpecError, match=f"serves square crops only, found {sides}; give the view one number"
        ):
            _ = view.size


def test_symbols_and_facts_are_those_of_the_transform() -> None:
    assert not IMAGE.symbols
    assert IMAGE.facts == {}
    assert WORDS.symbols
    assert WORDS.facts["vocabulary"] == 7
    assert WORDS.facts is LETTERS.facts


def test_what_a_network_sees_is_told_as_before_for_images_and_with_its_facts_for_symbols() -> None:
    seen = IMAGE._replace(show=(2, 1, 0)).seen()
    assert seen == {"size": 8, "crops": 2, "channels": 3, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}
    assert list(seen) == ["size", "crops", "channels", "mean", "std"]
    assert WIDE.seen()["size"] == (8, 16)
    assert WORDS.seen() == {
        "size": 6, "crops": 1, "channels": 1, "mean": (), "std": (), "type": "tokens", "facts": LETTERS.facts,
    }  # fmt: skip


def test_a_copy_with_other_values() -> None:
    assert IMAGE._replace(size=16).sides == (16, 16)
    assert WIDE._replace(size=(4, 6), crops=3) == View((4, 6), 3, 1, (0.5,), (0.25,))
    assert WORDS._replace(size=9).sides == (9,)
    assert WORDS._replace(crops=2).transform is LETTERS
    assert IMAGE._replace(crops=2) == IMAGE
    assert IMAGE.crops == 2


def test_views_are_values() -> None:
    assert View(8, 2, 3, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)) == IMAGE
    assert hash(View((8, 8), 2, 3, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))) == hash(IMAGE)
    assert IMAGE != WIDE
    sent = pickle.loads(pickle.dumps(WORDS))
    assert sent == WORDS
    samples, draw = [bytes_of("abcabc"), bytes_of("b")], Draw(0, torch.arange(2))
    assert sent.transform is not None
    assert torch.equal(sent.transform(samples, draw), LETTERS(samples, draw))
    with pytest.raises(AttributeError):
        IMAGE.crops = 3  # type: ignore[misc]


def test_the_grid_of_an_image_is_made_as_ever() -> None:
    grid = Grid(2, 3, 4)
    assert (grid.rows, grid.cols, grid.patch, grid.patches) == (2, 3, 4, 6)
    assert (grid.shape, grid.sides, str(grid)) == ((2, 3), (4, 4), "2 x 3")
    assert grid == Grid.of((2, 3), (4, 4))
    assert grid != Grid(3, 2, 4)
    assert copy.deepcopy(grid) == grid
    assert pickle.loads(pickle.dumps(grid)) == grid
    assert len({grid, Grid(2, 3, 4), Grid(2, 3, 8)}) == 2


@pytest.mark.parametrize(
    ("shape", "sides", "patches"), [((5,), (1,), 5), ((2, 2, 3), (2, 16, 16), 12), ((8, 20), (16, 4), 160)]
)
def test_a_grid_has_as_many_axes_as_are_patched(
    shape: tuple[int, ...], sides: tuple[int, ...], patches: int
) -> None:
    grid = Grid.of(shape, sides)
    assert (grid.shape, grid.sides, grid.patches) == (shape, sides, patches)
    assert str(grid) == " x ".join(map(str, shape))


@pytest.mark.parametrize("shape", [(5,), (2, 2, 3)])
@pytest.mark.parametrize("name", ["rows", "cols", "patch"])
def test_rows_and_columns_are_of_two_axes(shape: tuple[int, ...], name: str) -> None:
    with pytest.raises(
        SpecError, match=f"needs patches along 2 axes, as images have, found {len(shape)}: {by(shape)}"
    ):
        getattr(Grid.of(shape, (1,) * len(shape)), name)


def test_streams_are_of_images_where_nothing_is_said() -> None:
    assert Stream() == Stream("image", 2)
    assert Stream("text", 1).axes == 1


@pytest.mark.parametrize("text", ["", "a", "zwölf", "数字", "a\0b", "😀"])
def test_text_comes_back_from_its_bytes(text: str) -> None:
    sample = bytes_of(text)
    assert sample.dtype == torch.uint8
    assert sample.shape == (1, len(text.encode()))
    assert text_of(sample) == text


def test_what_is_no_text_is_marked() -> None:
    assert text_of(torch.tensor([[0xFF, 0x61]], dtype=torch.uint8)) == "\ufffda"
