"""The documentation says what there is: every kind, command, field and decision."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from PIL import Image

from sslkit.cli.main import COMMANDS
from sslkit.registry.manager import registry
from sslkit.specs import checkpoints, compilation, logging, nets, optimizer, readout, schedule, views
from sslkit.specs.families import FAMILIES
from sslkit.specs.run import RunSpec
from tests.conftest import ROOT
from tests.docs.pages import blocks, hooks

DOCS = ROOT / "docs"
END = "-- end of a command --"
CORE = (checkpoints, compilation, logging, nets, optimizer, readout, schedule, views)
BUILT_IN = [kind for p in registry().plugins if p.name.startswith("sslkit:") for kind in p.kinds]


@pytest.fixture(scope="module")
def made() -> ModuleType:
    return hooks()


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def interface_page(made: ModuleType) -> Callable[[str], str]:
    """The page of a family, expanded once for all of its kinds."""
    return lru_cache(lambda family: made.expand(text(f"interfaces/{family}.md"), f"interfaces/{family}.md"))


@pytest.mark.parametrize(("family", "kind"), BUILT_IN, ids=lambda part: part)
def test_every_built_in_kind_has_a_section_with_its_fields(
    family: str, kind: str, interface_page: Callable[[str], str]
) -> None:
    section = interface_page(family).split(f"### `{kind}` {{ #{kind} }}\n")[1].split("\n##")[0]
    for name in registry().kinds(family)[kind].model_fields:
        assert name == "kind" or f"| `{name}` |" in section


METHODS = [
    kind for family, kind in BUILT_IN if family == "objective" and (DOCS / f"methods/{kind}.md").is_file()
]


@pytest.mark.parametrize("kind", METHODS)
def test_the_page_of_a_method_has_its_fields_and_no_others(kind: str, made: ModuleType) -> None:
    page = made.expand(text(f"methods/{kind}.md"), f"methods/{kind}.md")
    tables = page.split("| Field | Type | Default | Meaning |")
    assert len(tables) == 2
    for name in registry().kinds("objective")[kind].model_fields:
        assert name == "kind" or f"| `{name}` |" in tables[1]


def test_whole_families_are_shown_on_the_pages_of_interfaces_alone() -> None:
    pages = [path for path in DOCS.rglob("*.md") if "<!-- kinds:" in path.read_text(encoding="utf-8")]
    assert {path.parent.name for path in pages} == {"interfaces"}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_page_with_its_classes_and_an_example(family: str) -> None:
    page = text(f"interfaces/{family}.md")
    assert f"::: sslkit.plugin.{FAMILIES[family].__name__}\n" in page
    assert f"::: sslkit.interfaces.{family.capitalize()}\n" in page
    assert f"<!-- kinds: {family} -->" in page
    assert "```python" in page


@pytest.mark.parametrize("page", ["plugins", *(f"interfaces/{family}" for family in FAMILIES)])
def test_pages_for_plugin_authors_use_the_two_doors_alone(page: str) -> None:
    code = [block for block in blocks(DOCS / f"{page}.md", "python") if block.title != "hook"]
    modules = set(
        re.findall(r"^\s*(?:from|import) (sslkit[.\w]*)", "".join(b.text for b in code), re.MULTILINE)
    )
    own = {name for name in modules if name.startswith("sslkit_stripes")}
    assert modules - own - {"sslkit", "sslkit.testing"} == {"sslkit.plugin", "sslkit.interfaces"}


def test_the_run_and_its_parts_have_tables(made: ModuleType) -> None:
    page = made.expand(text("specs.md"), "specs.md")
    for name in RunSpec.model_fields:
        assert f"| `{name}` |" in page
    for name in made.CORE:
        heading = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert "| Field | Type | Default | Meaning |" in heading


def test_core_specs_are_all_that_the_run_refers_to(made: ModuleType) -> None:
    definitions = made.core_schema("RunSpec")["$defs"]
    plain = {name for name, schema in definitions.items() if "kind" not in schema["properties"]}
    core = {name for name in plain if any(hasattr(module, name) for module in CORE)}
    assert core == set(made.CORE), "those of plugins are shown with the kinds that have them"


def test_fields_have_types_bounds_defaults_and_links(made: ModuleType) -> None:
    def row(directive: str, name: str, uri: str = "specs.md") -> list[str]:
        lines = made.expand(f"<!-- {directive} -->", uri).splitlines()
        return next(line for line in lines if line.startswith(f"| `{name}` |")).strip("| ").split(" | ")

    assert row("fields: RunSpec", "data")[1:3] == ["[source](interfaces/source.md)", "required"]
    assert row("fields: RunSpec", "checkpoint")[3] == "When to save, and what to keep."
    assert row("fields: RunSpec", "optimizer")[1:3] == ["[OptimizerSpec](#optimizerspec)", "its own"]
    assert row("fields: NetSpec", "momentum")[1:3] == ["number or [Ramp](#ramp)", "`0.996`"]
    assert (
        row("fields: OptimizerSpec", "betas")[1]
        == "list of 2: number or [Ramp](#ramp) and number or [Ramp](#ramp)"
    )
    assert row("kinds: masker", "ratio", "interfaces/masker.md")[1:3] == ["number > 0, < 1", "`0.75`"]
    masker = row("fields: objective/mae", "masker", "interfaces/objective.md")
    assert masker[1:3] == ["[masker](masker.md)", "`{kind: random}`"]
    assert row("kinds: objective", "decoder.depth", "methods/mae.md")[2] == "`8`"
    assert row("kinds: objective", "regularize.weight", "methods/mae.md")[1:3] == ["number > 0", "`0.01`"]
    assert row("fields: objective/byol", "projector.hidden", "methods/byol.md")[2] == "`4096`", "the owner's"
    assert row("fields: objective/byol", "predictor.bias", "methods/byol.md")[2] == "`true`"
    assert row("fields: objective/byol", "predictor", "methods/byol.md")[2] == "its own"


def test_kinds_have_tables_of_their_own(made: ModuleType) -> None:
    page = made.expand("<!-- fields: masker/unit -->", "maskers/structured.md")
    assert "| `unit` | whole number ≥ 1 | `32` |" in page
    assert "| `maskers` | list of [masker](../interfaces/masker.md) | required |" in made.expand(
        "<!-- fields: masker/mixture -->", "maskers/mixture.md"
    )


@pytest.mark.parametrize("kind", [kind for family, kind in BUILT_IN if family == "masker"])
def test_every_masker_has_a_table_a_picture_and_a_spec_on_a_page(kind: str) -> None:
    pages = [path.read_text(encoding="utf-8") for path in (DOCS / "maskers").glob("*.md")]
    page = next(page for page in pages if f"<!-- fields: masker/{kind} -->" in page)
    assert re.search(rf"^<!-- masks: {{kind: {kind}[,}}]", page, re.MULTILINE)
    assert re.search(rf"^```yaml$(?:\n.*?)*?kind: {kind}\b", page, re.MULTILINE)


def test_pictures_show_masks(made: ModuleType) -> None:
    text = "{kind: grid, cell: 7, jitter: false}"
    pixels = np.asarray(Image.open(io.BytesIO(made.picture(text))).convert("L")) < 128
    assert pixels.shape == (126, 960)
    dark = pixels[:, :120][pixels[:, :120].any(1)].mean()
    assert 0.4 < dark < 1, "192 of 196 patches are hidden"
    assert made.picture(text) == made.picture(text)
    assert made.picture(text) != made.picture("{kind: grid, cell: 2}")
    with pytest.raises(ValueError, match="unknown"):
        made.picture("{kind: unknown}")


def test_maskers_that_look_are_shown_with_what_they_see(made: ModuleType) -> None:
    kinds = ("attention, ratio: 0.5", "attention, ratio: 0.5, variant: low", "difficulty, share: 1")
    shown = [Image.open(io.BytesIO(made.picture(f"{{kind: {kind}}}"))).convert("RGB") for kind in kinds]
    pixels = [np.asarray(image) for image in shown]
    assert {image.shape for image in pixels} == {(246, 960, 3)}
    photos = [image[:115] for image in pixels]
    assert len(np.unique(photos[0].reshape(-1, 3), axis=0)) > 1000, "colors"
    assert all(np.array_equal(photo, photos[0]) for photo in photos)
    hidden = [image[130:, :, 1] < 128 for image in pixels]
    inside = slice(10, 90), slice(25, 110)  # of the first mask, without its frame
    assert (hidden[0][inside] != hidden[1][inside]).mean() > 0.9, "high and low share no patch"
    assert 0.5 < hidden[2][inside].mean() < 0.9


def test_pages_show_the_pictures_beside_them(made: ModuleType) -> None:
    source = "Masks:\n\n<!-- masks: {kind: random, ratio: 0.5} -->\n"
    shown = "Masks:\n\n![masks of {kind: random, ratio: 0.5}](kind-random-ratio-0.5.png)\n"
    assert made.expand(source, "maskers/page.md") == shown


def test_the_sheet_of_inputs_is_drawn_from_its_directive(made: ModuleType) -> None:
    (fields,) = re.findall(r"^<!-- inputs: (.+) -->$", text("data.md"), re.MULTILINE)
    with Image.open(io.BytesIO(made.PICTURES["inputs"](fields))) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[0] > 2 * 96, "two rows"
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1000, "colors"
    assert f"![inputs with {fields}]({made.picture_name(fields)})" in made.expand(text("data.md"), "data.md")


@pytest.mark.parametrize("action", ["stats", "show", "check"])
def test_commands_of_a_command_have_a_section_with_their_help(action: str, made: ModuleType) -> None:
    section = made.expand(text("data.md"), "data.md").split(f"\n## {action}\n")[1].split("\n## ")[0]
    assert f"usage: sslkit data {action}" in section


def test_commands_are_documented_with_their_help(made: ModuleType) -> None:
    page = made.expand(text("cli.md"), "cli.md")
    for command in COMMANDS:
        section = page.split(f"\n## {command}\n")[1].split("\n## ")[0]
        assert f"usage: sslkit {command}" in section
        assert COMMANDS[command].split(":")[0] in " ".join(section.split())


def test_decisions_are_numbered_listed_and_complete() -> None:
    pages = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    assert [path.name[:4] for path in pages] == [f"{i:04d}" for i in range(1, len(pages) + 1)]
    for path in pages:
        page = path.read_text(encoding="utf-8")
        assert page.startswith(f"# {path.name[:4]} ")
        assert re.findall(r"^## (.+)$", page, re.MULTILINE) == ["Context", "Decision", "Consequences"]
        assert f"({path.name})" in text("decisions/index.md")


def test_the_example_package_works_when_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files, its metadata as pip would write them, and a run from its spec."""
    source = text("plugins.md")
    files = re.findall(r'^```\w+ title="([\w./]+\.\w+)"\n(.*?)^```$', source, re.MULTILINE | re.DOTALL)
    for name, content in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    entry = re.search(r'\[project.entry-points.sslkit\]\n(\w+) = "([\w.]+)"', source)
    assert entry is not None
    metadata = tmp_path / "src" / "sslkit_stripes-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: sslkit-stripes\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text(f"[sslkit]\n{entry[1]} = {entry[2]}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "src"))
    small = ["epochs=null", "steps=2", "batch_size=8", "backbone.depth=1", "backbone.width=16", "device=cpu"]
    listed, shown, ran, checked = sslkit(
        tmp_path,
        ["plugins", "list"],
        ["plugins", "show", "masker/stripes"],
        ["run", "stripes.yaml", *small, "log.flops=false"],
        ["plugins", "check", "sslkit-stripes"],
    )
    assert "sslkit-stripes" in listed
    assert "offers" not in listed
    assert "Share of the rows to hide" in shown
    assert "stripes: 2 steps" in ran
    lock = yaml.safe_load((tmp_path / "runs" / "stripes" / "spec.lock.yaml").read_text(encoding="utf-8"))
    assert lock["plugins"]["sslkit-stripes:stripes"] == "0.1.0"
    assert lock["resolved"]["passes"][0]["visible"] == 8
    assert "none failed" in checked


def sslkit(folder: Path, *commands: list[str]) -> list[str]:
    """What each of `commands` prints, one after another in one new process, as each imports torch."""
    code = "import sys\nfrom sslkit.cli.main import main\n" + "".join(
        f"assert main({words}) == 0\nprint({END!r}, flush=True)\n" for words in commands
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split(END + "\n")[:-1]
