"""A page holds pictures of its run, and no others that a run folder names."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

from sslkit.report.page.embedded_images import picture_of_run
from sslkit.report.run_data import read_run
from sslkit.report.sections.run_pictures import others, reconstructions
from tests.whole.test_old_runs import KEPT


@pytest.fixture
def secret(tmp_path):
    """A picture outside of any run."""
    path = tmp_path / "secret.png"
    Image.new("RGB", (7, 5), "red").save(path)
    return path


def test_a_picture_lies_in_the_run_by_its_path_and_behind_links(tmp_path, secret):
    run = tmp_path / "run"
    (run / "figures").mkdir(parents=True)
    shutil.copy(secret, run / "figures" / "a.png")
    assert picture_of_run(run, "figures/a.png", "a") is not None
    assert picture_of_run(run, run / "figures" / "a.png", "a") is not None
    (run / "figures" / "link.png").symlink_to(secret)
    (run / "away").symlink_to(tmp_path)
    for file in (secret, "../secret.png", "figures/../../secret.png", "figures/link.png", "away/secret.png"):
        assert picture_of_run(run, file, "a") is None


@pytest.mark.parametrize("where", ["absolute", "above"])
def test_a_report_embeds_no_picture_that_an_evaluation_names_elsewhere(tmp_path, secret, where):
    run_dir = shutil.copytree(KEPT / "hybrid", tmp_path / "run")
    for path in run_dir.rglob("evaluations/*/*.json"):
        record = json.loads(path.read_text())
        record["figures"] = {"map": str(secret) if where == "absolute" else "../secret.png"}
        path.write_text(json.dumps(record))
    (run_dir / "figures" / "stolen.png").symlink_to(secret)
    shutil.copy(secret, run_dir / "figures" / ".half.png")
    run = read_run(run_dir)
    shown = f"{others(run) or ''}{reconstructions({'run': run}) or ''}"
    assert 'width="7"' not in shown
    assert "Stolen" not in shown
