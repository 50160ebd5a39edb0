"""Kinds that a plugin lists by name: their classes are imported when somebody asks for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import invalidate_caches
from pathlib import Path
from typing import NamedTuple

import pytest

import sslkit
from sslkit.cli.main import OK, USER_ERROR
from sslkit.errors import PluginError
from sslkit.registry.discovery import discover
from sslkit.registry.manager import Registry, registry
from sslkit.specs.families import FAMILIES
from sslkit.specs.load import load
from sslkit.specs.walk import walk
from sslkit.testing import check_plugin
from sslkit.testing.promises import spec_promises
from tests.registry.plugins_anew import Command
from tests.registry.test_manager import install, masker

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples" / "digits_mae.yaml"


class Site(NamedTuple):
    """A folder on `sys.path` for the distribution of a plugin that lists its kinds."""

    folder: Path

    def add(self, table: object, specs: str) -> None:
        """Install `sslkit-listed`, whose `KINDS` is `table`, and the module `specs_module` with `specs`."""
        plugin = f"KINDS = {table!r}\nfrom sslkit import hookimpl\n@hookimpl\ndef sslkit_specs():\n"
        install(
            self.folder, "sslkit-listed", f"{plugin}    import specs_module\n    return [specs_module.Made]\n"
        )
        (self.folder / "specs_module.py").write_text(specs, encoding="utf-8")
        invalidate_caches()


@pytest.fixture
def site(site: Path) -> Site:
    """This process's plugins are loaded anew before and after."""
    return Site(site)


SHAPES = {"masker": {"shapes": "specs_module:Made"}}


def error_of(table: object, site: Site, specs: str = masker("shapes")) -> str:
    """What the registry says of the plugin once its classes are imported."""
    site.add(table, specs)
    (plugin,) = (p for p in Registry().load(discover()).settled() if p.name == "sslkit-listed:main")
    return str(plugin.error)


def test_a_class_is_imported_when_its_kind_is_asked_for(site: Site) -> None:
    site.add(SHAPES, masker("shapes"))
    full = registry()
    assert "shapes" in full.kinds("masker")
    assert "Made" in dir(sslkit)
    assert not full.failures
    assert "specs_module" not in sys.modules
    assert sslkit.Made is full.kinds("masker")["shapes"]
    assert "specs_module" in sys.modules
    owner = full.owner(sslkit.Made())
    assert owner is not None
    assert owner.name == "sslkit-listed:main"


@pytest.mark.filterwarnings("ignore::sslkit.errors.PluginConflictWarning")
def test_listed_kinds_clash_unimported(site: Site) -> None:
    site.add({"masker": {"random": "specs_module:Made"}}, "1 / 0")
    clash = registry().clashes("masker")["random"]
    assert "both sslkit:maskers and sslkit-listed:main" in clash
    assert "specs_module" not in sys.modules


@pytest.mark.parametrize(
    "table",
    [
        3,
        ["specs_module:Made"],
        {"maskr": {}},
        {"masker": {"shapes": "specs_module.Made"}},
        {"masker": {1: "a:B"}},
    ],
)
def test_a_table_of_another_form_is_the_plugin_s_error(site: Site, table: object) -> None:
    error = error_of(table, site)
    assert error.startswith(
        'PluginError: KINDS must be of the form {"masker": {"kind": "package.module:Class"}}'
    )


@pytest.mark.parametrize(
    ("specs", "error"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("", "AttributeError: module 'specs_module' has no attribute 'Made'"),
        ("Made = int", "PluginError: sslkit_specs() returned <class 'int'>, which is not a Spec class"),
        (masker("other"), "PluginError: specs_module:Made is masker/other"),
        (masker("shapes").replace("def build", "size: 'Nowhere' = 1\n    def build"), "PydanticUndefinedAnnotation: "),
        ("class Panic(BaseException): pass\nraise Panic('in an extension')", "Panic: in an extension"),
    ],
)  # fmt: skip
def test_a_class_that_cannot_be_had_is_an_error_of_who_asks_for_it(
    site: Site, specs: str, error: str
) -> None:
    text = error_of(SHAPES, site, specs)
    start = f"masker/shapes of sslkit-listed:main cannot be loaded: {error}"
    assert text.startswith(start)
    assert text.endswith("mend the plugin, or set SSLKIT_BLOCK=sslkit-listed:main")
    with pytest.raises(PluginError) as caught:
        registry().kinds("masker")["shapes"]
    assert str(caught.value).startswith(start)
    assert registry().kinds("masker")["random"] is sslkit.RandomMasker, "nobody else is harmed"


def test_commands_name_the_plugin_whose_class_cannot_be_had(site: Site, command: Command) -> None:
    site.add(SHAPES, "1 / 0")
    unharmed = command("validate", str(DIGITS))
    assert (unharmed.code, unharmed.err) == (OK, "")
    asked = command("validate", str(DIGITS), "objective.masker.kind=shapes")
    assert asked.code == USER_ERROR
    assert asked.err.startswith(
        "error: masker/shapes of sslkit-listed:main cannot be loaded: ZeroDivisionError"
    )
    listed = command("plugins", "list")
    assert listed.code == OK
    assert "failed: masker/shapes of sslkit-listed:main cannot be loaded" in listed.out
    report = check_plugin("sslkit-listed")
    assert [check.name for check in report.failures] == ["loads"]


@pytest.mark.parametrize(
    "point", [p for p in discover() if p.dist and p.dist.name.startswith("sslkit")], ids=str
)
def test_a_plugin_of_ours_lists_what_it_returns(point: object) -> None:
    module = point.load()  # type: ignore[attr-defined]
    listed = [pair for family, kinds in module.KINDS.items() for pair in ((family, kind) for kind in kinds)]
    assert listed == [(cls.family, cls.kind_name()) for cls in module.sslkit_specs()]
    spec_promises._lists_its_kinds(module.__name__)


def test_the_kit_compares_the_list_with_what_is_returned(site: Site) -> None:
    site.add({"masker": {"other": "specs_module:Made"}}, masker("shapes"))
    with pytest.raises(PluginError, match=r"KINDS is .*other.*, sslkit_specs\(\) returns .*shapes"):
        spec_promises._lists_its_kinds("sslkit_listed_main_module")


LOOK = """
import json, sys
from sslkit.cli.main import main
code = main(sys.argv[1:])
from sslkit.specs.base import Spec
def below(cls):
    return [cls, *(c for sub in cls.__subclasses__() for c in below(sub))]
kinds = [c for c in below(Spec) if "kind" in c.model_fields]
print(json.dumps({
    "code": code,
    "modules": [*sys.modules],
    "built": sorted(f"{c.family}/{c.kind_name()}" for c in kinds if c.__dict__.get("__pydantic_complete__")),
    "imported": len(kinds),
}), file=sys.stderr)
"""


def test_validate_imports_and_builds_what_the_spec_names_and_no_more() -> None:
    """Counted, as times depend on the machine; `benchmarks/start_up.py` takes them."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK, "validate", str(DIGITS)],
        capture_output=True, text=True, check=True, env=dict(os.environ),
    )  # fmt: skip
    seen = json.loads(done.stderr)
    assert seen["code"] == OK
    named = {spec for _, spec in walk(load(DIGITS)) if "kind" in type(spec).model_fields}
    assert seen["built"] == sorted({f"{spec.family}/{spec.kind_name()}" for spec in named})
    every = sum(len(registry().kinds(family)) for family in FAMILIES)
    assert seen["imported"] <= every // 2, (
        "classes that share a module with one of these are imported with it"
    )
    modules = set(seen["modules"])
    assert not {"torch", "numpy", "PIL", "timm", "rich", "asyncio", "concurrent", "multiprocessing"} & modules
    assert not {"email.parser", "sqlite3", "unittest", "http", "xml", "logging"} & modules
    unnamed = {
        "logistic_probes",
        "finetuning",
        "guided",
        "contrastive",
        "joint_embedding",
        "dino",
        "parquet",
        "arrays",
        "colors",
    }
    assert not unnamed & {name.rpartition(".")[2] for name in modules if ".specs." in name}
