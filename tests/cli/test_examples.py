"""`sslkit examples`."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslkit.cli import examples
from sslkit.cli.main import OK, USER_ERROR, main
from sslkit.specs.load import read_yaml

SHIPPED = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_all_are_listed_with_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["examples"]) == OK
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    specs = {path.relative_to(SHIPPED).with_suffix("").as_posix() for path in SHIPPED.rglob("*.yaml")}
    assert specs <= set(listed)
    assert listed["quickstart"].startswith("A hybrid on scikit-learn's handwritten digits")
    assert all(len(text) > 10 and "\n" not in text for text in listed.values())


@pytest.mark.parametrize(
    "name", ["quickstart", "quickstart.yaml", "examples/quickstart", "examples/quickstart.yaml"]
)
def test_one_is_written_where_its_comment_has_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["examples", name]) == OK
    assert capsys.readouterr().out == "written: examples/quickstart.yaml\n"
    assert read_yaml(Path("examples/quickstart.yaml")) == read_yaml(SHIPPED / "quickstart.yaml")


def test_a_folder_is_kept_and_scripts_come_with_their_ending(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["examples", "--out", "here", "science/cells.py", "recipes/images_100"]) == OK
    assert Path("here/science/cells.py").read_bytes() == (SHIPPED / "science/cells.py").read_bytes()
    assert Path("here/recipes/images_100.yaml").is_file()


def test_all_of_them() -> None:
    assert main(["examples", "--all"]) == OK
    written = {path.relative_to("examples") for path in Path("examples").rglob("*") if path.is_file()}
    assert written == {path.relative_to(SHIPPED) for path in examples.shipped().values()}


def test_what_was_changed_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["examples", "quickstart"]) == OK
    assert main(["examples", "quickstart"]) == OK
    Path("examples/quickstart.yaml").write_text("mine", encoding="utf-8")
    assert main(["examples", "quickstart"]) == USER_ERROR
    assert "quickstart.yaml is there already and differs" in capsys.readouterr().err
    assert Path("examples/quickstart.yaml").read_text(encoding="utf-8") == "mine"


def test_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["examples", "quikstart"]) == USER_ERROR
    assert "'quikstart' is no example. Did you mean 'quickstart'?" in capsys.readouterr().err
    assert not Path("examples").exists()


def test_an_installation_without_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(examples, "FOLDERS", (Path("nowhere"),))
    assert main(["examples"]) == USER_ERROR
    assert "no examples in nowhere; install sslkit again" in capsys.readouterr().err
