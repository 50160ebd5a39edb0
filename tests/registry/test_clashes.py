"""Several plugins that offer the same: what can be used, what is refused, and how one chooses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import invalidate_caches
from pathlib import Path

import pytest
import yaml

import sslkit
from sslkit.cli import plugins
from sslkit.errors import PluginConflictError, PluginConflictWarning, SpecError
from sslkit.registry.discovery import discover
from sslkit.registry.manager import Clash, Registry, registry
from sslkit.specs.load import parse
from sslkit.specs.views import ViewSpec
from sslkit.testing import check_plugin
from tests.registry.plugins_anew import plugins_of
from tests.registry.test_manager import install, masker
from tests.specs.valid import valid

CHOICE = "Block one of them: SSLKIT_BLOCK=sslkit-two:main or SSLKIT_BLOCK=sslkit-one:main"
BOTH = f"masker kind 'shapes' is offered by both sslkit-one:main and sslkit-two:main. {CHOICE}"


@pytest.fixture
def two(site):
    """Two distributions that offer `masker/shapes`, the first one `masker/one` too."""
    other = masker("one", "One").replace("return [One]", "return [One, Made]")
    other = other.replace(
        "@hookimpl", masker("shapes").split("MaskerSpec\n")[1].split("@hookimpl")[0] + "@hookimpl"
    )
    install(site, "sslkit-one", other)
    install(site, "sslkit-two", masker("shapes", "Other"))
    return site


def load(*block: str) -> Registry:
    invalidate_caches()
    return Registry().load(discover(), block)


def test_a_kind_of_two_plugins_is_set_apart_and_all_others_work(two):
    full = load()
    assert "shapes" not in full.kinds("masker")
    assert {"one", "random"} <= set(full.kinds("masker"))
    assert full.clashes("masker") == {"shapes": BOTH}
    assert full.clashes("target") == {}
    assert full.conflicts == [BOTH.replace("masker kind 'shapes'", "masker/shapes")]
    clash = Clash("masker", "shapes", ("sslkit-one:main", "sslkit-two:main"))
    one, other = [plugin for plugin in full.plugins if plugin.name.startswith(("sslkit-one:", "sslkit-two:"))]
    assert (one.kinds, one.clashes) == ((("masker", "one"),), (clash,))
    assert (other.kinds, other.clashes) == ((), (clash,))


def test_one_is_chosen_by_blocking_the_other(two):
    assert load("sslkit-two:main").kinds("masker")["shapes"].__name__ == "Made"
    assert load("sslkit-one").kinds("masker")["shapes"].__name__ == "Other"
    assert load("sslkit-one").clashes("masker") == {}


def test_plugins_that_clash_in_many_kinds_or_in_threes_make_one_line(site):
    for name in ("sslkit-a", "sslkit-b", "sslkit-c"):
        second = masker("right", "Right").split("MaskerSpec\n")[1].split("@hookimpl")[0]
        both = masker("left", "Left").replace("@hookimpl", f"{second}@hookimpl")
        install(site, name, both.replace("return [Left]", "return [Left, Right]"))
    assert load().conflicts == [
        "masker/left, masker/right are offered by sslkit-a:main, sslkit-b:main and sslkit-c:main. "
        "Block all but one: SSLKIT_BLOCK=sslkit-b:main,sslkit-c:main"
    ]
    assert load("sslkit-b:main", "sslkit-c:main").conflicts == []


def test_the_place_of_a_built_in_kind_is_taken_only_when_that_is_blocked(site):
    install(site, "a-first-by-name", masker("random"))
    assert "both sslkit:maskers and a-first-by-name:main" in load().clashes("masker")["random"]
    assert load("sslkit:maskers").kinds("masker")["random"].__name__ == "Made"


def test_a_spec_that_asks_for_the_kind_is_refused_and_names_both(two):
    with pytest.warns(PluginConflictWarning, match="masker/shapes is offered by both"):
        registry()
    shapes = {**valid(), "objective": {"kind": "mae", "masker": {"kind": "shapes"}}}
    with pytest.raises(SpecError, match=re.escape(f"objective.masker.kind: {BOTH}")):
        parse(shapes)
    parse(valid())


@pytest.mark.filterwarnings("ignore::sslkit.errors.PluginConflictWarning")
def test_the_kit_fails_both_and_the_table_shows_both(two):
    rows = [
        " ".join(row.split())
        for row in plugins._table(registry().plugins)
        if row.startswith(("sslkit-one ", "sslkit-two "))
    ]
    assert rows[0].endswith("main masker/one masker/shapes (clashes with sslkit-two:main)")
    assert rows[1].endswith("main masker/shapes (clashes with sslkit-one:main)")
    (check,) = [check for check in check_plugin("sslkit-two").failures if check.subject == "masker/shapes"]
    assert (check.name, check.detail) == ("is offered by one plugin", BOTH)


@pytest.mark.filterwarnings("ignore::sslkit.errors.PluginConflictWarning")
def test_class_names_of_built_ins_stand_and_others_must_be_of_one_class(site):
    install(site, "sslkit-one", masker("one", "MAE"))
    install(site, "sslkit-two", masker("two", "Twice").replace("MaskerSpec", "AugmentSpec"))
    install(site, "sslkit-three", masker("three", "Twice"))
    install(site, "sslkit-four", masker("gray", "GrayMasker"))
    install(site, "sslkit-five", masker("gray", "GrayMasker"))
    assert sslkit.MAE.family == "objective"
    with pytest.raises(
        PluginConflictError, match=r"sslkit\.Twice could be a class of sslkit_three_main_module"
    ):
        sslkit.Twice  # noqa: B018
    with pytest.raises(
        PluginConflictError, match="'gray' is offered by both sslkit-five:main and sslkit-four"
    ):
        sslkit.GrayMasker  # noqa: B018
    assert {"MAE", "RandomMasker"} <= set(dir(sslkit))
    assert not {"Twice", "GrayMasker"} & set(dir(sslkit))
    assert all(hasattr(sslkit, name) for name in dir(sslkit))


def environment(site: Path) -> dict[str, str]:
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


def test_a_plugin_may_read_the_run_spec_and_the_built_in_classes_while_it_is_imported(site):
    install(
        site, "sslkit-one", "from sslkit.specs.run import RunSpec\nfrom sslkit import MAE\n" + masker("one")
    )
    code = "from sslkit.specs.run import RunSpec; from sslkit.registry.manager import registry; "
    code += "assert 'one' in registry().kinds('masker') and not registry().failures, registry().failures"
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, env=environment(site), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_plugin_that_makes_a_spec_while_it_is_imported_is_told_to_wait(site):
    making = "from sslkit.specs.logging import LogSpec\nLogSpec(loggers=[{'kind': 'tensorboard'}])\n"
    install(site, "sslkit-one", making + masker("one"))
    with plugins_of():
        failures = registry().failures
    assert "sslkit-one:main (PluginError: the kinds of logger were asked for while plugins are" in failures


@pytest.mark.filterwarnings("always::sslkit.errors.PluginConflictWarning")
def test_commands_work_beside_a_clash_and_say_on_one_line_how_to_choose(two, tmp_path, command):
    warning = f"warning: masker/shapes is offered by both sslkit-one:main and sslkit-two:main. {CHOICE}\n"
    listed = command("plugins", "list")
    assert (listed.code, listed.err) == (0, warning)
    assert "clashes with sslkit-one:main" in listed.out

    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(valid()))
    checked = command("validate", str(spec))
    assert (checked.code, checked.err) == (0, warning)
    second = command("validate", str(spec), RANK="1", WORLD_SIZE="2")
    assert (second.code, second.err) == (0, "")  # the first rank says it

    shown = command("plugins", "show", "masker/shapes")
    assert (shown.code, shown.err) == (2, f"{warning}error: {BOTH}\n")
    family = command("plugins", "show", "masker", SSLKIT_BLOCK="sslkit-two:main")
    assert (family.code, family.err) == (0, "")
    assert "shapes" in family.out


def test_a_recipe_whose_kind_clashes_is_refused_by_the_same_words(site):
    install(site, "sslkit-one", masker("color_jitter").replace("MaskerSpec", "AugmentSpec"))
    with pytest.warns(PluginConflictWarning, match="augment/color_jitter"):
        registry()
    refusal = "augment kind 'color_jitter' is offered by both sslkit:augments and sslkit-one:main"
    with pytest.raises(SpecError, match=refusal):
        ViewSpec(size=8, crops=2, recipe="simclr").chains  # noqa: B018


@pytest.mark.filterwarnings("ignore::sslkit.errors.PluginConflictWarning")
def test_what_ails_a_spec_is_still_told_by_the_field(two):
    with pytest.raises(SpecError, match="seed: must be"):
        parse({**valid(), "seed": "x"})
