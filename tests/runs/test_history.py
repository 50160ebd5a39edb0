"""All of a run folder is of one run: what does not belong together is refused, and nothing of it is changed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
from pathlib import Path

import pytest
import yaml

from sslkit.build.restore import restore
from sslkit.cli.main import USER_ERROR, main
from sslkit.errors import CheckpointError, SpecError, StorageError
from sslkit.report.run_report import report
from sslkit.runs import checkpoint, evaluations, history, lock, manifest, metrics_log, seal
from sslkit.runs.checkpoint import FOLDER, META, STATE, Checkpoints
from sslkit.runs.history import History
from sslkit.runs.lock import COPY, LOCK, SPEC
from sslkit.runs.manifest import MANIFEST
from sslkit.runs.owner import OWNER
from sslkit.runs.summary import SUMMARY, read_summary
from sslkit.train.launch import resume, train
from tests import tiny
from tests.train.test_trainer import silent

OLD = Path(__file__).resolve().parent.parent / "goldens" / "runs" / "masked"
FIELDS = {"steps": 6, "evaluate": [{"kind": "knn", "k": 3, "every": "3 steps"}]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs of different seeds, not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    for name, seed in (("one", 3), ("two", 4)):
        train(tiny.spec(folder / name, seed=seed, **FIELDS), silent)
    return folder


@pytest.fixture
def one(runs, tmp_path):
    return Path(shutil.copytree(runs / "one", tmp_path / "one"))


@pytest.fixture
def two(runs, tmp_path):
    return Path(shutil.copytree(runs / "two", tmp_path / "two"))


def contents(folder: Path):
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != OWNER)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def spec_of(folder: Path, **changes):
    return tiny.spec(folder, **{"seed": 3, **FIELDS, **changes})


def unfinished(folder: Path, step: int = 3) -> Path:
    """As after a SIGKILL behind the checkpoint of `step`."""
    (folder / SUMMARY).unlink()
    for path in Checkpoints(folder / FOLDER).all():
        if checkpoint.step_of(path) > step:
            shutil.rmtree(path)
    return folder


def refused(folder: Path, *words: str, spec=None) -> list[str]:
    """What `run` and `resume` say, neither of which takes it: both say why, and nothing is changed."""
    before, messages = contents(folder), []
    for begin in (lambda: train(spec or spec_of(folder), silent), lambda: resume(folder, silent)):
        with pytest.raises(CheckpointError) as error:
            begin()
        messages.append(str(error.value))
        for word in words:
            assert word in messages[-1]
    assert contents(folder) == before
    return messages


def test_a_whole_folder_is_of_one_run(one, two):
    first, second = history.history(one), history.history(two)
    assert first.finished
    assert first.trained
    assert [path.name for path in first.checkpoints] == ["step-00000003", "step-00000006"]
    assert len(first.run) == 32
    assert first.run != second.run
    assert read_summary(one)["run"] == lock.read_lock(one)["run"] == first.run
    assert manifest.read_manifest(one) == manifest.Manifest(
        first.run, {SPEC: seal.digest(yaml.safe_load((one / SPEC).read_text()))}, saved=True
    )
    assert {result.run for result in evaluations.evaluations(one).values()} == {first.run}


def test_the_id_is_nothing_that_training_reads(runs, tmp_path):
    again = train(tiny.spec(tmp_path / "again", **FIELDS), silent)
    assert again["weights_sha256"] == read_summary(runs / "one")["weights_sha256"]
    assert again["run"] != read_summary(runs / "one")["run"]


def test_a_folder_without_anything_holds_nothing(tmp_path):
    assert history.history(tmp_path) == history.history(tmp_path / "none") == History()


def test_a_removed_lock_gives_the_folder_to_nobody(one):
    """A run of another seed took it, pruned its own checkpoints as the older ones and went on from these."""
    unfinished(one)
    (one / LOCK).unlink()
    before = contents(one)
    for seed in (3, 9):
        with pytest.raises(CheckpointError, match=f"holds step-00000003 and no {LOCK}") as error:
            train(spec_of(one, seed=seed), silent)
    assert f"`cp {one / COPY} {one / LOCK}` brings it back" in str(error.value)
    assert contents(one) == before
    shutil.copy(one / COPY, one / LOCK)
    assert resume(one, silent)["finished"]


def test_results_without_a_lock_are_nobodys_either(one):
    (one / LOCK).unlink()
    shutil.rmtree(one / FOLDER)
    with pytest.raises(CheckpointError, match=f"holds results and no {LOCK}"):
        train(spec_of(one), silent)


def test_a_finished_run_whose_checkpoints_were_deleted_is_not_overwritten(one):
    for path in Checkpoints(one / FOLDER).all():
        shutil.rmtree(path)
    before = contents(one)
    with pytest.raises(SpecError, match="holds a different run"):
        train(spec_of(one, seed=9), silent)
    for done in (train(spec_of(one), silent), resume(one, silent)):
        assert done["finished"]
    assert contents(one) == before


@pytest.mark.parametrize("whole_folder", [True, False])
def test_deleted_checkpoints_are_not_none_yet(one, whole_folder):
    """As where the disk of `checkpoints` is not mounted."""
    unfinished(one, step=0)
    if whole_folder:
        shutil.rmtree(one / FOLDER)
    refused(one, f"{one}: the checkpoints of its run are gone")
    with pytest.raises(CheckpointError, match="are gone"):
        train(spec_of(one, seed=9), silent)


def test_a_checkpoint_of_another_run_is_refused(one, two):
    unfinished(one)
    shutil.copytree(two / FOLDER / "step-00000006", one / FOLDER / "step-00000006")
    ours, theirs = (lock.read_lock(folder)["run"][:8] for folder in (one, two))
    refused(
        one, f"{LOCK} is of run {ours}, but step-00000006 of run {theirs}", "choose another folder with --out"
    )
    with pytest.raises(CheckpointError, match="not all of it is of one run"):
        restore(one)


def test_a_checkpoint_of_an_earlier_version_is_of_another_run(one):
    unfinished(one)
    shutil.copytree(OLD / FOLDER / "step-00000004", one / FOLDER / "step-00000004")
    messages = refused(one, "step-00000004 of a run of an earlier version")
    assert all(str(one) in message for message in messages)


@pytest.mark.parametrize("name", [LOCK, MANIFEST, SUMMARY])
def test_a_file_of_another_run_is_refused(one, two, name):
    shutil.copy(two / name, one / name)
    with pytest.raises(CheckpointError, match=f"not all of it is of one run:\n.*{name}"):
        history.history(one)
    with pytest.raises(CheckpointError, match="not all of it"):
        train(spec_of(one), silent)


def test_results_of_another_run_are_refused(one, two):
    path = "evaluations/step-00000006/knn.json"
    shutil.copy(two / path, one / path)
    with pytest.raises(
        CheckpointError, match=rf"holds results of another run, to be moved away: {one / path}"
    ):
        evaluations.evaluations(one)


def renamed(folder: Path, step: int) -> None:
    """Call the last checkpoint that of `step`, with a checksum that fits."""
    path = Checkpoints(folder / FOLDER).all()[-1].rename(folder / FOLDER / f"step-{step:08d}")
    meta = json.loads((path / META).read_text())
    (path / META).write_text(json.dumps(seal.sealed({**meta, "step": step})))


def test_a_checkpoint_beyond_the_last_step_is_no_end(one):
    unfinished(one)
    renamed(one, 99)
    messages = refused(one, "step-00000099 is beyond the last step of the run, 6")
    assert all(str(one) in message for message in messages)


def test_a_spec_that_was_edited_is_refused_with_the_way_to_change_it(one):
    unfinished(one)
    text = (one / SPEC).read_text()
    (one / SPEC).write_text(text.replace("seed: 3", "seed: 9"))
    refused(one, f"{SPEC} is not what the run began with", f"`sslkit resume {one} key.path=value`")
    (one / SPEC).write_text(f"# mine\r\n{text}".replace("\n", "\r\n"))
    assert history.history(one).trained, "what it says is the same"
    (one / SPEC).unlink()
    assert resume(one, silent)["finished"]


def test_a_lock_that_was_edited_is_refused_and_can_be_brought_back(one):
    unfinished(one)
    text = (one / LOCK).read_text()
    (one / LOCK).write_text(text.replace("momentum:", "momentun:", 1).replace("seed: 3", "seed: 4"))
    refused(one, f"{one / LOCK}: is damaged or was edited", f"`cp {one / COPY} {one / LOCK}` brings it back")
    (one / COPY).unlink()
    refused(one, "bring back a copy of it")
    (one / LOCK).write_text(text.replace("\n", "\r\n"))
    assert resume(one, silent)["finished"], "ends of lines are nothing that anyone wrote"


def test_a_lock_without_its_last_line_is_damaged(one):
    """It would pass for one of an earlier version."""
    lines = (one / LOCK).read_text().splitlines(keepends=True)
    (one / LOCK).write_text("".join(lines[:-1]))
    with pytest.raises(CheckpointError, match="is damaged or was edited"):
        lock.read_lock(one)


def test_a_removed_manifest_is_not_missed(one):
    unfinished(one)
    (one / MANIFEST).unlink()
    assert resume(one, silent)["finished"]
    assert manifest.read_manifest(one).saved
    (one / MANIFEST).write_text("{")
    refused(one, f"{one / MANIFEST}: is damaged: is not JSON: ")


def test_a_run_that_never_saved_gives_way_with_its_results(one):
    """As after a SIGKILL before the first checkpoint; a file of its own must not stop the one that begins."""
    unfinished(one, step=0)
    (one / SUMMARY).write_text(json.dumps(seal.sealed({"run": "of then", "finished": False, "step": 0})))
    manifest.write_manifest(one, manifest.Manifest(lock.read_lock(one)["run"], {}))
    assert not history.history(one).trained
    assert train(spec_of(one, seed=9), silent)["finished"]
    run = history.history(one).run
    assert {result.run for result in evaluations.evaluations(one).values()} == {run}


@pytest.mark.parametrize("name", [LOCK, SPEC, MANIFEST])
def test_a_start_that_was_cut_off_anywhere_begins_again(tmp_path, monkeypatch, name):
    """Before each of the files that say which run it is, in a folder where another began and never saved."""
    spec, folder = spec_of(tmp_path / "run", steps=1, evaluate=[]), tmp_path / "run"
    folder.mkdir()
    (folder / FOLDER).mkdir()
    lock.write_lock(spec_of(folder, seed=9), folder, {})

    def stop(path, *_):
        if path.name == name:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        for module, function in ((lock, "write_text"), (manifest, "write_json")):
            write = getattr(module, function)
            patch.setattr(module, function, lambda path, what, write=write: (stop(path), write(path, what)))
        with pytest.raises(KeyboardInterrupt):
            train(spec, silent)
    assert not history.history(folder).trained
    assert train(spec, silent)["finished"]


def test_a_run_of_an_earlier_version_goes_on_and_says_that_it_has_no_manifest(tmp_path, capsys):
    old = Path(shutil.copytree(OLD, tmp_path / "old"))
    assert main(["resume", str(old)]) == 0
    assert capsys.readouterr().out.count("carries no manifest, as an earlier version began it") == 1
    assert read_summary(old)["finished"]
    assert history.history(old).run is None
    assert not (old / MANIFEST).exists()
    assert main(["evaluate", str(old), "--only", "knn", "--no-cache"]) == 0


def test_a_bit_that_flips_in_a_checkpoint_is_seen_wherever_it_is(one):
    """`meta.json` had no checksum: a best of 0.52 became one of 8.52."""
    path = Checkpoints(one / FOLDER).all()[-1]
    content, generator = (path / META).read_bytes(), random.Random(1)
    whole = checkpoint.read_meta(path)
    for _ in range(400):
        place, bit = generator.randrange(len(content)), generator.randrange(8)
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        (path / META).write_bytes(changed)
        try:
            meta = checkpoint.read_meta(path)
        except CheckpointError:
            continue
        assert meta == whole, "what it says is the same, as with another blank"


@pytest.mark.parametrize("name", [LOCK, MANIFEST, SUMMARY, "evaluations/step-00000006/knn.json"])
def test_a_bit_that_flips_elsewhere_is_seen_too(one, name):
    readers = {
        LOCK: lambda: lock.read_lock(one),
        MANIFEST: lambda: manifest.read_manifest(one),
        SUMMARY: lambda: history.read_summary(one),
    }
    read = readers.get(name, lambda: evaluations.read_evaluation(one / name))
    content, generator, whole = (one / name).read_bytes(), random.Random(2), read()
    for _ in range(100):
        changed = bytearray(content)
        changed[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        (one / name).write_bytes(changed)
        try:
            assert read() in (whole, {})
        except (CheckpointError, SpecError):
            continue


def test_predictions_are_bound_to_their_scores(one):
    (result,) = evaluations.evaluations(one).values()
    path = result.path.with_suffix(".npz")
    content = path.read_bytes()
    assert result.predictions_sha256 == hashlib.sha256(content).hexdigest()
    assert result.predictions() is not None
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"knn\.npz: is damaged \(its checksum is another\)"):
        result.predictions()


def lines(run_dir: Path) -> list[str]:
    return (run_dir / metrics_log.METRICS).read_text().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[1:], "1 lost"),
        (lambda lines: [*lines[:2], *lines[1:]], "1 there twice"),
        (lambda lines: [lines[0][:9] + "\n", *lines[1:]], "1 lost, 1 cut or damaged"),
        (lambda lines: ["3\n", "[]\n", *lines], "2 cut or damaged"),
        (lambda lines: [lines[0].replace('"loss": ', '"loss": 1'), *lines[1:]], "others"),
        (lambda lines: [], "4 lost"),
    ],
    ids=["lost", "twice", "cut", "strange", "changed", "none"],
)
def test_records_that_are_not_those_of_the_checkpoint_are_told_and_stop_nothing(one, change, words):
    whole = lines(one)
    unfinished(one)
    (one / metrics_log.METRICS).write_text("".join(change(whole)))
    said: list[str] = []
    assert resume(one, said.append)["finished"]
    (text,) = [line for line in said if metrics_log.METRICS in line]
    assert text == (
        f"warning: {one / metrics_log.METRICS}: lines until step 3 are not those that were written: {words}"
    )
    steps = [record["step"] for record in metrics_log.read(one) if "loss" in record]
    assert len(steps) == len(set(steps))


def test_a_report_tells_of_records_that_are_others(one):
    content = bytearray((one / metrics_log.METRICS).read_bytes())
    content[content.index(b'"loss": ') + 8] ^= 1  # another digit
    (one / metrics_log.METRICS).write_bytes(content)
    with pytest.warns(
        UserWarning, match=r"metrics\.jsonl: lines until step 6 are not those that were written: others"
    ):
        report(one, fast=True)


def test_records_behind_the_checkpoint_are_nothing_to_tell(one):
    """A crash cuts the last one."""
    unfinished(one)
    (one / metrics_log.METRICS).write_text("".join(lines(one))[:-7])
    said: list[str] = []
    assert resume(one, said.append)["finished"]
    assert not [line for line in said if metrics_log.METRICS in line]


def test_records_reach_the_disk_before_the_checkpoint_that_counts_on_them(tmp_path, monkeypatch):
    """And at the end of the run."""
    events: list[str] = []
    sync, rename = os.fsync, Path.rename

    def noted_sync(descriptor):
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        if target.name == metrics_log.METRICS:
            events.append(f"records {len(target.read_bytes().splitlines())}")
        sync(descriptor)

    def noted_rename(path, target):
        if Path(target).name.startswith("step-"):
            events.append(Path(target).name)
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    train(spec_of(tmp_path / "run", steps=4, evaluate=[], checkpoint={"every": "2 steps"}), silent)
    assert events == ["records 2", "step-00000002", "records 4", "step-00000004", "records 4"]


class TestOnlyWhatIsKnownToBeAbsentIsAbsent:
    """A checkpoint folder that could not be read was taken for none: records were wiped, and training started over."""

    @pytest.fixture
    def failing(self, monkeypatch):
        """Makes every look at a path fail, as a disk or a server that is gone for a while."""

        def fail(bad: Path, number: int = errno.EIO) -> None:
            error = OSError(number, os.strerror(number))
            for owner, name in (
                (Path, "stat"),
                (Path, "iterdir"),
                (Path, "open"),
                (Path, "read_bytes"),
                (Path, "read_text"),
            ):
                monkeypatch.setattr(owner, name, _failing(getattr(owner, name), bad, error))

        return fail

    @pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE])
    @pytest.mark.parametrize(
        "name",
        [
            FOLDER,
            LOCK,
            MANIFEST,
            SUMMARY,
            f"{FOLDER}/step-00000003/{META}",
            f"{FOLDER}/step-00000003/{STATE}",
        ],
    )
    def test_an_error_names_the_path_and_changes_nothing(self, one, failing, monkeypatch, name, number):
        unfinished(one)
        if name == SUMMARY:
            (one / SUMMARY).write_text("{}")
        before = contents(one)
        with monkeypatch.context():
            failing(one / name, number)
            with pytest.raises(StorageError) as error:
                resume(one, silent)
            monkeypatch.undo()
        assert str(error.value) == (
            f"{one / name}: cannot be read: {os.strerror(number)}. Nothing was changed; try again when it can"
        )
        assert contents(one) == before
        assert resume(one, silent)["finished"]

    def test_the_command_line_says_so_without_a_traceback(self, one, failing, monkeypatch, capsys):
        unfinished(one)
        failing(one / FOLDER)
        assert main(["resume", str(one)]) == USER_ERROR
        assert main(["evaluate", str(one)]) == USER_ERROR
        error = capsys.readouterr().err
        assert error.count(f"{one / FOLDER}: cannot be read: Input/output error") == 2

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_permissions(self, one):
        unfinished(one)
        (one / FOLDER).chmod(0)
        with pytest.raises(StorageError, match="cannot be read: Permission denied"):
            resume(one, silent)


def _failing(method, bad: Path, error: OSError):
    def call(path, *arguments, **options):
        if path == bad:
            raise error
        return method(path, *arguments, **options)

    return call
