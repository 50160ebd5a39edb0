"""Every example of the documentation runs."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import sslkit
from sslkit import catalog
from sslkit.cli.main import COMMANDS
from sslkit.errors import SpecError
from sslkit.registry.manager import registry
from sslkit.specs.evaluation import EvaluationSpec
from sslkit.specs.families import FAMILIES
from sslkit.specs.load import load, override, parse, parse_as, read_yaml
from sslkit.specs.run import RunSpec
from sslkit.specs.schema import component
from sslkit.specs.sweep import SweepSpec, grid, read_axes, read_sweep_spec
from sslkit.train import resolved_values
from sslkit.train.online_evaluation import OnlineEvaluation
from tests.conftest import ROOT
from tests.docs.pages import PAGES, Block, all_blocks, blocks, hooks
from tests.specs.valid import small

PYTHON_PAGES = [page for page in PAGES if any(not b.title for b in blocks(page, "python"))]
SPECS = [block for block in all_blocks("yaml") if not block.title and not block.reason]
TINY = [
    (re.compile(r"\bepochs=\d+"), "steps=2"),
    (re.compile(r"\bdepth=\d+"), "depth=1"),
    (re.compile(r"\bwidth=\d+"), "width=16"),
    (re.compile(r"\bbatch_size=\d+"), "batch_size=8"),
    (re.compile(r"\bMAE\((?![^\n]*(decoder|\.\.\.))"), 'MAE(decoder={"depth": 1, "width": 16, "heads": 2}, '),
]
"""What the tests change in the examples, to be quick."""
WHOLE = {"data", "views", "backbone"}
"""Fields that tell a whole spec from a part of one."""
SWEEP = {"base", "rows", "axes"}
"""Fields that tell a sweep from a spec."""
OF_EVALUATIONS = EvaluationSpec.model_fields.keys() - RunSpec.model_fields.keys()
"""Fields that only an evaluation spec has."""
COMMAND = re.compile(r"^(?:torchrun [\w\s-]*-m )?sslkit ([^#\n&|]+)", re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, with the images that the examples speak of."""
    for place in ("photos/train", "photos/test", "images/train", "images/val", "scans"):
        for kind in ("cats", "dogs"):
            (tmp_path / place / kind).mkdir(parents=True)
            for i in range(3):
                pixels = np.full((40, 48, 3), 20 * i, np.uint8)
                Image.fromarray(pixels).save(tmp_path / place / kind / f"{i}.png")
    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    (tmp_path / "data" / "cifar10" / "train.parquet").touch()
    (tmp_path / "scans.parquet").touch()
    (tmp_path / "tokenizer.safetensors").touch()
    (tmp_path / "weights.safetensors").touch()
    (tmp_path / "scans.csv").write_text(
        "path,diagnosis,patient\ncats/0.png,healthy,p1\ndogs/0.png,tumor,p2\n"
    )
    monkeypatch.chdir(tmp_path)
    # Counting operations and drawing take longer than runs so short.
    monkeypatch.setattr(resolved_values, "flops_of", lambda *_: None)
    monkeypatch.setattr(OnlineEvaluation, "figures", lambda *_: None)
    return tmp_path


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module for the names of one page; pydantic looks classes up by their module. It registers for itself."""
    made = ModuleType("sslkit_docs_example")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    yield made
    if any(plugin.name.startswith("python:") for plugin in registry().plugins):
        registry.cache_clear()


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_of_a_page_run_one_after_another(page: Path, folder: Path, module: ModuleType) -> None:
    ran = 0
    for block in blocks(page, "python"):
        if block.title or block.reason:
            continue
        run(block, folder, module)
        ran += 1
    assert ran or any(block.reason for block in blocks(page, "python"))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_example_of_an_interface_is_a_kind_where_it_is_written(
    family: str, folder: Path, module: ModuleType
) -> None:
    for block in blocks(ROOT / "docs" / "interfaces" / f"{family}.md", "python"):
        if "sslkit.register" not in block.text:
            run(block, folder, module)
    base = FAMILIES[family]
    (cls,) = (
        c for c in vars(module).values() if isinstance(c, type) and issubclass(c, base) and c is not base
    )
    assert sslkit.register(cls) is cls
    assert catalog.kinds(family)[cls.kind_name()] is cls
    assert getattr(sslkit, cls.__name__) is cls
    assert component(family, cls.kind_name()) is cls


def run(block: Block, folder: Path, module: ModuleType) -> None:
    """Run one block in the module's names; a traceback shows the line of the page."""
    text = block.text
    for pattern, tiny in TINY:
        text = pattern.sub(tiny, text)
    file = folder / f"{block.page.stem}-{block.line}.py"
    file.write_text("\n" * (block.line - 1) + text, encoding="utf-8")
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), vars(module))


@pytest.mark.parametrize("block", SPECS, ids=lambda block: block.name)
def test_yaml_blocks_are_specs_or_parts_of_one(block: Block, folder: Path) -> None:
    data = yaml.safe_load(block.text)
    if data.keys() & SWEEP:
        grid(parse_as(SweepSpec, {**data, "base": read_yaml(ROOT / data["base"])}))
        return
    if block.text.startswith("# evaluation"):
        parse_as(EvaluationSpec, data)
        return
    if data.keys() >= WHOLE:
        assert parse(data)
    else:
        assert parse(
            part(data), began=True
        )  # what a page shows may have its effect in a spec that it does not show


def part(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A whole spec that has `fields`."""
    base = small()
    if "objectives" in fields:
        del base["objective"]
    if "steps" in fields:
        del base["epochs"]
    return {**base, **fields}


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_examples_are_valid(path: Path, folder: Path) -> None:
    if yaml.safe_load(path.read_text(encoding="utf-8")).keys() & SWEEP:
        made = grid(read_sweep_spec(path))
        assert made.name == path.stem.replace("_", "-")
        assert all(cell.spec.evaluate for cell in made.cells)
        return
    spec = load(path)
    assert spec.name == path.stem.replace("_", "-")
    assert spec.evaluate


def test_every_command_line_is_understood() -> None:
    lines = [m[1].split() for b in all_blocks("sh") for m in COMMAND.finditer(b.text)]
    parsers = hooks()
    for command, *words in lines:
        if command == "--help":
            continue
        try:
            parsers.parser(command).parse_intermixed_args(words)
        except TypeError:  # commands with commands of their own take no mixture
            parsers.parser(command).parse_args(words)
    assert {command for command, *_ in lines} >= set(COMMANDS)


def test_overrides_on_the_command_line_are_fields(folder: Path) -> None:
    lines = [shlex.split(m[1]) for b in all_blocks("sh") for m in COMMAND.finditer(b.text)]
    words = [(command, w) for command, *rest in lines for w in rest if re.match(r"[\w.]+=", w)]
    assert words
    for assignment in (a for command, word in words for a in single(command, word)):
        if assignment.partition("=")[0] in OF_EVALUATIONS:
            continue
        base = small(evaluate=[{"kind": "knn"}])
        base.pop("epochs" if assignment.startswith("steps=") else "steps", None)
        if assignment.startswith("data."):
            base["data"] = {"kind": "folder", "root": "."}
            (folder / assignment.partition("=")[2]).mkdir(parents=True, exist_ok=True)
        parse(override(base, [assignment]), began=True)  # the effect depends on the spec


def single(command: str, word: str) -> list[str]:
    """An override as it is; an axis of a sweep value by value."""
    if command != "sweep":
        return [word]
    return [f"{key}={json.dumps(value)}" for key, values in read_axes([word]).items() for value in values]


def test_a_broken_example_is_found(folder: Path) -> None:
    with pytest.raises(SpecError, match="Did you mean"):
        parse(part({"optimizer": {"lrr": 1}}))
