"""`sslkit data`."""

from __future__ import annotations

import json
import os
import shutil
import signal

import pytest
import yaml

from sslkit.analysis.image_data.reading_bar import ReadingBar
from sslkit.cli.main import OK, USER_ERROR
from sslkit.specs.views import Normalize
from tests import tiny
from tests.analysis.image_data.samples import arrays, save
from tests.cli.specs import call, write


@pytest.fixture
def spec(tmp_path):
    """The fields of images alone, for images of two classes."""
    save(tmp_path / "images", arrays(20))
    path = tmp_path / "spec.yaml"
    path.write_text(f"data: {{kind: folder, root: {tmp_path / 'images'}}}\nworkers: 0\n")
    return path


def line(out, label):
    """What follows `label`."""
    return next(text for text in out.splitlines() if text.startswith(f"{label:<11} "))[12:]


def test_statistics_are_printed_and_their_last_line_is_pasted_into_a_view(spec, capsys):
    code, out, err = call(capsys, "data", "stats", spec)
    assert (code, err) == (OK, "")
    assert line(out, "images") == "20 train"
    assert line(out, "read") == "all 20 training images: 20 uint8"
    assert line(out, "sizes") == (
        "3 different, 12 of them 12 x 20; height 9 to 31, median 12; width 5 to 20, median 20"
    )
    assert line(out, "classes") == "train: class0 10, class1 10"
    assert line(out, "unreadable") == line(out, "duplicates") == "none"
    table = [text.split() for text in out.splitlines() if len(text.split()) >= 7 and text[0] in "012"]
    assert [row[0] for row in table] == ["0", "1", "2"]
    assert 0.46 < float(table[2][1]) < 0.48, "a mean of 120 of 255"
    pasted = yaml.safe_load(out.splitlines()[-1])
    assert len(Normalize.model_validate(pasted["normalize"]).mean) == 3
    assert yaml.safe_load("\n".join(out.splitlines()[-2:])) == pasted, "the lines between are comments"


def test_channels_have_the_names_of_their_bands(spec, tmp_path, capsys):
    assert call(capsys, "data", "stats", spec)[1].count("band") == 0
    json_file = tmp_path / "stats.json"
    code, out, _ = call(
        capsys, "data", "stats", spec, "data.channels=2", "data.bands=[2, 0]", "--json", json_file
    )
    rows = [text for text in out.splitlines() if text.startswith(("0 ", "1 "))]
    assert code == OK
    assert [row.partition("  ")[0] for row in rows] == ["0 band 2", "1 band 0"]
    assert json.loads(json_file.read_text())["channel_names"] == ["band 2", "band 0"]


def test_json_has_everything(spec, tmp_path, capsys):
    call(capsys, "data", "stats", spec, "--json", tmp_path / "stats.json", "seed=3")
    data = json.loads((tmp_path / "stats.json").read_text())
    assert data["images"] == {"train": 20}
    assert (data["read"], data["asked"], data["seed"], data["stopped_by"]) == (20, 20, 3, None)
    assert data["sizes"]["distinct"] == 3
    assert data["sizes"]["height"] == {"least": 9, "median": 12.0, "most": 31}
    assert [set(channel) for channel in data["channels"]] == [{"mean", "std", "low", "p1", "p99", "high"}] * 3
    assert data["normalize"]["mean"] == [float(f"{c['mean']:.4g}") for c in data["channels"]]
    assert data["duplicates"] == {"within": {"train": []}, "between": [], "not_compared": []}


def test_only_the_fields_of_images_are_read(tmp_path, capsys):
    """Whether objective, network and statistics fit does not matter yet."""
    unfinished = {"backbone": {"kind": "timm"}, "objective": None, "steps": None, "views": {"x": {"size": 8}}}
    code, out, err = call(
        capsys, "data", "stats", write(tmp_path / "spec.yaml", **unfinished), "--images", 50
    )
    assert (code, err) == (OK, "")
    assert line(out, "read") == "a sample (seed 3), 50 training images: 50 uint8"
    assert line(out, "duplicates").startswith("not looked for in a sample")


@pytest.mark.parametrize("order", [("SPEC", "--images", "4", "seed=1"), ("--images=4", "SPEC", "seed=1"),
                                   ("SPEC", "seed=1", "--images", "4")])  # fmt: skip
def test_options_and_overrides_mix(order, spec, capsys):
    code, out, _ = call(capsys, "data", "stats", *(spec if word == "SPEC" else word for word in order))
    assert code == OK
    assert line(out, "read").startswith("a sample (seed 1), 4 training images")


def test_copies_and_unreadable_images_are_named(spec, tmp_path, capsys):
    root = tmp_path / "images"
    shutil.copytree(root, tmp_path / "test")
    for name in ("class0/extra.png", "class0/other.png"):
        shutil.copy(root / "class0" / "000.png", root / name)
    (root / "class1" / "001.png").write_bytes(b"")
    _, out, _ = call(capsys, "data", "stats", spec, f"data.test={tmp_path / 'test'}")
    assert (
        line(out, "unreadable")
        == f"1 training images: {root}/class1/001.png: cannot be decoded: the file is empty"
    )
    copies = [text[12:] for text in out.splitlines() if text.startswith("duplicates")]
    assert copies[0] == (
        "2 train images are copies of others: class0/000.png = class0/extra.png = class0/other.png"
    )
    assert copies[1].startswith("19 test images are among the training images, so that scores are too good: ")


def test_many_classes_are_summed_up(tmp_path, capsys):
    save(tmp_path / "images", arrays(30), classes=12)
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"data: {{kind: folder, root: {tmp_path / 'images'}}}\nworkers: 0\n")
    _, out, _ = call(capsys, "data", "stats", spec)
    assert line(out, "classes") == "train: 12, from class10 (2) to class5 (3)"


def test_a_constant_channel_and_one_size_are_told(tmp_path, capsys):
    images = arrays(3, sizes=((6, 6),))
    for image in images:
        image[..., 0] = 255
    save(tmp_path / "images", images, classes=1)
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"data: {{kind: folder, root: {tmp_path / 'images'}}}\nworkers: 0\n")
    _, out, _ = call(capsys, "data", "stats", spec)
    assert line(out, "sizes") == "all 6 x 6"
    assert "# channel 0 is constant: `normalize` takes no deviation of 0, so leave the channel out" in out


def test_a_signal_prints_what_was_read_until_then(spec, capsys, monkeypatch):
    monkeypatch.setattr(ReadingBar, "update", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    code, out, _ = call(capsys, "data", "stats", spec)
    assert code == 130
    assert "# stopped by SIGINT: of the 16 images that were read until then" in out
    assert "normalize" in yaml.safe_load(out.splitlines()[-1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.kind=foldr"], "data.kind: 'foldr' is not a source. Did you mean 'folder'?"),
        (["workrs=2"], "workrs: is not a field of RunSpec. Did you mean 'workers'?"),
        (["data.root=nowhere"], "nowhere: no such folder"),
        (["workers=-1"], "workers: must be greater than or equal to 0, found -1"),
        (["--json", "."], "--json: . is a folder; give the name of a file"),
    ],
)
def test_what_is_wrong_is_one_line(words, message, spec, capsys):
    code, out, err = call(capsys, "data", "stats", spec, *words)
    assert (code, out) == (USER_ERROR, "")
    assert err.startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers", "2"], "fields are changed without dashes: workers=2"),
        (["--images", "0"], "must be a whole number above 0, found '0'"),
    ],
)
def test_options_that_are_none_are_told(words, message, spec, capsys):
    with pytest.raises(SystemExit):
        call(capsys, "data", "stats", spec, *words)
    assert message in capsys.readouterr().err


def test_a_spec_without_data_says_so(tmp_path, capsys):
    path = tmp_path / "spec.yaml"
    path.write_text("workers: 0\n")
    code, _, err = call(capsys, "data", "stats", path)
    assert code == USER_ERROR
    assert err.startswith("error: data: is missing.")


def test_the_spec_of_a_run_serves(tmp_path, capsys):
    code, out, _ = call(capsys, "data", "stats", write(tmp_path / "spec.yaml", data={"kind": "digits"}))
    assert code == OK
    assert line(out, "images") == "1,437 train, 360 test"
    assert tiny.VIEW["normalize"] != yaml.safe_load(out.splitlines()[-1])["normalize"]


VIEW = "views={global: {size: 8, crops: 2, recipe: byol}}"


def test_a_sheet_is_drawn_and_summed_up(spec, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    code, text, err = call(
        capsys, "data", "show", spec, "--out", out, "--images", 3, VIEW, "--json", tmp_path / "s.json"
    )
    assert (code, err) == (OK, "")
    lines = text.splitlines()
    assert lines[0] == "3 images of step 0, seed 0"
    assert lines[1].startswith("view global: 2 x 8 pixels of 3 channels, normalized -")
    assert lines[2:] == [f"written: {out}", f"# written: {tmp_path / 's.json'}"]
    assert out.read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((tmp_path / "s.json").read_text())["images"]) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "sheet.jpg", VIEW], "--out: sheet.jpg must end in .png"),
        (["--step", "-1", VIEW], "--step: must be at least 0, found -1"),
        ([], "views: is missing; what arrives in the network are crops of these"),
    ],
)
def test_a_sheet_that_cannot_be_drawn_says_why(words, message, spec, capsys):
    code, out, err = call(capsys, "data", "show", spec, *words)
    assert (code, out) == (USER_ERROR, "")
    assert err.startswith(f"error: {message}")


def test_faults_are_a_table_and_too_many_are_an_error(spec, tmp_path, capsys):
    root = tmp_path / "images"
    code, out, err = call(capsys, "data", "check", spec, f"data.test={root}")
    assert (code, out, err) == (
        OK, "train:      20 of 20 images decoded\ntest:       20 of 20 images decoded\nno faults\n", "",
    )  # fmt: skip
    (root / "class0" / "000.png").write_bytes(b"")
    (root / "class1" / "001.png").write_bytes(b"")
    code, out, err = call(capsys, "data", "check", spec, "--json", tmp_path / "f.json")
    assert code == USER_ERROR
    assert out.splitlines() == [
        "train:      20 of 20 images decoded",
        "",
        "fault       train",
        f"unreadable      2  {root}/class0/000.png: cannot be decoded: the file is empty",
        f"# written: {tmp_path / 'f.json'}",
    ]
    assert err == (
        "error: data: 2 of 20 train images cannot be read, more than max_corrupt=0.01; "
        "repair or remove them, or raise `max_corrupt`\n"
    )
    faults = json.loads((tmp_path / "f.json").read_text())["train"]["faults"]["unreadable"]
    assert [fault["name"] for fault in faults] == ["class0/000.png", "class1/001.png"]
    assert call(capsys, "data", "check", spec, "max_corrupt=0.1")[0] == OK


def test_a_fault_that_does_not_name_its_image_gets_its_name(tmp_path, capsys):
    images = arrays(4, sizes=((6, 6),))
    images[2][:] = 9
    save(tmp_path / "images", images)
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"data: {{kind: folder, root: {tmp_path / 'images'}}}\nworkers: 0\n")
    _, out, _ = call(capsys, "data", "check", spec)
    assert out.splitlines()[-1] == "constant      1  class0/002.png: 6 x 6"


def test_a_signal_prints_the_faults_until_then(spec, capsys, monkeypatch):
    monkeypatch.setattr(ReadingBar, "update", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    code, out, _ = call(capsys, "data", "check", spec)
    assert code == 143
    assert out.splitlines()[0] == "train:      16 of 20 images decoded, stopped by SIGTERM"


def test_a_folder_is_packed_and_the_printed_data_read_it_again(tmp_path, capsys):
    save(tmp_path / "images", arrays(20))
    out, json_file = tmp_path / "out", tmp_path / "pack.json"
    words = (
        "data",
        "pack",
        tmp_path / "images",
        out,
        "workers=1",
        "--shard-images",
        "6",
        "--json",
        json_file,
    )
    code, printed, _ = call(capsys, *words)
    assert code == OK
    assert printed.startswith("train:  20 images in 4 shards, ")
    data = yaml.safe_load(next(text for text in printed.splitlines() if text.startswith("data: ")))["data"]
    assert data == {"kind": "webdataset", "shards": f"{out}/train-*.tar"}
    assert json.loads(json_file.read_text())["images"] == 20
    assert "# 4 of the shards were there already" in call(capsys, *words)[1]


def test_packs_keep_test_images_channels_and_ranges(tmp_path, capsys):
    code, printed, _ = call(
        capsys, "data", "pack", write(tmp_path / "s.yaml"), tmp_path / "out", "--keep-order"
    )
    assert code == OK
    data = yaml.safe_load(printed.splitlines()[-1])["data"]
    assert data["channels"] == 1
    assert data["test"] == f"{tmp_path}/out/test-*.tar"
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tar")) == [
        "test-000000.tar",
        "train-000000.tar",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard-size", "much"], "--shard-size: expected a size such as 256MB"),
        (["data.root=nowhere"], "nowhere: no such folder"),
    ],
)
def test_packs_that_cannot_be_are_refused(options, message, spec, tmp_path, capsys):
    code, _, err = call(capsys, "data", "pack", spec, tmp_path / "out", *options)
    assert code == USER_ERROR
    assert message in err


def test_checksums_of_files_are_checked(spec, tmp_path, capsys, monkeypatch):
    from sslkit_sources.folder import FolderSource

    faults = [("images/a.tar", "has another SHA-256 than shards.json says")]
    monkeypatch.setattr(FolderSource, "file_faults", lambda self: faults)
    code, out, err = call(capsys, "data", "check", spec)
    assert code == USER_ERROR
    assert "checksum" in out
    assert "images/a.tar: has another SHA-256" in out
    assert "data: 1 files of the train images are not as their checksums say, such as images/a.tar" in err
    assert call(capsys, "data", "check", spec, "--images", "3")[0] == OK, "a sample reads no whole files"
