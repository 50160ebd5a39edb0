"""The conformance kit on whole distributions: the built-in plugins pass, broken ones are reported line by line."""

from __future__ import annotations

import textwrap
from importlib import invalidate_caches, metadata

import pytest

from sslkit.cli.main import main
from sslkit.errors import PluginError
from sslkit.registry.manager import GROUP, registry
from sslkit.testing import Check, Report, check_plugin, kit

SHAPES = '''
    """Specs with a fault each, and one without."""

    from pathlib import Path
    from typing import Annotated, Literal

    from pydantic import AfterValidator, BaseModel
    from sslkit import hookimpl
    from sslkit.spec.base import Spec
    from sslkit.spec.families import LoggerSpec


    class Sound(LoggerSpec):
        """Records nothing."""

        kind: Literal["sound"] = "sound"
        level: int = 1
        """Said to be documented."""

        def build(self, run_dir, name):
            from sslkit_fake.runtime import Silent

            return Silent()


    class Inner(Spec):
        """A part."""

        bare: int = 1


    class Undescribed(Sound):
        kind: Literal["undescribed"] = "undescribed"
        loud: bool = False
        inner: Inner = Inner()
        """A part."""


    class Drifting(Sound):
        """Changes on the way to YAML and back."""

        kind: Literal["drifting"] = "drifting"
        step: Annotated[int, AfterValidator(lambda value: value + 1)] = 1
        """Grows."""


    class Needy(Sound):
        """Has no example."""

        kind: Literal["needy"] = "needy"
        folder: Path
        """Required."""


    class Fickle(Sound):
        """Has many examples."""

        kind: Literal["fickle"] = "fickle"

        @classmethod
        def example(cls):
            cls.made = getattr(cls, "made", 0) + 1
            return cls(level=cls.made)


    class Elsewhere(Needy):
        """Runs on data that only a user has."""

        kind: Literal["elsewhere"] = "elsewhere"

        @classmethod
        def example(cls):
            return None


    @hookimpl
    def sslkit_specs():
        return [Sound, Undescribed, Drifting, Needy, Fickle, Elsewhere]
'''

RUNTIME = '''
    """What the specs build."""

    from sslkit.core.logger import Logger


    class Silent(Logger):
        """Records nothing."""

        def metrics(self, step, values):
            """Nothing."""
'''

HEAVY = '''
    """A plugin that imports torch at once."""

    import torch
    from sslkit import hookimpl


    @hookimpl
    def sslkit_specs():
        return []
'''

FILES = {
    "plugin": SHAPES,
    "runtime": RUNTIME,
    "heavy": HEAVY,
    "absent": "import a_module_that_nobody_has\n",
    "__init__": "",
}


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """An installed distribution `sslkit-fake` with three entry points."""
    package, info = tmp_path / "sslkit_fake", tmp_path / "sslkit_fake-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    for name, text in FILES.items():
        (package / f"{name}.py").write_text(textwrap.dedent(text))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sslkit-fake\nVersion: 1.0\n")
    names = ("plugin", "heavy", "absent")
    lines = "\n".join(f"{name} = sslkit_fake.{name}" for name in names)
    (info / "entry_points.txt").write_text(f"[sslkit]\n{lines}\n")
    monkeypatch.syspath_prepend(tmp_path)
    invalidate_caches()
    registry.cache_clear()
    yield "sslkit-fake"
    registry.cache_clear()


BUILT_IN = sorted(metadata.distribution("sslkit").entry_points.select(group=GROUP).names)
SKIPPED = {
    "source/folder",
    "source/cifar10",
    "source/parquet",
    "source/segmentation",
    "logger/wandb",
    "backbone/swin",  # refuses to leave patches out
    "backbone/cnn",  # refuses masks
    "backbone/timm",  # its example is a ResNet
}
"""Kinds of which something cannot be tried here."""


@pytest.mark.parametrize("plugin", BUILT_IN)
def test_the_built_in_plugins_pass(plugin, monkeypatch):
    """One at a time, so that they can be spread over processes."""
    name, modules = f"sslkit:{plugin}", kit._modules("sslkit")
    monkeypatch.setattr(kit, "_modules", lambda _: {name: modules[name]})
    report = check_plugin("sslkit")
    report.require()
    (found,) = [found for found in registry().plugins if found.name == name]
    assert found.kinds
    subjects = {check.subject for check in report.checks}
    assert subjects == {name} | {f"{family}/{kind}" for family, kind in found.kinds}
    assert {check.subject for check in report.checks if check.state == "skipped"} <= SKIPPED


def test_a_distribution_is_checked_with_all_its_plugins():
    """So that the test above leaves none out, and no installed part of sslkit is missing from it."""
    own = {plugin.name for plugin in registry().plugins if plugin.name.startswith("sslkit:")}
    assert own == kit._modules("sslkit").keys() == {f"sslkit:{name}" for name in BUILT_IN}


def test_every_fault_of_a_distribution_is_reported(fake, capsys):
    report = check_plugin("SSLKIT_fake")  # as pip compares names
    found = {(check.subject, check.name): check for check in report.checks}
    failed = {check.subject: (check.name, check.detail) for check in report.failures}
    assert not report.passed
    assert set(failed) == {
        "sslkit-fake:heavy",
        "sslkit-fake:absent",
        "logger/undescribed",
        "logger/drifting",
        "logger/needy",
        "logger/fickle",
    }
    assert failed["sslkit-fake:heavy"][0] == "imports without torch"
    assert "sslkit_fake.heavy imports torch; import it" in failed["sslkit-fake:heavy"][1]
    assert "No module named 'a_module_that_nobody_has'" in failed["sslkit-fake:absent"][1]
    assert "a_module_that_nobody_has" in found["sslkit-fake:absent", "loads"].detail
    assert "below Undescribed, Undescribed.loud, Inner.bare" in failed["logger/undescribed"][1]
    assert failed["logger/drifting"] == (
        "goes to YAML and back",
        "drifting comes back from YAML as drifting(level=1, step=3)",
    )
    assert failed["logger/needy"][0] == "makes an example"
    assert "override `example`: Needy.folder: is missing. Required." in failed["logger/needy"][1]
    assert failed["logger/fickle"][0] == "has one example"
    assert found["logger/elsewhere", "runs"].state == "skipped"
    assert found["logger/sound", "closes without a record"].state == "passed"

    assert main(["plugins", "check", fake]) == 2
    printed = capsys.readouterr().out.splitlines()
    assert printed[:-1] == report.lines()
    assert printed[-1] == f"sslkit-fake: {len(report.checks)} checks, {len(report.failures)} failed"


def test_a_blocked_plugin_cannot_be_checked(fake, monkeypatch):
    monkeypatch.setenv("SSLKIT_BLOCK", "sslkit-fake:heavy")
    registry.cache_clear()
    with pytest.raises(PluginError, match="sslkit-fake:heavy is blocked by SSLKIT_BLOCK; unset it"):
        check_plugin(fake)


def test_the_kit_needs_some_built_in_kinds(fake, monkeypatch):
    monkeypatch.setenv("SSLKIT_BLOCK", "sslkit:backbones")
    registry.cache_clear()
    with pytest.raises(PluginError, match="the kit needs the backbone 'vit', which no plugin offers here"):
        check_plugin(fake)


@pytest.mark.parametrize(
    ("name", "match"),
    [("sslkit-nowhere", "no distribution 'sslkit-nowhere'"), ("pluggy", "lists no entry point of the group")],
)
def test_distributions_without_plugins(name, match, capsys):
    with pytest.raises(PluginError, match=match):
        check_plugin(name)
    assert main(["plugins", "check", name]) == 2
    assert match.split()[0] in capsys.readouterr().err


def test_require_names_every_failure():
    checks = (
        Check("a/b", "runs", "passed"),
        Check("a/b", "is neat", "failed", "no"),
        Check("a/c", "is quick", "failed"),
    )
    report = Report("mine", checks)
    assert report.lines() == ["ok    a/b: runs", "FAIL  a/b: is neat: no", "FAIL  a/c: is quick"]
    with pytest.raises(PluginError) as raised:
        report.require()
    assert str(raised.value).splitlines() == [
        "mine fails 2 of 3 checks:",
        *("  " + line for line in report.lines()[1:]),
    ]
    Report("mine", checks[:1]).require()
