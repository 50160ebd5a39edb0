"""Hints on what a person meant."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sslkit.cli.hints import as_override
from sslkit.cli.main import OK, USER_ERROR, main
from sslkit.specs.error_text import suggest
from sslkit.specs.load import similar_path
from tests.specs.valid import small


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(small()), encoding="utf-8")
    return str(path)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What `sslkit WORDS` says on standard error."""
    assert main(list(words)) == USER_ERROR
    printed, err = capsys.readouterr()
    assert printed == ""
    return err.removeprefix("error: ").rstrip()


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["--epochs", "3"], "epochs=3"),
        (["--epochs=3"], "epochs=3"),
        (["--batch-size", "64"], "batch_size=64"),
        (["--lr", "1e-3"], "optimizer.lr=1e-3"),
        (["--optimizer.lr", "1e-3"], "optimizer.lr=1e-3"),
        (["seed=1", "--epochs"], "epochs=VALUE"),
        (["--epochs", "--out"], "epochs=VALUE"),
        (["--color", "red"], None),
        (["epochs", "3"], None),
    ],
)
def test_a_field_as_an_option_is_told_how_it_is_written(words: list[str], written: str | None) -> None:
    assert as_override(words) == written


@pytest.mark.parametrize("words", [["--epochs", "3"], ["--epochs=3"]])
def test_the_command_line_says_so(spec: str, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["validate", spec, *words])
    assert ended.value.code == USER_ERROR
    assert capsys.readouterr().err.endswith("\nfields are changed without dashes: epochs=3\n")


def test_options_of_commands_without_fields_get_no_such_hint(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["schema", "--epochs", "3"])
    assert "without dashes" not in capsys.readouterr().err


@pytest.mark.parametrize(("word", "kind"), [("MAE", "mae"), ("MoCo-v3", "moco_v3"), ("SimCLR", "simclr")])
def test_other_capitals_are_recognized(word: str, kind: str) -> None:
    assert suggest(word, ["byol", "mae", "moco_v2", "moco_v3", "simclr"]).startswith(
        f"Did you mean {kind!r}?"
    )


def test_a_kind_in_capitals(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "validate", spec, "objective.kind=MAE")
    assert said.startswith("objective.kind: 'MAE' is not an objective. Did you mean 'mae'?")


def test_two_named_terms_under_objective(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    terms = "objective={mim: {kind: mae}, apart: {kind: koleo}}"
    assert refused(capsys, "validate", spec, terms) == (
        "objective.kind: is missing; several objectives go by name under `objectives`: "
        "`objectives: {mim: ..., apart: ...}`"
    )


def test_fields_of_a_default_need_no_kind(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", spec, "objective.masker.ratio=0.5"]) == OK
    assert "mae(masker=random(ratio=0.5))" in capsys.readouterr().out
    assert main(["validate", spec, "objective={kind: simmim, masker: {unit: 4}}"]) == OK
    assert "simmim(masker=unit(ratio=0.6, unit=4))" in capsys.readouterr().out
    assert "is not a field of RandomMasker" in refused(capsys, "validate", spec, "objective.masker.raito=0.5")
    assert "masker.kind: is missing" in refused(
        capsys, "validate", spec, "objective={kind: koleo, masker: {ratio: 0.5}}"
    )


@pytest.mark.parametrize("field", ["crops=2", "size=many"])
def test_an_override_of_a_view_that_is_not_there(
    spec: str, capsys: pytest.CaptureFixture[str], field: str
) -> None:
    said = refused(capsys, "validate", spec, f"views.globl.{field}")
    assert said.splitlines()[-1] == (
        "views.globl: is not in the file, which has `views.global`; did you mean that?"
    )


def test_an_override_that_makes_a_view_that_nothing_reads(
    spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "validate", spec, "views.globl.size=32")
    assert said == "views.globl: no objective reads this view. Did you mean `views.global`?"


def test_an_override_that_adds_a_view_is_as_good_as_any(spec: str) -> None:
    both = "objective={kind: hybrid, objectives: {a: {kind: mae}, b: {kind: mae, view: local}}}"
    assert main(["validate", spec, "views.local.size=8", both]) == OK


def test_a_folder_that_does_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "first").mkdir()
    missing = tmp_path / "firts"
    said = f"{missing}: no such run folder or spec. Did you mean {tmp_path / 'first'}?"
    assert refused(capsys, "evaluate", str(missing)) == said
    for command in ("resume", "report"):
        assert (
            refused(capsys, command, str(missing))
            == f"{missing}: no such folder. Did you mean {tmp_path / 'first'}?"
        )
    assert similar_path(tmp_path / "nowhere" / "first") == ""
    spec = tmp_path / "evaluation.yaml"
    spec.write_text(f"run: {missing}", encoding="utf-8")
    assert (
        refused(capsys, "evaluate", str(spec))
        == f"{missing}: no such folder. Did you mean {tmp_path / 'first'}?"
    )


def test_a_checkpoint_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "evaluation.yaml"
    spec.write_text(yaml.safe_dump({"file": "net.safetensors", "data": {"kind": "digits"}}), encoding="utf-8")
    for words in (["checkpoint=best"], ["--checkpoint", "best"]):
        said = refused(capsys, "evaluate", str(spec), *words)
        assert said == "spec: `checkpoint` is one of a `run`, and a `file` is evaluated; leave it out"
