"""`sslkit schema`."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import pytest

from sslkit.cli.main import OK, USER_ERROR, main
from sslkit.specs.schema import component_schema, json_schema


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], json_schema),
        (["masker"], partial(component_schema, "masker")),
        (["masker", "random"], partial(component_schema, "masker", "random")),
    ],
)
def test_it_prints_the_schema_as_json(
    words: list[str], expected: Callable[[], object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schema", *words]) == OK
    assert json.loads(capsys.readouterr().out) == expected()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["maskr"], "error: 'maskr' is not a family. Did you mean 'masker'? Known: augment, "),
        (["masker", "rnadom"], "error: 'rnadom' is not a kind of masker. Did you mean 'random'?"),
    ],
)
def test_unknown_names(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", *words]) == USER_ERROR
    assert capsys.readouterr().err.startswith(message)
