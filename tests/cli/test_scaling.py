"""`sslkit scaling`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from PIL import Image

from sslkit.cli.main import OK, USER_ERROR
from tests.analysis.scaling import planted
from tests.analysis.scaling.runs import write_csv, write_run
from tests.cli.specs import call

FEW = ("--resamples", 100)


@pytest.fixture
def table(tmp_path):
    x, y = planted.single(9, 0.01, seed=1)
    return write_csv(tmp_path / "sizes.csv", parameters=x, loss=y, accuracy=1 - y / 4)


@pytest.fixture
def grid(tmp_path):
    n, d, y = planted.grid(noise=0.01, seed=1)
    return write_csv(tmp_path / "grid.csv", parameters=n, images=d, loss=y)


def test_a_table_of_sizes(table, capsys):
    code, out, err = call(capsys, "scaling", table)
    assert (code, err) == (OK, "")
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[0] == "loss = E + A x^-alpha, x = parameters from 1e+05 to 3e+07, 9 runs"
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("  ")}
    assert rows["estimate"] == ["95", "%", "interval"]
    value, low, _, high = rows["alpha"]
    assert float(low) <= planted.ALPHA <= float(high)
    assert abs(float(value) - planted.ALPHA) < 0.06
    assert float(rows["E"][1]) <= planted.E <= float(rows["E"][3])
    assert any(line.startswith("the data ask for the offset (AIC +") for line in lines)


def test_run_folders(tmp_path, capsys):
    x, y = planted.single(6, 0.01, seed=1)
    runs = [
        write_run(tmp_path / f"r{i}", size=int(x[i]), metrics={"eval/knn/accuracy": 1 - y[i] / 4})
        for i in range(6)
    ]
    code, out, err = call(capsys, "scaling", *runs, "--y", "eval/knn/accuracy", "--as", "error", *FEW)
    assert (code, err) == (OK, "")
    assert out.startswith(
        "1 - eval/knn/accuracy = E + A x^-alpha, x = parameters from 1e+05 to 3e+07, 6 runs\n"
    )


def test_an_estimate_of_flops_is_told(tmp_path, capsys):
    x, y = planted.single(6, 0.01, seed=1)
    runs = [write_run(tmp_path / f"r{i}", size=int(x[i]), metrics={"loss": y[i]}) for i in range(6)]
    code, out, err = call(capsys, "scaling", *runs, "--x", "flops", *FEW)
    assert code == OK
    assert "x = flops from 2.88e+09" in out
    assert err == (
        "warning: FLOPs are not recorded: taken as 6 per parameter and token, heads and decoders left out\n"
    )


def test_the_joint_law(grid, capsys):
    code, out, err = call(
        capsys, "scaling", grid, "--joint", "--extrapolate", 1e13, "--extrapolate", 1e20, *FEW
    )
    assert code == OK
    lines = out.splitlines()
    assert lines[0] == "loss = E + A / N^alpha + B / D^beta, N parameters, D images seen, 16 runs"
    assert any(line.startswith("compute C = 6 N D; at its best N grows as C^0.") for line in lines)
    heading = next(i for i, line in enumerate(lines) if "best parameters" in line)
    assert [line.split()[0] for line in lines[heading + 2 : heading + 4]] == ["1e+13", "1e+20"]
    said = err.splitlines()
    assert said[0] == f"warning: {grid} has no column flops: taken as 6 per parameter and image"
    assert said[1].startswith("warning: 1e+20 is 9.26e+03 times beyond the data: the interval holds only if")
    assert len(said) == 2


def test_rows_are_not_broken_where_there_is_no_terminal(grid, capsys):
    _, out, _ = call(capsys, "scaling", grid, "--joint", "--extrapolate", 1e13, *FEW)
    row = next(line for line in out.splitlines() if line.strip().startswith("1e+13"))
    assert row.count("[") == row.count("]") == 3


def test_emergence(table, capsys):
    code, out, _ = call(capsys, "scaling", table, "--emergence", *FEW)
    assert code == OK
    assert "\nno evidence of a break (p = " in out
    assert "\nno evidence of a sigmoid: " in out


def test_files(table, tmp_path, capsys):
    numbers, figure = tmp_path / "new" / "law.json", tmp_path / "newer" / "law.png"
    code, out, _ = call(
        capsys, "scaling", table, "--json", numbers, "--figure", figure, "--extrapolate", 1e8, *FEW
    )
    assert code == OK
    assert out.splitlines()[-2:] == [f"written: {numbers}", f"written: {figure}"]
    data = json.loads(numbers.read_text())
    assert data["law"] == "power_law"
    assert data["extrapolation"][0]["at"] == 1e8
    with Image.open(figure) as image:
        assert image.format == "PNG"


def test_a_figure_of_the_joint_law(grid, tmp_path, capsys):
    figure = tmp_path / "joint.svg"
    assert call(capsys, "scaling", grid, "--joint", "--figure", figure, *FEW)[0] == OK
    assert "<svg" in figure.read_text()


def test_a_seed_prints_the_same_again(table, capsys):
    one, two, three = (call(capsys, "scaling", table, "--seed", seed, *FEW)[1] for seed in (0, 0, 1))
    assert one == two
    assert one != three


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--y", "accuracy"],
            "accuracy does not fall with parameters: a constant fits as well (AIC of the constant",
        ),
        (["--x", "images"], "row 1: has no 'images'. It has parameters, loss, accuracy"),
        (["--figure", "law.bmp"], "--figure: law.bmp must end in .png, .pdf, .svg"),
        (["--resamples", 10], "resamples: 95 % intervals need at least 100, found 10"),
        (["--extrapolate", -1], "x: must be a finite number above 0, found -1"),
        (["--joint"], "row 1: has no 'images'"),
    ],
)
def test_what_is_refused(table, capsys, words, message):
    code, out, err = call(capsys, "scaling", table, *words)
    assert (code, out) == (USER_ERROR, "")
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_missing_file(capsys):
    code, _, err = call(capsys, "scaling", "nowhere.csv")
    assert (code, err) == (
        USER_ERROR,
        "error: nowhere.csv: does not exist; give run folders, or tables in .csv or .json\n",
    )


def test_it_needs_no_torch(table):
    code = (
        "import sys; from sslkit.cli.main import main; "
        f"assert main(['scaling', {str(table)!r}, '--emergence', '--resamples', '100']) == 0; "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
