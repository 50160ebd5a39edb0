"""Files of a run folder with damage of every kind: each reader reads them right, or refuses in words."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from types import NoneType

import pytest
import yaml

from sslkit.analysis.compare.run_groups import read_entries
from sslkit.analysis.scaling.sweep_results import read_sweep
from sslkit.analysis.sweep.sweep_table import _conflict
from sslkit.build.restore import find
from sslkit.errors import SslkitError
from sslkit.report.run_data import read_run
from sslkit.runs import metrics_log
from sslkit.runs.budget import budget_of
from sslkit.runs.evaluations import evaluations
from sslkit.runs.lock import locked_spec, read_lock
from sslkit.runs.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from sslkit.runs.summary import read_summary
from sslkit.train.watch.finite import UnreadableImages
from tests.damage import Damage, damaged_bytes, damaged_json, damaged_lines, read_or_refused

RUNS = Path(__file__).parents[1] / "goldens" / "runs"
Read = Callable[[Path], object]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of an earlier version, whose files carry no checksums: shape alone can tell."""
    shutil.copytree(RUNS / "distilled", tmp_path / "run")
    return tmp_path / "run"


def outcomes(path: Path, damages: list[Damage], reads: list[Read], run: Path) -> list[str]:
    """Messages of all refusals; what was read goes unseen, and any other error passes through."""
    messages = []
    for damage in damages:
        path.write_bytes(damage.data)
        for read in reads:
            outcome = read_or_refused(lambda read=read: read(run))
            if isinstance(outcome, str):
                assert path.name in outcome, (damage.name, outcome)
                messages.append(outcome)
    return messages


def damaged_inside(whole: dict[str, object], key: str, seed: int, tries: int) -> Iterator[Damage]:
    """`whole` with the value of `key` damaged."""
    mark = json.dumps("what nothing else holds")
    text = json.dumps({**whole, key: json.loads(mark)})
    for damage in damaged_json(whole[key], seed, tries):
        yield Damage(f"{key}: {damage.name}", text.encode().replace(mark.encode(), damage.data))


def test_locks(run: Path) -> None:
    path = run / "spec.lock.yaml"
    lock = yaml.safe_load(path.read_text())
    damages = [*damaged_json(lock, 1, 30), *damaged_inside(lock, "resolved", 2, 20)]  # drills try hundreds

    def spec(run: Path) -> object:
        with contextlib.suppress(SslkitError):  # of a field that is wrong: it names the path in the spec
            return locked_spec(run)
        return None

    def budget(run: Path) -> object:
        return budget_of(run, read_lock(run), 8)

    messages = outcomes(path, damages, [read_lock, budget, spec, read_run], run)
    assert len(messages) > 30


def test_meta_of_checkpoints(run: Path) -> None:
    (checkpoint,) = (run / "checkpoints").iterdir()
    meta = json.loads((checkpoint / "meta.json").read_text())
    damages = [*damaged_json(meta, 3, 90), *damaged_inside(meta, "collapse", 4, 30)]
    messages = outcomes(checkpoint / "meta.json", damages, [lambda run: find(run)], run)
    assert len(messages) > 50


def test_manifests(run: Path) -> None:
    manifest = Manifest("a" * 32, {"spec.yaml": "b" * 64}, saved=True)
    write_manifest(run, manifest)
    damages = [*damaged_json(json.loads((run / MANIFEST).read_text()), 10, 120)]
    for damage in damages:
        (run / MANIFEST).write_bytes(damage.data)
        outcome = read_or_refused(lambda: read_manifest(run))
        assert outcome == manifest or str(run / MANIFEST) in str(outcome), damage.name
        assert "remove it" in str(outcome).lower() or outcome == manifest, damage.name


def test_summaries(run: Path) -> None:
    path = run / "summary.json"
    damages = [*damaged_json(json.loads(path.read_text()), 5, 120)]
    messages = outcomes(path, damages, [read_summary, read_run, lambda run: read_sweep([run])], run)
    assert len(messages) > 60


def test_evaluations(run: Path) -> None:
    path = max((run / "evaluations").rglob("knn.json"))
    damages = [*damaged_json(json.loads(path.read_text()), 6, 150)]

    def headlines(run: Path) -> object:
        return [entry.headline("knn") for entry in read_entries([run], None)]

    messages = outcomes(path, damages, [evaluations, headlines, lambda run: read_sweep([run])], run)
    assert len(messages) > 100


def test_predictions(run: Path) -> None:
    path = max((run / "evaluations").rglob("knn.npz"))
    damages = [*damaged_bytes(path.read_bytes(), 7, 150)]

    def correct(run: Path) -> object:
        predictions = evaluations(run)["knn"].predictions()
        return None if predictions is None else predictions.correct

    assert len(outcomes(path, damages, [correct], run)) > 100


@pytest.mark.filterwarnings("ignore:.*are not those that were written")
def test_records(run: Path) -> None:
    """A line that is no record is left out, which reports tell: nothing after it stumbles."""
    path = run / "metrics.jsonl"
    whole, left_out = path.read_text(), 0
    lines = len(metrics_log.read(run))
    for damage in damaged_lines(whole, 8, 150):
        path.write_bytes(damage.data)
        records = metrics_log.read(run)
        left_out += len(records) < lines
        for record in records:
            assert type(record["step"]) is int, damage.name
            assert all(type(v) in (int, float, bool, NoneType) for v in record.values()), damage.name
        assert read_run(run).keys(lambda key: True), damage.name
        _conflict(run)
        metrics_log.rewind(run, 4)
    assert left_out > 50


@pytest.mark.parametrize("line", ["[1]", "3", '"text"', "null", "true", "{}", '{"step": "1"}', '{"step": true}',
                                  '{"step": -1}', '{"step": 1, "loss": [2]}', '{"step": 1, "loss": "2"}',
                                  '{"step": 1, "loss": 1%s}' % ("0" * 400)])  # fmt: skip
def test_a_line_that_is_json_but_no_record_is_left_out(run: Path, line: str) -> None:
    (run / "metrics.jsonl").write_text(
        f'{{"step": 1}}\n{line}\n{{"step": 2, "loss": null, "warning": "w"}}\n'
    )
    assert metrics_log.read(run) == [{"step": 1}, {"step": 2, "loss": None, "warning": "w"}]
    metrics_log.rewind(run, 5, held=[line, '{"step": 3}'])
    assert [record["step"] for record in metrics_log.read(run)] == [1, 2, 3]


LAST = "evaluations/step-00000008"
FILES = [
    "metrics.jsonl",
    "summary.json",
    "spec.lock.yaml",
    f"{LAST}/knn.json",
    f"{LAST}/knn.npz",
    "checkpoints/step-00000008/meta.json",
]


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_in_place_of_a_file_is_not_opened(run: Path, name: str) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)

    def everything(run: Path) -> object:
        find(run)
        evaluations(run)["knn"].predictions()
        return read_run(run)

    outcome: list[object] = []
    thread = Thread(target=lambda: outcome.append(read_or_refused(lambda: everything(run))), daemon=True)
    thread.start()
    thread.join(30)
    assert outcome, "it waits for somebody who writes"
    assert f"{run / name}: is a named pipe; expected a regular file" in str(outcome[0]) or name.endswith(
        "npz"
    )


def test_lists_of_skipped_images(run: Path) -> None:
    path = run / "skipped.txt"
    whole = b"3\ta.png\tthe file is empty\n15\tb.png\tit is not an image\n"
    for damage in damaged_bytes(whole, 9, 80):
        path.write_bytes(damage.data)
        skipped = UnreadableImages(path, 100, 0.5, str)
        assert all(0 <= index < 10**18 for index in skipped.reasons), damage.name
