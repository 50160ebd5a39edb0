"""Files of embeddings that are damaged, foreign or edited are refused in words."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from sslkit import embed, load_embeddings
from sslkit.errors import DataError, SpecError
from sslkit.evaluate.embeddings.embedding_file import read_about
from sslkit.evaluate.embeddings.embedding_formats import METADATA, beside
from tests.damage import damaged_bytes, damaged_json, read_or_refused
from tests.evaluate.embeddings.subjects import labeled, trained

ENDINGS = ["parquet", "npy", "safetensors"]
TRIES = 25


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Ending -> a file of 22 rows of 16 numbers. Tests must not change it."""
    root = tmp_path_factory.mktemp("written")
    run, data = trained(root / "run"), labeled(root / "images")
    return {
        ending: embed(run, data=data, out=root / f"e.{ending}", workers=0, device="cpu").path
        for ending in ENDINGS
    }


def copied(path, folder):
    """The file in `folder`, with what stands beside it."""
    for file in path.parent.glob(f"{path.name}*"):
        shutil.copy(file, folder / file.name)
    return folder / path.name


@pytest.mark.parametrize("ending", ENDINGS)
def test_damaged_bytes_are_refused_or_read_right(written, tmp_path, ending):
    """A flipped bit in a number passes; whatever else is wrong has a message that names the file."""
    path = copied(written[ending], tmp_path)
    content, expected = path.read_bytes(), load_embeddings(path)
    refused = 0
    for damage in damaged_bytes(content, seed=0, tries=TRIES):
        path.write_bytes(damage.data)
        answer = read_or_refused(lambda: load_embeddings(path))
        if isinstance(answer, str):
            refused += 1
            assert path.name in answer, damage.name
        else:
            assert answer.values.shape == expected.values.shape, damage.name
            assert answer.values.dtype == expected.values.dtype
    assert refused >= TRIES // 3


def test_a_damaged_json_beside_an_array_is_refused_or_read_right(written, tmp_path):
    path = copied(written["npy"], tmp_path)
    fields = json.loads(beside(path).read_text())
    refused = 0
    for damage in damaged_json(fields, seed=0, tries=2 * TRIES):
        beside(path).write_bytes(damage.data)
        answer = read_or_refused(lambda: load_embeddings(path))
        refused += isinstance(answer, str)
        if isinstance(answer, str):
            assert path.name in answer, damage.name
        else:
            assert len(answer.names) == len(answer.indices) == len(answer.values) == 22
    assert refused >= TRIES


def rewritten(path, change):
    """Change what the file says of itself."""
    if path.suffix == ".npy":
        fields = json.loads(beside(path).read_text())
        change(fields)
        beside(path).write_text(json.dumps(fields))
        return
    about = read_about(path).model_dump(mode="json")
    change(about)
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata({METADATA: json.dumps(about)}), path)
        return
    there = load_embeddings(path)
    names = np.frombuffer("\0".join(there.names).encode(), np.uint8)
    arrays = {"embeddings": there.values, "indices": there.indices, "labels": there.labels, "names": names}
    save_file(arrays, path, {METADATA: json.dumps(about)})


CHANGES = {
    "images": lambda about: about.update(images=23),
    "shape": lambda about: about.update(shape=[8]),
    "dtype": lambda about: about.update(dtype="float16"),
    "classes": lambda about: about.update(classes=["cats"]),
    "unlabeled": lambda about: about.update(labeled=False),
    "format": lambda about: about.update(format="another"),
    "weights": lambda about: about.pop("weights_sha256"),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("change", CHANGES)
def test_rows_that_are_not_what_the_file_says_are_refused(written, tmp_path, ending, change):
    path = copied(written[ending], tmp_path)
    rewritten(path, CHANGES[change])
    if (ending, change) == ("parquet", "unlabeled"):
        assert load_embeddings(path).labels is None, "the column is not asked for"
        return
    with pytest.raises(DataError, match=r"take them again with `sslkit embed`"):
        load_embeddings(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_rewritten_unchanged_is_read(written, tmp_path, ending):
    path = copied(written[ending], tmp_path)
    rewritten(path, lambda about: None)
    there, expected = load_embeddings(path), load_embeddings(written[ending])
    assert np.array_equal(there.values, expected.values)
    assert there.names == expected.names
    assert there.about == expected.about


def test_files_of_others_are_told_apart(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(
        DataError, match=r"x\.npy\.json: is missing, which says what the embeddings in x\.npy"
    ):
        load_embeddings(tmp_path / "x.npy")
    save_file({"a": np.zeros(3)}, tmp_path / "x.safetensors")
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "x.parquet")
    for name in ("x.safetensors", "x.parquet"):
        with pytest.raises(DataError, match="does not say what its embeddings came from, as files of"):
            load_embeddings(tmp_path / name)
    with pytest.raises(SpecError, match=r"x\.txt: embeddings are in files that end in \.parquet, \.npy"):
        load_embeddings(tmp_path / "x.txt")
    with pytest.raises(DataError, match=r"nowhere\.npy: cannot be read: No such file"):
        load_embeddings(tmp_path / "nowhere.npy")


def test_an_array_of_objects_runs_nothing(written, tmp_path):
    path = copied(written["npy"], tmp_path)
    path.unlink()
    np.save(path, np.array([{"a": 1}] * 22, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        load_embeddings(path)


def test_an_array_is_mapped_and_not_read(written):
    assert isinstance(load_embeddings(written["npy"]).values, np.memmap)
