"""`sslkit validate`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sslkit import catalog
from sslkit.cli.main import OK, USER_ERROR, main
from sslkit.cli.validate import learning_rate, overview
from sslkit.specs.load import parse
from tests.specs.valid import small, valid


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(valid()), encoding="utf-8")
    return str(path)


def test_a_valid_spec_is_ok_and_summed_up(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", spec, "batch_size=128", "optimizer.scale=/256"]) == OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ok: valid"
    assert "  data       digits(test_share=0.25)" in lines
    assert "  view global 2 x 16 pixels, 4 x 4 patches of 4" in lines
    assert "  view local 1 x 8 pixels, 2 x 2 patches of 4" in lines
    assert "  batch      128 images" in lines
    assert "  lr         0.0005 (0.001 by the rule /256 at 128 images)" in lines
    assert "  length     4 epochs" in lines


def test_a_broken_spec_is_one_message_and_exit_code_2(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", spec, "objectives.main.masker.kind=rnadom"]) == USER_ERROR
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err == (
        "error: objectives.main.masker.kind: 'rnadom' is not a masker. Did you mean 'random'? "
        f"Known: {', '.join(sorted(catalog.kinds('masker')))}.\n"
    )


def test_a_missing_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "nowhere.yaml"]) == USER_ERROR
    assert capsys.readouterr().err.startswith("error: nowhere.yaml: cannot be read: No such file")


def test_the_overview_names_a_single_objective_and_several_by_their_names() -> None:
    assert ("objective", "mae") in list(overview(parse(small())))
    labels = [label for label, _ in overview(parse(valid()))]
    assert {"objective main", "objective small", "evaluate"} <= set(labels)
    assert ("length", "7 steps") in list(overview(parse({**small(steps=7), "epochs": None})))


def test_the_learning_rate_says_its_rule() -> None:
    assert learning_rate(parse(small(batch_size=512))) == "0.0003 (0.00015 by the rule /256 at 512 images)"
    assert learning_rate(parse(small(optimizer={"scale": "absolute", "lr": 0.1}))) == "0.1 (absolute)"


@pytest.mark.parametrize(
    ("words", "never"),
    [
        (["--help"], {"torch", "numpy", "pydantic", "yaml", "scipy", "PIL", "matplotlib"}),
        (["validate"], {"torch", "torchvision", "timm", "numpy", "scipy", "PIL", "matplotlib", "sklearn"}),
    ],
)
def test_start_up_imports_nothing_slow(words: list[str], never: set[str], spec: str) -> None:
    """How long it takes: `benchmarks/start_up.py`."""
    words = [*words, spec] if words == ["validate"] else words
    code = (
        "import sys\nfrom sslkit.cli.main import main\ntry:\n    assert main(sys.argv[1:]) == 0\n"
        f"except SystemExit as stop:\n    assert not stop.code\nprint('slow:', *sorted({never!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "slow:"
