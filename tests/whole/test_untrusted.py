"""Specs and run folders of strangers are data: no command calls, or imports, what they name."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import yaml

from sslkit.cli.main import USER_ERROR, main

KEPT = Path(__file__).resolve().parent.parent / "goldens" / "runs" / "tokens"
CODE = "tests.whole.marks"
"""A module that no test imports."""


def named(fields, mark):
    """`fields` of a run, its target naming a function that leaves a file at `mark`."""
    target = {"kind": "vq_token", "module": f"{CODE}:leave", "arguments": {"path": str(mark)}, "codes": 4}
    beit = {**fields["objectives"]["beit"], "target": target}
    return {**fields, "device": "cpu", "objectives": {**fields["objectives"], "beit": beit}}


@pytest.fixture
def folder(tmp_path):
    """A run of an earlier version whose spec and lock name the function."""
    run = Path(shutil.copytree(KEPT, tmp_path / "run"))
    for path in (run / "spec.yaml", run / "spec.lock.yaml"):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "spec" in content:
            content["spec"] = named(content["spec"], tmp_path / "mark")
        else:
            content = named(content, tmp_path / "mark")
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return run


@pytest.mark.parametrize(
    "words",
    [
        ("validate", "{run}/spec.yaml"),
        ("explain", "{run}/spec.yaml"),
        ("run", "{run}/spec.yaml", "--out", "{run}/again"),
        ("resume", "{run}"),
        ("evaluate", "{run}", "evaluate=[{kind: knn, k: 5}]"),
        ("export", "{run}", "--out", "{run}/net.safetensors"),
        ("export", "{run}", "--part", "tokenizer", "--out", "{run}/tokenizer.safetensors"),
        ("report", "{run}", "--out", "{run}/report.html", "--fast"),
    ],
    ids=lambda words: words[0],
)
def test_a_function_that_a_spec_names_is_not_called(words, folder, tmp_path, capsys):
    code = main([word.replace("{run}", str(folder)) for word in words])
    assert not (tmp_path / "mark").exists()
    assert CODE not in sys.modules
    if words[0] != "report":  # it shows what there is
        assert code == USER_ERROR
        assert "names code, and a spec is data" in capsys.readouterr().err
