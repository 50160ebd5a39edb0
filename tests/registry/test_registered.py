"""`sslkit.register`: kinds of a script or notebook."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
import torch

import sslkit
from sslkit import MAE, RunSpec, catalog
from sslkit.cli.main import main
from sslkit.errors import PluginConflictError, PluginError, SpecError
from sslkit.interfaces import Draw, Masker, Scene
from sslkit.plugin import Env, LoggerSpec, MaskerSpec
from sslkit.registry.manager import Registry, registry, used_plugins
from sslkit.runs.lock import read_lock
from sslkit.specs.load import parse
from sslkit.specs.schema import component, json_schema
from sslkit.specs.walk import walk
from sslkit.train.launch import train
from tests import tiny

SCRIPT = """
import sys
from typing import Literal
import sslkit
from sslkit.plugin import LoggerSpec

@sslkit.register
class Quiet(LoggerSpec):
    kind: Literal["quiet"] = "quiet"

    def build(self, run_dir, name):
        raise SystemExit

print(sslkit.Quiet().summary(), "torch" in sys.modules)
"""


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """This process's plugins are loaded anew after a test."""
    yield
    registry.cache_clear()


class Half(Masker):
    """Hides the first half of the patches."""

    def __init__(self, patches: int) -> None:
        super().__init__()
        self.patches, self.most = patches, patches // 2
        self.visible = patches - self.most

    def sample(self, draw: Draw, scene: Scene) -> torch.Tensor:
        hidden: torch.Tensor = draw.permutation(self.patches) < self.most
        return hidden


def cell(kind: str = "halves", name: str = "Halves", module: str = "__main__", default: float = 0.5) -> Any:
    """What a cell of a notebook defines: a spec class of its own each time that it runs."""

    def build(self: MaskerSpec, env: Env, view: str) -> Masker:
        return Half(env.grid(view).patches)

    fields = {
        "__module__": module,
        "__qualname__": name,
        "__annotations__": {"kind": Literal[kind], "ratio": float},
        "kind": kind,
        "ratio": default,
        "build": build,
    }
    return type(name, (MaskerSpec,), fields)


def run(masker: object, out: Path | None = None) -> RunSpec:
    """A tiny run with a masker."""
    objective = {"kind": "mae", "masker": masker, "decoder": tiny.DECODER}
    return tiny.spec(out, objective=objective)


def test_a_registered_class_is_a_kind_in_python_and_in_yaml() -> None:
    halves = sslkit.register(cell())
    assert sslkit.Halves is halves
    assert "Halves" in dir(sslkit)
    assert MAE(masker=halves(ratio=0.25)).masker == halves(ratio=0.25)
    assert type(MAE(masker={"kind": "halves"}).masker) is halves
    assert component("masker", "halves") is halves
    assert "halves" in str(json_schema())


def test_it_decorates_a_class() -> None:
    @sslkit.register
    class Quarters(MaskerSpec):
        kind: Literal["quarters"] = "quarters"

        def build(self, env: Env, view: str) -> Masker:
            return Half(env.grid(view).patches)

    assert catalog.kinds("masker")["quarters"] is Quarters


def test_unions_that_were_used_before_know_it() -> None:
    with pytest.raises(SpecError, match="'halves' is not a masker"):
        MAE(masker={"kind": "halves"})
    halves = sslkit.register(cell())
    assert type(MAE(masker={"kind": "halves"}).masker) is halves


def test_a_run_trains_with_it_and_its_lock_says_where_it_was_registered(tmp_path: Path) -> None:
    sslkit.register(cell())
    spec = run({"kind": "halves"}, tmp_path / "run")
    assert train(spec)["finished"]
    plugins = read_lock(tmp_path / "run")["plugins"]
    assert plugins["python:__main__"] == "registered"
    assert plugins.keys() == used_plugins(part for _, part in walk(spec)).keys()


def test_a_cell_that_runs_again_replaces_its_class() -> None:
    first = sslkit.register(cell())
    again = sslkit.register(cell(default=0.75))
    assert sslkit.Halves is again is not first
    assert parse(tiny.fields(objective={"kind": "mae", "masker": {"kind": "halves"}})).objective == MAE(
        masker=again(ratio=0.75)
    )
    assert [p.kinds for p in registry().plugins if p.name == "python:__main__"] == [(("masker", "halves"),)]


def test_a_class_whose_kind_is_renamed_leaves_the_old_one_behind() -> None:
    sslkit.register(cell())
    renamed = sslkit.register(cell(kind="sides"))
    assert "halves" not in catalog.kinds("masker")
    assert sslkit.Halves is renamed


def test_another_class_of_the_same_kind_and_module_replaces_it() -> None:
    sslkit.register(cell())
    other = sslkit.register(cell(name="Sides"))
    assert catalog.kinds("masker")["halves"] is other
    with pytest.raises(AttributeError):
        _ = sslkit.Halves


def test_several_kinds_of_a_module_stay() -> None:
    halves, sides = sslkit.register(cell()), sslkit.register(cell(kind="sides", name="Sides"))
    assert catalog.kinds("masker")["halves"] is halves
    assert catalog.kinds("masker")["sides"] is sides
    (plugin,) = (p for p in registry().plugins if p.name == "python:__main__")
    assert plugin.kinds == (("masker", "halves"), ("masker", "sides"))


def test_specs_of_the_class_before_are_to_be_made_again() -> None:
    old = sslkit.register(cell())(ratio=0.25)
    sslkit.register(cell())
    with pytest.raises(
        SpecError, match=r"^MAE.masker: is a Halves from before that class was defined anew; make it again$"
    ):
        MAE(masker=old)


def test_another_module_may_not_take_the_kind() -> None:
    kept = sslkit.register(cell())
    with pytest.raises(
        PluginConflictError,
        match=r"^masker kind 'halves' was registered as Halves of module __main__, and Mine is of helpers; "
        r"give Mine another `kind`$",
    ):
        sslkit.register(cell(name="Mine", module="helpers"))
    assert catalog.kinds("masker")["halves"] is kept


def test_kinds_of_plugins_are_not_replaced() -> None:
    with pytest.raises(
        PluginConflictError, match=r"^masker kind 'random' is offered by sslkit:maskers; give Halves another"
    ):
        sslkit.register(cell(kind="random"))
    assert catalog.kinds("masker")["random"] is sslkit.RandomMasker


def test_a_built_in_keeps_its_name_in_the_package() -> None:
    mine = sslkit.register(cell(name="RandomMasker"))
    assert sslkit.RandomMasker is not mine
    assert catalog.kinds("masker")["halves"] is mine


def test_what_is_no_whole_spec_is_refused() -> None:
    with pytest.raises(
        PluginError, match=r"takes the spec of a kind, whose `build` makes the component; .*Half"
    ):
        sslkit.register(Half)  # type: ignore[type-var]
    with pytest.raises(PluginError, match="MaskerSpec has no kind"):
        sslkit.register(MaskerSpec)
    unfinished = type("Idle", (LoggerSpec,), {"__annotations__": {"kind": Literal["idle"]}, "kind": "idle"})
    with pytest.raises(PluginError, match="Idle does not implement build"):
        sslkit.register(unfinished)
    assert "idle" not in catalog.kinds("logger")


def test_a_class_that_pydantic_cannot_build_is_refused() -> None:
    broken = type(
        "Broken",
        (MaskerSpec,),
        {
            "__annotations__": {"kind": Literal["broken"], "thing": ModuleType},
            "kind": "broken",
            "build": lambda self, env, view: None,
        },
    )
    with pytest.raises(PluginError, match="Broken: pydantic cannot build it"):
        sslkit.register(broken)
    assert "broken" not in catalog.kinds("masker")


def test_nothing_is_registered_while_plugins_are_loaded() -> None:
    with pytest.raises(PluginError, match="register kinds in scripts, not while plugins are imported"):
        Registry().register(cell())


def test_a_command_says_where_the_kinds_of_a_run_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sslkit.register(cell())
    train(run({"kind": "halves"}, tmp_path / "run"))
    registry.cache_clear()
    capsys.readouterr()
    assert main(["resume", str(tmp_path / "run")]) == 0  # it is finished: nothing is built
    assert main(["evaluate", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "'halves' is not a masker" in error
    assert "kinds of this run were registered in Python, by __main__: register them there again" in error
    assert "Traceback" not in error


def test_registering_needs_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True)
    assert done.stdout == "quiet False\n"
