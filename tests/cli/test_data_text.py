"""What `sslkit data` prints of findings that a command of the suite meets only in part."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from sslkit.analysis.image_data.duplicate_images import Copy, Duplicates
from sslkit.analysis.image_data.image_faults import Fault, SplitFaults
from sslkit.analysis.image_data.image_statistics import ImageStatistics, Side
from sslkit.analysis.image_data.network_inputs import NetworkInput
from sslkit.analysis.image_data.pixel_tally import ChannelSummary
from sslkit.cli.data_text import aligned, fault_lines, input_lines, some, statistics_lines

GRAY = ChannelSummary(mean=0.5, std=0.25, low=0.0, p1=0.01, p99=0.99, high=1.0)
STATISTICS = ImageStatistics(
    images={"train": 1200, "test": 30},
    read=1200,
    asked=1200,
    seed=3,
    channels=[GRAY, GRAY._replace(std=0.0)],
    dtypes={"uint8": 1200},
    height=Side(8, 8.5, 16),
    width=Side(8, 8.0, 8),
    sizes=Counter({(8, 8): 1100, (16, 8): 100}),
    classes={"train": {"cat": 1000, "dog": 200}},
    unreadable=[],
    duplicates=Duplicates({"train": [], "test": []}, [], []),
    signal=None,
    channel_names=("near infrared",),
)


def lines(**changes: object) -> dict[str, list[str]]:
    """What is printed of `STATISTICS` with `changes`: label -> texts; what has no label below the empty one."""
    texts: dict[str, list[str]] = {}
    for line in statistics_lines(STATISTICS._replace(**changes)):
        label = line[:11].strip() if line[:1].isalpha() and not line.startswith("channel") else ""
        texts.setdefault(label, []).append(line[12:] if label else line)
    return texts


def copies(count: int, *splits: str) -> list[Copy]:
    """A group of equal images, whose splits take turns."""
    return [Copy(splits[i % len(splits)], i, f"{i}.png") for i in range(count)]


def test_the_overview_counts_and_names():
    printed = lines()
    assert printed["images"] == ["1,200 train, 30 test"]
    assert printed["read"] == ["all 1,200 training images: 1,200 uint8"]
    assert printed["sizes"] == [
        "2 different, 1,100 of them 8 x 8; height 8 to 16, median 8.5; width 8 to 8, median 8"
    ]
    assert printed["classes"] == ["train: cat 1,000, dog 200"]
    assert (printed["unreadable"], printed["duplicates"]) == (["none"], ["none"])


def test_channels_stand_below_their_headings_by_number_and_name():
    table = [line.split() for line in lines()[""] if line and not line.startswith("#")]
    assert table[0] == ["channel", "mean", "std", "min", "1", "%", "99", "%", "max"]
    assert table[1] == ["0", "near", "infrared", "0.5", "0.25", "0", "0.01", "0.99", "1"]
    assert table[2][:3] == ["1", "0.5", "0"]


def test_a_constant_channel_and_a_signal_are_comments_above_the_yaml():
    comments = [line for line in lines(signal="SIGINT", read=7)[""] if line.startswith("#")]
    assert comments[0] == "# stopped by SIGINT: of the 7 images that were read until then"
    assert comments[1].startswith("# channel 1 is constant: `normalize` takes no deviation of 0")
    assert len(comments) == 3


@pytest.mark.parametrize(
    ("changes", "label", "text"),
    [
        ({"read": 100}, "read", "a sample (seed 3), 100 training images: 1,200 uint8"),
        ({"sizes": Counter({(8, 16): 5})}, "sizes", "all 8 x 16"),
        ({"classes": {}}, "classes", "no labels"),
        ({"classes": {"test": {f"c{i}": 11 - i for i in range(11)}}}, "classes", "test: 11, from c10 (1) to c0 (11)"),
        ({"unreadable": [(str(i), f"{i}.png: cut") for i in range(4)]}, "unreadable",
         "4 training images: 0.png: cut, 1.png: cut, 2.png: cut, ..."),
        ({"duplicates": None}, "duplicates", "not looked for in a sample; without --images they are"),
    ],
)  # fmt: skip
def test_what_else_is_told(changes, label, text):
    assert lines(**changes)[label] == [text]


def test_copies_are_counted_within_and_between_splits():
    leaked = copies(4, "train", "test")
    within = {"train": [copies(3, "train"), copies(2, "train")], "test": []}
    printed = lines(duplicates=Duplicates(within, [leaked], []))["duplicates"]
    assert printed == [
        "3 train images are copies of others: 0.png = 1.png = 2.png, 0.png = 1.png",
        "2 test images are among the training images, so that scores are too good: 0.png = 1.png = 2.png = ...",
    ]


def test_copies_in_a_source_without_digests_are_not_said_to_be_none():
    printed = lines(duplicates=Duplicates({"test": []}, [], ["train"]))["duplicates"]
    assert printed == ["not known of the train images, whose source has no digests"]


def test_without_an_image_that_can_be_read_there_are_neither_sizes_nor_channels():
    printed = lines(height=None, width=None, channels=[], sizes=Counter())
    assert "sizes" not in printed
    assert not any(line.startswith("channel ") for line in printed[""])


def test_faults_are_a_table_of_kinds_and_splits_with_the_first_of_each():
    cut, size = Fault("a/1.png", "a/1.png: cut short"), Fault("a/2.png", "300 x 2 pixels")
    results = {
        "train": SplitFaults(2000, 1500, {"unreadable": [cut, cut]}, signal="SIGTERM"),
        "test": SplitFaults(10, 10, {"odd size": [size]}),
    }
    assert [*fault_lines(results)] == [
        "train:      1,500 of 2,000 images decoded, stopped by SIGTERM",
        "test:       10 of 10 images decoded",
        "",
        "fault       train  test",
        "unreadable      2     0  a/1.png: cut short",
        "odd size        0     1  a/2.png: 300 x 2 pixels",
    ]


def test_images_without_faults_are_told_in_words():
    assert [*fault_lines({"train": SplitFaults(3, 3, {})})][-1] == "no faults"


def test_inputs_are_summed_up_by_view():
    crops = [torch.full((2, 3, 4, 4), value) for value in (-1.0, 3.0)]
    inputs = [
        NetworkInput(f"{i}.png", torch.zeros(3, 8, 8), i, 0, {"global": crop}) for i, crop in enumerate(crops)
    ]
    assert [*input_lines(inputs, seed=7)] == [
        "2 images of steps 0 to 1, seed 7",
        "view global: 2 x 4 pixels of 3 channels, normalized -1 to 3, mean 1.00",
    ]
    assert next(input_lines(inputs[:1], seed=7)) == "1 images of step 0, seed 7"


def test_columns_stand_below_each_other_and_lists_end():
    assert [*aligned([["a", "long head"], ["bcd", "1"]])] == ["a    long head", "bcd          1"]
    assert some("abc") == "a, b, c"
    assert some("abcd") == "a, b, c, ..."
