"""Checksums beside shards, as `sslkit data pack` writes them."""

from __future__ import annotations

import hashlib
import json
import shlex

import pytest
import yaml

from sslkit.cli.main import main
from sslkit.errors import DataError
from sslkit.specs.load import load, parse
from sslkit_shards.checksums import MANIFEST, shard_faults
from sslkit_shards.specs.webdataset import WebDataset
from tests import tiny
from tests.conftest import ROOT
from tests.plugins.shards.tars import write_shards


@pytest.fixture
def folder(tmp_path):
    """Three shards and the file about them."""
    paths = write_shards(tmp_path, [3, 2, 4])
    shards = [
        {
            "name": path.name,
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in paths
    ]
    (tmp_path / MANIFEST).write_text(
        json.dumps({"more": 1, "shards": [{**one, "images": 9} for one in shards]})
    )
    return tmp_path


def faults(folder):
    source = WebDataset(shards=str(folder), channels=1).build("train")
    return {name.removeprefix(f"{folder}/"): text for name, text in source.file_faults()}


def test_shards_that_are_as_they_were_have_no_faults(folder):
    assert faults(folder) == {}
    (folder / MANIFEST).unlink()
    assert faults(folder) == {}, "nothing to hold them against"


def test_a_changed_byte_is_a_fault(folder):
    path = folder / "000001.tar"
    content = bytearray(path.read_bytes())
    content[600] ^= 1
    path.write_bytes(content)
    assert faults(folder) == {"000001.tar": "has another SHA-256 than shards.json says"}


def test_other_sizes_and_shards_are_faults(folder):
    path = folder / "000000.tar"
    with path.open("ab") as file:
        file.write(bytes(512))
    write_shards(folder, [1], first=20, name="new-{}.tar")
    size = path.stat().st_size
    assert faults(folder) == {
        "000000.tar": f"has {size:,} bytes, and shards.json says {size - 512:,}",
        "new-0.tar": "is not among those of shards.json",
    }


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"shards": [{"name": "a"}]}', '{"shards": [3]}'])
def test_a_damaged_file_is_told(text, folder):
    (folder / MANIFEST).write_text(text)
    with pytest.raises(DataError, match=r"shards\.json: .*pack the images again"):
        faults(folder)


def test_shards_elsewhere_are_not_fetched(folder):
    assert list(shard_faults(["s3://bucket/a.tar"])) == []


def test_the_example_reads_what_its_first_command_writes(tmp_path, monkeypatch):
    lines = (ROOT / "examples" / "shards" / "digits.yaml").read_text().splitlines()
    command = next(line for line in lines if line.startswith("#   sslkit data pack"))
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command.removeprefix("#   sslkit "))
    assert main([str(ROOT / word) if word.startswith("examples/") else word for word in words]) == 0
    spec = load(ROOT / "examples" / "shards" / "digits.yaml")
    train, test = spec.data.build("train"), spec.data.build("test")
    assert (len(train), len(test)) == (1437, 360)
    assert train.classes == test.classes == tuple("0123456789")


@pytest.mark.slow
def test_digits_are_packed_checked_and_trained_on(tmp_path, capsys):
    """From a source without files to a run on shards, by the commands of the example."""
    fields = tiny.fields(steps=3, evaluate=[{"kind": "knn"}])
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(fields))
    out = tmp_path / "digits"
    assert main(["data", "pack", str(tmp_path / "spec.yaml"), str(out), "--shard-images", "300"]) == 0
    data = yaml.safe_load(capsys.readouterr().out.splitlines()[-1])["data"]
    (tmp_path / "shards.yaml").write_text(yaml.safe_dump({**fields, "data": data}))
    assert main(["data", "check", str(tmp_path / "shards.yaml")]) == 0
    assert main(["run", str(tmp_path / "shards.yaml"), "--out", str(tmp_path / "run")]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["metrics"]["eval/knn/accuracy"] > 0.5
    packed, digits = parse({**fields, "data": data}).data.build("train"), parse(fields).data.build("train")
    names = [json.loads(packed.text(i, "json"))["name"] for i in (0, 700, 1436)]
    places = [int(name.split()[-1]) for name in names]
    for i, place in zip((0, 700, 1436), places, strict=True):
        assert packed.load(i).equal(digits.load(place))
        assert packed.labels[i] == digits.labels[place]
