"""`sslkit report`, and the page of `sslkit compare`."""

from __future__ import annotations

from sslkit.cli.main import OK, USER_ERROR
from tests.cli.specs import call
from tests.evaluate.made_runs import evaluated, right, run_folder, worsened
from tests.report.parsed import Page, require_self_contained


def made(tmp_path, name, by):
    run = run_folder(tmp_path / name, name=name, objective={"kind": name})
    return evaluated(run, "knn", worsened(right(0.8), by))


def test_the_page_of_a_run(tmp_path, capsys):
    run = made(tmp_path, "mae", 0)
    code, printed, err = call(capsys, "report", run, "--fast")
    assert (code, printed, err) == (OK, f"written: {run / 'report.html'}\n", "")
    page = Page((run / "report.html").read_text(encoding="utf-8"))
    require_self_contained(page)
    assert page.tables["Headline of each evaluation"][1][:4] == ["knn", "knn@1", "accuracy", "80.00 %"]


def test_another_file(tmp_path, capsys):
    out = tmp_path / "deep" / "page.html"
    assert call(capsys, "report", made(tmp_path, "mae", 0), "--fast", "--out", out)[0] == OK
    assert out.is_file()


def test_no_run(tmp_path, capsys):
    code, printed, err = call(capsys, "report", tmp_path)
    assert (code, printed) == (USER_ERROR, "")
    assert "holds no run" in err


def test_the_page_of_a_comparison(tmp_path, capsys):
    out = tmp_path / "page.html"
    runs = [made(tmp_path, "mae", 0), made(tmp_path, "byol", 40)]
    code, printed, err = call(capsys, "compare", *runs, "--html", out)
    assert (code, err) == (OK, "")
    assert printed.endswith(f"written: {out}\n")
    page = Page(out.read_text(encoding="utf-8"))
    require_self_contained(page)
    assert "mae better than byol by 10.00 points" in page.text
