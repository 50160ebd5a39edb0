"""Drills notice what they are there to notice."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests.conftest import ROOT
from tests.drills import __main__ as drills
from tests.drills.bench import lost
from tests.drills.drill import HELD, Drill, Result, judged
from tests.drills.drills import DRILLS
from tests.drills.endurance import GROWTH, Usage, growth
from tests.drills.flips import names, tells, unnamed
from tests.drills.forks import Ended, fault
from tests.drills.harness_cases import CASES
from tests.drills.inputs import header, one_line, structure
from tests.drills.journal import Journal, Try
from tests.drills.mutated_specs import MIB, SECONDS, bounded
from tests.drills.mutations import MILD, TEXTS, VALUES, mutated
from tests.drills.outcome import difference, newest_step, outcome, plain
from tests.drills.owners import wrong_ends
from tests.drills.page import BEGIN, END, PAGE, table, written
from tests.specs.valid import valid


@pytest.fixture(scope="module")
def cases():
    """What the cases print that fork, in a process that has one thread."""
    words = [sys.executable, "-m", "tests.drills.harness_cases"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    return done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_forks_and_numbered_calls(cases, case):
    assert f"held: {case.__name__}\n" in cases, cases


def ended(code=0, output="", seconds=0.1, mib=1.0, stopped=""):
    return Ended(code, output, seconds, mib, stopped)


@pytest.mark.parametrize(
    ("end", "word"),
    [
        (ended(1, "bug: KeyError"), "exit 1: bug: KeyError"),
        (ended(-11), "exit -11: "),
        (ended(0, "Traceback (most recent call last):\n  x"), "traceback: "),
        (ended(0, "", stopped="took longer than 3 s"), "took longer than 3 s"),
    ],
)
def test_what_is_wrong_with_an_end(end, word):
    assert word in fault(end)
    assert fault(ended(2, "error: no such file")) is None


def test_costs_are_bounded():
    assert bounded(ended()) is None
    assert "of processor time" in bounded(ended(seconds=SECONDS + 1))
    assert "MiB" in bounded(ended(mib=MIB + 1))
    assert "exit 1" in bounded(ended(1))


def run_folder(folder: Path, **files: object) -> Path:
    (folder / "checkpoints/step-00000004").mkdir(parents=True)
    (folder / "evaluations/step-00000004").mkdir(parents=True)
    (folder / "checkpoints/step-00000004/state.pt").write_bytes(b"weights")
    (folder / "checkpoints/step-00000004/meta.json").write_text("{}")
    (folder / "evaluations/step-00000004/knn.json").write_text('{"accuracy": 0.5, "seconds": 3}')
    (folder / "evaluations/step-00000004/knn.npz").write_bytes(b"answers")
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5, "images_per_s": 7}\n')
    (folder / "summary.json").write_text(
        json.dumps({"step": 4, "seconds": 9, "name": f"in {folder}", "paths": {"run": "x"}})
    )
    return folder


def test_equal_runs_at_other_places_and_speeds_are_equal(tmp_path):
    one, two = run_folder(tmp_path / "one"), run_folder(tmp_path / "two")
    (two / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5, "images_per_s": 8}\n')
    (two / "report.html").write_text("a page")
    assert difference(outcome(one), two) is None
    assert newest_step(one) == 4
    assert newest_step(tmp_path) == 0


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("checkpoints/step-00000004/state.pt", b"Weights", "other weights: step-00000004"),
        (
            "evaluations/step-00000004/knn.json",
            b'{"accuracy": 0.6}',
            "knn.json: accuracy: 0.5 -> 0.6",
        ),
        ("evaluations/step-00000004/knn.npz", b"Answers", "other evaluations"),
        ("metrics.jsonl", b'{"step": 1, "loss": 2.75}\n', "loss: 2.5 -> 2.75"),
        ("metrics.jsonl", b'{"step": 1, "loss": 2.5}\n{"step": 1, "loss": 2.5}\n', "2 instead of 1"),
        ("summary.json", b'{"step": 5}', "step: 4 -> 5"),
        ("summary.json", b"{", "not whole"),
        (".a.tmp", b"", "beyond ['.a.tmp']"),
    ],
)
def test_whatever_differs_is_named(tmp_path, name, content, what):
    one, two = run_folder(tmp_path / "one"), run_folder(tmp_path / "two")
    (two / name).write_bytes(content)
    assert what in difference(outcome(one), two)


def test_other_evaluations_may_be_there_where_one_was_made(tmp_path):
    one, two = run_folder(tmp_path / "one"), run_folder(tmp_path / "two")
    (two / "evaluations/step-00000003").mkdir()
    (two / "evaluations/step-00000003/knn.json").write_text("{}")
    assert "other evaluations" in difference(outcome(one), two)
    assert difference(outcome(one), two, more=True) is None
    assert "knn.json" in difference(outcome(two), one, more=True), "one less is another thing"
    (two / "evaluations/step-00000003/knn.json").unlink()
    name = "evaluations/step-00000004/knn.npz"
    (two / name).write_bytes(b"Answers")
    assert difference(outcome(one), two, aside=[name]) is None
    (two / name).unlink()
    assert difference(outcome(one), two, aside=[name]) is None
    (one / name).unlink()
    for name in ("summary.json", "metrics.jsonl", "checkpoints/step-00000004/state.pt"):
        whole = (two / name).read_bytes()
        (two / name).write_bytes(b"{}")
        assert difference(outcome(one), two, aside=[name]) is None
        assert difference(outcome(one), two) is not None
        (two / name).write_bytes(whole)


def test_steps_that_are_lost():
    assert lost(3, ended(output="tiny: 4 steps of 8 images from step 3, lr 1")) is None
    assert lost(0, ended(output="tiny: 4 steps of 8 images from the start")) is None
    assert lost(4, ended(output="runs/a is finished: 4 steps")) is None
    assert "3 steps were saved, and it went on from step 2" in lost(3, ended(output="from step 2"))
    assert "from step 0" in lost(3, ended(output="from the start"))


def test_two_owners():
    trained = ended(output="tiny: 4 steps of 8 images from the start, lr 1")
    refused, waited = ended(2, "error: belongs to process 7"), ended(output="run is finished: 4 steps")
    assert wrong_ends([trained, refused], killed=False) is None
    assert wrong_ends([trained, waited], killed=False) is None
    assert "both trained" in wrong_ends([trained, trained], killed=False)
    assert "both were refused" in wrong_ends([refused, refused], killed=False)
    assert "exit -9" in wrong_ends([ended(-9), trained], killed=False)
    assert wrong_ends([ended(-9), trained], killed=True) is None
    assert "exit 1" in wrong_ends([ended(-9), ended(1)], killed=True)


def test_growth():
    steady = [Usage(100.0 + i % 3, 10, 1) for i in range(30)]
    assert growth(steady) is None
    assert "grew" in growth([one._replace(mib=one.mib + 2 * GROWTH * i / 30) for i, one in enumerate(steady)])
    assert "grew" in growth([one._replace(files=10 + i // 15) for i, one in enumerate(steady)])
    assert "grew" in growth([one._replace(threads=1 + i // 15) for i, one in enumerate(steady)])


def test_a_damaged_file_is_named_by_a_warning_only():
    name = Path("checkpoints/step-00000004/state.pt")
    assert names(ended(output="warning: passed over a checkpoint: RUN/checkpoints/step-00000004"), name)
    assert not names(ended(output="written: RUN/checkpoints/step-00000004/state.pt"), name)
    assert unnamed(ended(2, "error: RUN/checkpoints/step-00000004/meta.json: is damaged"), name) is None
    assert "does not name it: error: the run" in unnamed(ended(2, "error: the run is damaged"), name)
    assert tells("<p>state.pt is damaged</p>", "<p></p>", name)
    assert not tells("<p>0.6</p><p>state.pt</p>", "<p>0.5</p><p>state.pt</p>", name)
    assert plain("in /a/run now", Path("/a/run")) == "in RUN now"


def test_mutations_are_repeated_by_their_seed_and_use_every_kind():
    one = [mutated(valid(), random.Random(i)) for i in range(60)]
    assert one == [mutated(valid(), random.Random(i)) for i in range(60)]
    assert len({text for _, text in one}) > 50
    for mutation in (*VALUES, *MILD):
        mutation(valid(), random.Random(1))
    for change in TEXTS:
        text = yaml.safe_dump(valid())
        assert any(change(text, random.Random(i)) != text for i in range(3))
    assert valid() == valid()


def test_damages_of_inputs_are_repeated_by_their_seed_and_of_many_kinds():
    content = json.dumps({"a": {"b": [1, 2]}, "c": "d"}).encode()
    lines = b'{"step": 1}\n{"step": 2}\n{"step": 3}\n'
    inner = {"__metadata__": {"sslkit": json.dumps({"view": {"size": 8}})}, "w": {"shape": [1]}}
    text = json.dumps(inner).encode()
    tensors = len(text).to_bytes(8, "little") + text + b"\0\0\0\0"
    for damage, whole in ((structure, content), (one_line, lines), (header, tensors)):
        once = [damage(whole, random.Random(i), i) for i in range(45)]
        assert once == [damage(whole, random.Random(i), i) for i in range(45)]
        assert len({data for _, data in once}) > 20
        assert sum(data != whole for _, data in once) > 38


class Fake(Drill):
    name = "kill"
    title = "odd tries fail"
    tries, sample = 6, 2

    def attempt(self, index, folder):
        assert list(folder.iterdir()) == []
        (folder / "left").write_text("behind")
        return judged(f"{folder} is odd" if index % 2 else None)


def test_failures_are_counted_and_come_with_the_command_that_repeats_them(tmp_path, capsys):
    state = tmp_path / "state.jsonl"
    journal = Journal(state, "abc")
    for index in (0, 1, 2):
        drills._attempt(Fake(None, 7), index, tmp_path / "try", journal)
    printed = capsys.readouterr().out
    assert printed.count("failed") == 1
    assert "python -m tests.drills --only kill --seed 7 --index 1\n  TRY is odd" in printed
    state.write_text(state.read_text() + '{"commit": "abc", "dri')  # cut short by a kill
    again = Journal(state, "abc")
    assert again.tries == journal.tries
    assert again.has("kill", 7, 2)
    assert not again.has("kill", 8, 2)
    assert not Journal(state, "def").tries, "other code, another count"
    assert "| 3 | 2 | 1 |" in table(list(again.tries.values()))


def test_a_drill_that_breaks_has_not_held(tmp_path, monkeypatch):
    def broken(self, index, folder):
        raise RuntimeError("no template")

    monkeypatch.setattr(Fake, "attempt", broken)
    journal = Journal(None, "abc")
    drills._attempt(Fake(None, 0), 0, tmp_path / "try", journal)
    (one,) = journal.tries.values()
    assert one.verdict == "failed"
    assert "the drill itself: " in one.reason
    assert one.reason.endswith("RuntimeError: no template")


def arguments(**changes):
    return SimpleNamespace(**{"index": None, "tries": None, "sample": False, **changes})


def test_drills_take_turns_in_proportion():
    short, long = Fake(None, 0), Fake(None, 0)
    long.tries, long.sample = 12, 4
    turns = [(drill is long, index) for drill, index in drills.turns([short, long], arguments())]
    assert [index for of, index in turns if of] == list(range(12))
    assert [index for of, index in turns if not of] == list(range(6))
    assert Counter(of for of, _ in turns[:9]) == {True: 6, False: 3}
    assert len(list(drills.turns([short, long], arguments(sample=True)))) == 6
    assert list(drills.turns([short], arguments(tries=1))) == [(short, 0)]
    assert list(drills.turns([short], arguments(index=41))) == [(short, 41)]


def test_the_page_has_a_place_for_counts():
    tries = [Try("abc", "kill", 3, 0, "held", "", 1.0), Try("abc", "kill", 3, 1, "skipped", "not here", 1.0)]
    page = written(PAGE.read_text(encoding="utf-8"), tries, "abc")
    assert "Commit `abc`, seed 3." in page
    assert re.search(r"\| `kill` \| .* \| 1 \| 1 \| 0 \|\n", page)
    assert written(page, tries, "abc") == page
    assert page.partition(BEGIN)[0] == PAGE.read_text(encoding="utf-8").partition(BEGIN)[0]
    with pytest.raises(ValueError, match="the page has no"):
        written(f"{END} {BEGIN[:5]}", tries, "abc")


def test_drills_have_names_and_draw_by_them():
    assert len({kind.name for kind in DRILLS}) == len(DRILLS)
    for kind in DRILLS:
        assert kind.title
        assert kind.sample >= 1
    assert Fake(None, 1).dice(2).random() == Fake(None, 1).dice(2).random()
    assert Fake(None, 1).dice(2).random() != Fake(None, 1).dice(3).random()
    assert Fake(None, 1).dice(2).random() != Fake(None, 2).dice(2).random()
    assert judged(None) == HELD == Result("held")
