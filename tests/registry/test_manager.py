"""Discovery through real entry points: distributions are written to a folder on `sys.path`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import invalidate_caches, metadata
from pathlib import Path

import pytest

import sslkit
from sslkit import MAE, RandomMasker, RunSpec, catalog
from sslkit.errors import SpecError
from sslkit.registry import manager
from sslkit.registry.discovery import discover
from sslkit.registry.manager import Plugin, Registry, registry, used_plugins
from sslkit.specs.families import FAMILIES
from sslkit.specs.load import load as load_file
from sslkit.specs.load import parse
from sslkit.specs.schema import component
from sslkit.specs.walk import walk
from tests.registry.plugins_anew import plugins_of
from tests.specs.valid import valid

Install = Callable[..., str]
DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits_mae.yaml"

MASKER = """
from typing import Literal
from sslkit import hookimpl
from sslkit.specs.families import MaskerSpec

class {cls}(MaskerSpec):
    kind: Literal["{kind}"] = "{kind}"

    def build(self, env, view):
        return None

@hookimpl
def sslkit_specs():
    return [{cls}]
"""


FREE = """
from sslkit.specs.base import Spec

class Free(Spec):
    kind: Literal["free"] = "free"
"""
HOOK = "from sslkit import hookimpl\n@hookimpl\ndef sslkit_specs(): "


def masker(kind: str, cls: str = "Made") -> str:
    """Source of a plugin that offers the masker `kind`."""
    return MASKER.format(kind=kind, cls=cls)


def offering(offered: str, more: str = "") -> str:
    """Source of a plugin whose hook returns `offered`."""
    return f"{masker('a')}\n{more}\nsslkit_specs = hookimpl(lambda: {offered})"


def with_field(field: str) -> str:
    """Source of a plugin whose spec class has `field`."""
    head, tail = masker("a").split("\n    def build")
    return f"from __future__ import annotations\nfrom pydantic import Field\n{head}\n    {field}\n    def build{tail}"


def install(folder: Path, name: str, source: str, entry: str = "main", version: str = "1.2") -> str:
    """Write a distribution whose entry point is a module with `source`; return the module's name."""
    module = f"{name.replace('-', '_')}_{entry}_module"
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
    )
    with (info / "entry_points.txt").open("a", encoding="utf-8") as file:
        file.write(f"[sslkit]\n{entry} = {module}\n" if file.tell() == 0 else f"{entry} = {module}\n")
    return module


def forget(folder: Path) -> None:
    """Drop the modules that were imported from `folder`, and no others: a second copy of torch's is another torch."""
    for name, module in [*sys.modules.items()]:
        if str(getattr(module, "__file__", None)).startswith(f"{folder}{os.sep}"):
            del sys.modules[name]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """`install`, into a folder on `sys.path`; what it makes is forgotten after the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda *args, **fields: install(tmp_path, *args, **fields)  # type: ignore[misc]
    forget(tmp_path)


def load(*block: str) -> Registry:
    invalidate_caches()
    return Registry().load(discover(), block)


def plugin(found: Registry, name: str) -> Plugin:
    return next(p for p in found.plugins if p.name == name)


def test_a_third_party_s_kind_stands_beside_the_built_in_ones(made: Install) -> None:
    made("sslkit-shapes", masker("shapes"))
    found = load()
    assert plugin(found, "sslkit-shapes:main") == Plugin("sslkit-shapes:main", "1.2", (("masker", "shapes"),))
    assert {"random", "shapes"} <= set(found.kinds("masker"))
    assert found.find("Made") is found.kinds("masker")["shapes"]
    assert found.owner(found.kinds("masker")["shapes"]()) == plugin(found, "sslkit-shapes:main")
    assert found.failures == ""


def test_the_built_ins_come_first_and_all_load() -> None:
    owners = [p.name.partition(":")[0] for p in registry().plugins]
    built_in = [p for p in registry().plugins if p.name.startswith("sslkit:")]
    assert owners[: len(built_in)] == ["sslkit"] * len(built_in)
    assert [p.name for p in built_in if p.error or p.blocked] == []
    assert [family for family in FAMILIES if family != "logger" and not catalog.kinds(family)] == []


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def broken(:", "SyntaxError: "),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def sslkit_specs():\n    return []", "PluginError: implements no hook; decorate its functions"),
        ("", "PluginError: implements no hook; decorate its functions with `@sslkit.hookimpl`"),
        (HOOK.replace("()", "(x)") + "return []", "PluginValidationError: "),
        (HOOK + "return None",
         "PluginError: sslkit_specs() must return a list of spec classes, found None"),
        (HOOK + "return 'ab'",
         "PluginError: sslkit_specs() must return a list of spec classes, found 'ab'"),
        (HOOK + "return [int]",
         "PluginError: sslkit_specs() returned <class 'int'>, which is not a Spec class"),
        (HOOK + "raise ValueError('no')", "ValueError: no"),
        ("class Panic(BaseException): pass\nraise Panic('in an extension')", "Panic: in an extension"),
        ("class Odd(Exception):\n    def __str__(self): return 1\nraise Odd()", "Odd: (its message cannot"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth"),
        ("raise ValueError('x' * 9999)", "ValueError: " + "x" * 300 + " ..."),
        (masker("a").replace("sslkit_specs", "sslkit_spec"), "PluginValidationError: unknown hook"),
        (masker("a").replace('Literal["a"]', 'Literal["b"]'),
         "PluginError: Made.kind: the default 'a' is not what its Literal allows"),
        (with_field("x: Nowhere = 1"), "PydanticUndefinedAnnotation: name 'Nowhere' is not defined"),
        (with_field("x: type(lambda: 1) = None"), "PydanticSchemaGenerationError: Unable to generate"),
        (with_field("x: str = Field('a', pattern='(')"), "SchemaError: Error building"),
        (offering("Made"), "PluginError: sslkit_specs() must return a list"),
        (offering("[Made()]"), "PluginError: sslkit_specs() returned Made("),
        (offering("[Made, Made]"),
         "PluginError: sslkit_specs() returned two classes of the same family and kind"),
        (offering("[MaskerSpec]"),
         'PluginError: MaskerSpec has no kind; write  kind: Literal["name"] = "name"'),
        (offering("[Free]", FREE), "PluginError: Free derives from no family; choose one of backbone,"),
        (offering("[Free]", FREE + "    family = 'masker'\n"), "PluginError: Free derives from no family"),
        (masker("a").replace("def build", "def bild"), "PluginError: Made does not implement build"),
    ],
)  # fmt: skip
def test_a_broken_plugin_is_recorded_and_harms_nobody(made: Install, source: str, error: str) -> None:
    made("sslkit-broken", source)
    made("sslkit-shapes", masker("shapes"))
    found = load()
    assert str(plugin(found, "sslkit-broken:main").error).startswith(error)
    assert plugin(found, "sslkit-broken:main").kinds == ()
    assert set(found.kinds("masker")) == {*catalog.kinds("masker"), "shapes"}
    assert found.failures.startswith(f"Plugins that failed to load: sslkit-broken:main ({error}")


def test_an_interrupt_is_of_the_person_at_the_keyboard(made: Install) -> None:
    made("sslkit-slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load()


@pytest.mark.parametrize("text", [None, "Version: 3\n", "Metadata-Version: 2.1\n"])
def test_a_distribution_whose_metadata_lack_its_name_goes_by_its_folder(
    made: Install, tmp_path: Path, text: str | None
) -> None:
    made("sslkit-shapes", masker("shapes"))
    file = tmp_path / "sslkit_shapes-1.2.dist-info" / "METADATA"
    file.unlink() if text is None else file.write_text(text)
    version = "3" if text and "3" in text else "0"
    assert plugin(load(), "sslkit_shapes:main") == Plugin(
        "sslkit_shapes:main", version, (("masker", "shapes"),)
    )
    assert plugin(load("sslkit-shapes"), "sslkit_shapes:main").blocked


def test_an_entry_point_that_names_no_module(made: Install, tmp_path: Path) -> None:
    made("sslkit-shapes", masker("shapes"))
    (tmp_path / "sslkit_shapes-1.2.dist-info" / "entry_points.txt").write_text("[sslkit]\nmain = no module\n")
    error = plugin(load(), "sslkit-shapes:main").error
    assert error == "PluginError: its entry point 'no module' names no module; write package.module"


def test_of_two_versions_on_the_path_the_first_counts(
    made: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made("sslkit-shapes", masker("shapes"))
    other = tmp_path / "other"
    other.mkdir()
    install(other, "sslkit-shapes", masker("other"), version="2.0")
    monkeypatch.setattr(sys, "path", [*sys.path, str(other)])
    shapes = [found for found in load().plugins if found.name == "sslkit-shapes:main"]
    assert [(found.version, found.kinds) for found in shapes] == [("1.2", (("masker", "shapes"),))]


def test_the_time_of_an_import_is_known(made: Install) -> None:
    made("sslkit-slow", "import time\ntime.sleep(0.05)\n" + masker("slow"))
    assert plugin(load(), "sslkit-slow:main").seconds >= 0.05


def test_the_same_kind_in_two_families_is_no_conflict(made: Install) -> None:
    made("sslkit-random-augment", masker("random").replace("MaskerSpec", "AugmentSpec"))
    assert load().kinds("augment")["random"].__name__ == "Made"


@pytest.mark.parametrize(
    "block", ["sslkit-shapes", "sslkit-shapes:main", "SSLKIT_Shapes", " sslkit.shapes:main "]
)
def test_blocked_plugins_are_not_even_imported(made: Install, block: str) -> None:
    module = made("sslkit-shapes", masker("shapes"))
    found = load(block, "")
    assert plugin(found, "sslkit-shapes:main") == Plugin(
        "sslkit-shapes:main", "1.2", blocked="blocked by SSLKIT_BLOCK"
    )
    assert module not in sys.modules
    assert "shapes" not in found.kinds("masker")


def test_blocking_one_entry_point_leaves_the_others_of_the_distribution(made: Install) -> None:
    made("sslkit-pair", masker("left", "Left"), entry="left")
    made("sslkit-pair", masker("right", "Right"), entry="right")
    found = load("sslkit-pair:left")
    assert plugin(found, "sslkit-pair:left").blocked
    assert plugin(found, "sslkit-pair:right").kinds == (("masker", "right"),)


def test_two_distributions_may_call_their_entry_points_alike(made: Install) -> None:
    made("sslkit-one", masker("one", "One"), entry="masks")
    made("sslkit-two", masker("two", "Two"), entry="masks")
    assert {"one", "two"} <= set(load().kinds("masker"))


def test_one_module_under_two_entry_points_is_loaded_once_and_the_second_is_recorded(made: Install) -> None:
    module = made("sslkit-one", masker("one"))
    made("sslkit-two", f"import sys, {module}\nsys.modules[__name__] = {module}")
    found = load()
    assert plugin(found, "sslkit-one:main").kinds == (("masker", "one"),)
    assert "already registered" in str(plugin(found, "sslkit-two:main").error)


def test_finding_by_class_name() -> None:
    assert registry().find("RandomMasker") is RandomMasker
    assert registry().find("Nothing") is None


def test_used_plugins_names_who_offers_what_a_run_uses() -> None:
    used = used_plugins(spec for _, spec in walk(parse(valid())))
    version = metadata.version("sslkit")
    names = (
        "augments",
        "backbones",
        "balancers",
        "evaluators",
        "maskers",
        "objectives",
        "sources",
        "targets",
    )
    assert used == {f"sslkit:{name}": version for name in names}
    assert used_plugins([MAE()]) == {"sslkit:objectives": version}
    assert registry().owner(RunSpec.model_fields["optimizer"].default) is None, (
        "specs of the core have no plugin"
    )


@pytest.mark.parametrize("only", ["sslkit-pair", "sslkit_pair:LEFT, sslkit-pair:right,"])
def test_only_the_plugins_of_an_allow_list_are_imported(made: Install, only: str) -> None:
    shapes = made("sslkit-shapes", masker("shapes"))
    made("sslkit-pair", masker("left", "Left"), entry="left")
    made("sslkit-pair", masker("right", "Right"), entry="right")
    loaded = Registry().load(discover(), only=only.split(","))
    assert [*loaded.kinds("masker")] == ["left", "right"]
    assert plugin(loaded, "sslkit-shapes:main").blocked == "not in SSLKIT_ONLY"
    assert plugin(loaded, "sslkit:maskers").blocked, "the built-in ones are no exception"
    assert shapes not in sys.modules


def test_a_plugin_that_is_allowed_and_blocked_is_blocked(made: Install) -> None:
    made("sslkit-pair", masker("left", "Left"), entry="left")
    made("sslkit-pair", masker("right", "Right"), entry="right")
    loaded = Registry().load(discover(), ["sslkit-pair:left"], ["sslkit-pair"])
    assert plugin(loaded, "sslkit-pair:left").blocked == "blocked by SSLKIT_BLOCK"
    assert [*loaded.kinds("masker")] == ["right"]


def test_the_process_reads_its_allow_list_from_the_environment(made: Install) -> None:
    made("sslkit-shapes", masker("shapes"))
    made("sslkit-broken", "1 / 0")
    with plugins_of(SSLKIT_ONLY="sslkit:targets,sslkit-shapes"):
        in_use = {p.name for p in registry().plugins if not p.blocked}
        assert in_use == {"sslkit:targets", "sslkit-shapes:main"}
        assert [*registry().kinds("masker")] == ["shapes"]
        assert not registry().failures


def test_the_process_reads_its_block_list_from_the_environment(made: Install) -> None:
    made("sslkit-shapes", masker("shapes"))
    made("sslkit-broken", "1 / 0")
    with plugins_of(SSLKIT_BLOCK="sslkit:maskers, sslkit-shapes,"):
        blocked = [p.name for p in registry().plugins if p.blocked]
        assert blocked == ["sslkit:maskers", "sslkit-shapes:main"]
        assert not {"random", "block", "shapes"} & set(registry().kinds("masker"))
        assert "ZeroDivisionError" in registry().failures
        assert "MAE" in dir(sslkit)
        assert "RandomMasker" not in dir(sslkit)


def test_a_spec_takes_the_kinds_of_plugins_that_are_loaded_anew(made: Install) -> None:
    """A notebook reads a spec, installs a plugin, and loads the plugins again."""

    def read() -> RunSpec:
        return load_file(DIGITS, ["objective.masker={kind: shapes}"])

    with plugins_of(), pytest.raises(SpecError, match=r"^objective\.masker\.kind: 'shapes' is not a masker"):
        read()
    made("sslkit-shapes", masker("shapes"))
    with plugins_of():
        assert [type(spec) for _, spec in walk(read()) if isinstance(spec, sslkit.Made)] == [sslkit.Made]
    with plugins_of(SSLKIT_BLOCK="sslkit-shapes"), pytest.raises(SpecError, match="'shapes' is not a masker"):
        read()


def test_a_kind_that_is_not_there_says_which_plugins_are_not_in_use(made: Install) -> None:
    made("sslkit-broken", "1 / 0")
    block = "sslkit:maskers,sslkit-video,sslkit-audio"
    with plugins_of(SSLKIT_BLOCK=block), pytest.raises(SpecError) as caught:
        load_file(DIGITS, notes=registry().absences)
    lines = str(caught.value).splitlines()
    assert lines[0] == "objective.masker: no plugin offers any kind of masker"
    assert lines[1].startswith("Plugins that failed to load: sslkit-broken:main (ZeroDivisionError")
    left_out = [
        f"{name} (blocked by SSLKIT_BLOCK)"
        for name in ("sslkit:maskers", "sslkit-audio:audio", "sslkit-video:video")
    ]
    assert lines[2:] == [f"Plugins left out: {', '.join(left_out)}"]


SCIENCE = "sslkit-science"


@pytest.mark.parametrize(
    ("source", "variables", "why"),
    [
        (None, {}, "; install it: pip install sslkit-science"),
        (masker("shapes"), {"SSLKIT_BLOCK": SCIENCE}, ", which is blocked by SSLKIT_BLOCK"),
        (masker("shapes"), {"SSLKIT_ONLY": "sslkit"}, ", which is not in SSLKIT_ONLY"),
        ("1 / 0", {}, ", which failed to load"),
        (masker("shapes"), {}, ", but not of its version 1.2; pip install --upgrade sslkit-science"),
    ],
    ids=["absent", "blocked", "not allowed", "broken", "old"],
)
def test_a_kind_of_a_distribution_of_ours_says_what_it_takes(
    made: Install, monkeypatch: pytest.MonkeyPatch, source: str | None, variables: dict[str, str], why: str
) -> None:
    others = [point for point in discover() if point.dist is None or point.dist.name != SCIENCE]
    if source is not None:
        module = made(SCIENCE, source)
        others += [point for point in discover() if point.value == module]
    monkeypatch.setattr(manager, "discover", lambda: others)
    with plugins_of(**variables), pytest.raises(SpecError) as caught:
        component("source", "tiff")
    assert str(caught.value) == f"'tiff' is a source of sslkit-science{why}"
