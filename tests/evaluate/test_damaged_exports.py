"""Exported files and kept features with damage of every kind: read right, refused in words, or made again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from sslkit.core.evaluator import Rows
from sslkit.core.fingerprint import SIZE
from sslkit.core.view import Grid, View
from sslkit.data import content_hash
from sslkit.errors import CheckpointError
from sslkit.evaluate.export_part import read_part
from sslkit.evaluate.feature_cache import FeatureStore
from sslkit.evaluate.open_network import exported
from sslkit.interfaces import TokenTarget
from sslkit.train.data_record import FOLDER, differences, write_list
from sslkit_tokenizers.vq_token import trained_tokens
from tests.damage import damaged_bytes, damaged_json, read_or_refused

RUNS = Path(__file__).parents[1] / "goldens" / "runs"


def metadata_of(path: Path) -> dict[str, str]:
    """The header of a safetensors file says its length first."""
    content = path.read_bytes()
    return dict(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"])


def with_metadata(source: Path, target: Path, read: Callable[[Path], object], tries: int) -> int:
    """How often `read` refuses `target`, a copy of `source` with one entry of its metadata damaged in turn."""
    metadata, state, refused = metadata_of(source), load_file(source), 0
    for key, text in metadata.items():
        if not text.startswith(("{", "[")):
            continue
        for damage in damaged_json(json.loads(text), seed=len(key), tries=tries):
            changed = {**metadata, key: damage.data.decode(errors="replace")}
            target.write_bytes(save(state, changed))
            outcome = read_or_refused(lambda: read(target))
            if isinstance(outcome, str):
                refused += 1
                assert str(target) in outcome or key == "settings", (key, damage.name, outcome)
    return refused


def test_metadata_of_exported_parts(tmp_path: Path) -> None:
    read = lambda path: read_part(path, "tokenizer")  # noqa: E731 -- as an argument
    assert read(RUNS / "tokenizer.safetensors").view.size == 8
    assert with_metadata(RUNS / "tokenizer.safetensors", tmp_path / "x.safetensors", read, tries=45) > 60


def test_metadata_of_exported_backbones(tmp_path: Path) -> None:
    assert exported(RUNS / "backbone.safetensors")[0].kind == "vit"
    assert with_metadata(RUNS / "backbone.safetensors", tmp_path / "x.safetensors", exported, tries=60) > 40


@pytest.mark.parametrize("key", ["view", "backbone", "settings"])
def test_a_part_without_an_entry_of_its_metadata(tmp_path: Path, key: str) -> None:
    path = tmp_path / "x.safetensors"
    metadata = {k: v for k, v in metadata_of(RUNS / "tokenizer.safetensors").items() if k != key}
    path.write_bytes(save(load_file(RUNS / "tokenizer.safetensors"), metadata))
    with pytest.raises(
        CheckpointError, match=rf"has no metadata '{key}'; `sslkit export RUN_DIR --part tokenizer"
    ):
        read_part(path, "tokenizer")


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({"size": 0}, "`size` should be greater than or equal to 1, found 0"),
        ({"size": 10**9}, "`size` should be less than or equal to 16384, found 1000000000"),
        ({"mean": [0.5, 0.5]}, "should have 1 means and deviations"),
        ({"mean": "0.5"}, "`mean` should be a list, found '0.5'"),
        ({"std": [None]}, "`std.0` should be a number, found None"),
    ],
)
def test_a_view_that_cannot_be(tmp_path: Path, view: dict[str, object], message: str) -> None:
    path, metadata = tmp_path / "x.safetensors", metadata_of(RUNS / "tokenizer.safetensors")
    metadata["view"] = json.dumps({**json.loads(metadata["view"]), **view})
    path.write_bytes(save(load_file(RUNS / "tokenizer.safetensors"), metadata))
    with pytest.raises(CheckpointError) as caught:
        read_part(path, "tokenizer")
    assert str(caught.value).startswith(f"{path}: metadata 'view': is damaged: {message}")
    assert str(caught.value).endswith("; write it again with `sslkit export RUN_DIR --part NAME --out FILE`")


def test_exported_files_with_damaged_bytes(tmp_path: Path) -> None:
    path, refused = tmp_path / "x.safetensors", 0
    for damage in damaged_bytes((RUNS / "tokenizer.safetensors").read_bytes(), seed=2, tries=60):
        if damage.name.startswith(("cut", "empty", "no UTF-8")):
            path.write_bytes(damage.data)
            refused += isinstance(read_or_refused(lambda: read_part(path, "tokenizer")), str)
    assert refused > 30


class _Source:
    """As much of a source as the store asks for."""

    fingerprint = "f"

    def __len__(self) -> int:
        return 5


ROWS = Rows(torch.arange(15.0).view(5, 3), torch.arange(5), torch.tensor([0, 1, 0, 1, 1]), ("a", "b"))


@pytest.mark.parametrize("suffix", [".values.npy", ".npz"])
def test_damaged_features_are_made_again(tmp_path: Path, suffix: str) -> None:
    store = FeatureStore(tmp_path, {"weights": "w"})
    store.get(_Source(), 0, lambda: ROWS)
    (path,) = tmp_path.glob(f"*{suffix}")
    whole, again = path.read_bytes(), 0
    for damage in damaged_bytes(whole, seed=4, tries=80):
        path.write_bytes(damage.data)
        rows = store.find(_Source(), 0)
        again += rows is None
        if rows is not None:
            assert rows.values.is_floating_point(), damage.name
            assert len(rows.values) == len(rows.indices), damage.name
            assert rows.labels is None or len(rows.labels) == len(rows.indices), damage.name
    assert again > 40
    path.write_bytes(whole)
    assert torch.equal(store.find(_Source(), 0).values, ROWS.values)


def test_damaged_hashes_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(content_hash.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(content_hash, "UNSETTLED", -(10**15))
    names = [f"{i}.png" for i in range(6)]
    for name in names:
        (tmp_path / name).write_text(name)
    right = content_hash.digests_of_files(tmp_path, names)
    (path,) = (tmp_path / "cache" / "content").iterdir()
    whole = path.read_bytes()
    for damage in damaged_bytes(whole, seed=6, tries=60):
        if damage.name.startswith(("bit", "bytes")):  # the zip's checksum tells most of them, and not all
            continue
        path.write_bytes(damage.data)
        digests = content_hash.digests_of_files(tmp_path, names)
        assert digests.shape == (6, SIZE), damage.name
        assert (digests == right).all(), damage.name


def test_damaged_lists_of_images_are_no_lists(tmp_path: Path) -> None:
    from sslkit import Digits

    source = Digits().build("test")
    write_list(tmp_path, "data.test", source)
    path = tmp_path / FOLDER / "data.test.npz"
    whole = path.read_bytes()
    for damage in damaged_bytes(whole, seed=8, tries=60):
        path.write_bytes(damage.data)
        what = differences(tmp_path, "data.test", source, {"fingerprint": "another", "images": len(source)})
        assert what, damage.name


def tokens(path: Path) -> TokenTarget:
    return trained_tokens(path, View(8, 1, 1, (0.3,), (0.4,)), Grid(2, 2, 4))


def test_a_tokenizer_whose_settings_name_no_metric(tmp_path: Path) -> None:
    path, metadata = tmp_path / "x.safetensors", metadata_of(RUNS / "tokenizer.safetensors")
    path.write_bytes(save(load_file(RUNS / "tokenizer.safetensors"), {**metadata, "settings": "{}"}))
    with pytest.raises(
        CheckpointError, match=r"x\.safetensors: metadata 'settings': is damaged: `metric` is missing"
    ):
        tokens(path)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (None, "`codes` should be a table of vectors, found none"),
        (torch.ones(3), r"`codes` should be a table of vectors, found torch.float32 of shape \[3\]"),
        (torch.ones(0, 4), r"`codes` should be a table of vectors, found torch.float32 of shape \[0, 4\]"),
        (torch.ones(3, 4, dtype=torch.int64), r"`codes` should be a table of vectors, found torch.int64"),
        (torch.ones(3, 9), "its projection does not fit"),
    ],
)
def test_a_tokenizer_without_codes(tmp_path: Path, codes: torch.Tensor | None, message: str) -> None:
    path, state = tmp_path / "x.safetensors", load_file(RUNS / "tokenizer.safetensors")
    state = {key: value for key, value in state.items() if key != "codes"} | (
        {} if codes is None else {"codes": codes}
    )
    path.write_bytes(save(state, metadata_of(RUNS / "tokenizer.safetensors")))
    with pytest.raises(CheckpointError, match=rf"x\.safetensors: {message}"):
        tokens(path)
