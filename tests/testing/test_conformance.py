"""The conformance kit on whole distributions: the built-in plugins pass, broken ones are reported line by line."""

from __future__ import annotations

import re
import sys
import textwrap
from importlib import invalidate_caches, metadata

import pytest
from PIL import Image

from sslkit import catalog
from sslkit.cli.main import main
from sslkit.errors import PluginError
from sslkit.registry.discovery import GROUP
from sslkit.registry.manager import registry
from sslkit.testing import Check, Report, check_plugin, check_spec, conformance, families
from sslkit.testing.promises import training_promises
from sslkit_sources.specs.folder import Folder
from tests.conftest import ROOT

SHAPES = '''
    """Specs with a fault each, and one without."""

    from pathlib import Path
    from typing import Annotated, Literal

    from pydantic import AfterValidator, BaseModel
    from sslkit import hookimpl
    from sslkit.specs.base import Spec
    from sslkit.specs.families import LoggerSpec


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
        unchecked = "it reads a folder: of its own"

        @classmethod
        def example(cls):
            return None


    class Silenced(Elsewhere):
        """Does not say why."""

        kind: Literal["silenced"] = "silenced"
        unchecked = ""


    class Excused(Sound):
        """Says why, and has an example."""

        kind: Literal["excused"] = "excused"
        unchecked = "no reason"


    class Foreseen(Sound):
        """Fails as it says, and in one check says so wrongly."""

        kind: Literal["foreseen"] = "foreseen"
        step: Annotated[int, AfterValidator(lambda value: value + 1)] = 1
        """Grows."""
        expected_failures = {
            "goes to YAML and back": "the step grows",
            "closes without a record": "never",
            "flies": "",
        }


    class Unbuildable(Sound):
        """Cannot be built."""

        kind: Literal["unbuildable"] = "unbuildable"

        def build(self, run_dir, name):
            return {}["no such key"]


    @hookimpl
    def sslkit_specs():
        return [
            Sound, Undescribed, Drifting, Needy, Fickle, Elsewhere, Silenced, Excused, Foreseen, Unbuildable
        ]
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
    for name in [name for name in sys.modules if name.partition(".")[0] == "sslkit_fake"]:
        del sys.modules[name]


BUILT_IN = sorted(metadata.distribution("sslkit").entry_points.select(group=GROUP).names)
SKIPPED = {
    "source/folder",
    "source/python_data",  # takes objects of Python; tests/plugins/sources holds it against the kit
    "backbone/python_module",
    "source/cifar10",
    "source/parquet",
    "source/segmentation",
    "logger/wandb",
    "target/vq_token",  # needs the file of a trained tokenizer
    "backbone/swin",  # refuses to leave patches out
    "backbone/cnn",  # refuses masks
    "backbone/timm",  # its example is a ResNet
}
"""Kinds of which something cannot be tried here."""
NOT_ITS_OWN = {
    "leaves the size as it is",
    "has no factors to name",
    "weighs losses only",
    "learns nothing",
    "compares images",
}
"""Reasons of checks that are about what only some kinds of a family do."""
CHECKS, GRAPH = families.checks, "compiles to one graph"
TRACED_ELSEWHERE = {
    "tests/plugins/objectives/test_product.py": {
        "objective": {"mae", "simmim", "maskfeat", "data2vec", "beit"},  # one engine, and every target of it
        "target": {"pixel", "normalized_pixel", "hog", "frequency", "teacher_feature", "perceptual"},
    },
    "tests/plugins/objectives/contrastive/test_infonce.py": {"objective": {"simclr", "moco_v2"}},
    "tests/plugins/objectives/regularizers/test_regularization.py": {
        "objective": {"variance_covariance", "uniformity"},  # the rest of their graph is that of `koleo`
    },
    "tests/plugins/objectives/specs/test_hybrid.py": {"objective": {"hybrid"}},
    "tests/plugins/balancers/test_runs.py": {
        # The last six weigh what leaves a graph, which is that of `pcgrad`.
        "balancer": {"uncertainty", "dwa", "gradnorm", "cagrad", "mgda", "imtl_g", "nash", "torchjd"},
    },
    "tests/plugins/backbones/test_variants.py": {"backbone": {"vit"}},
    "tests/plugins/backbones/test_swin.py": {"backbone": {"swin"}},
    "tests/plugins/backbones/test_cnn.py": {"backbone": {"cnn"}},
}
"""Kinds whose graph another test traces, by the file of that test: it takes two seconds each."""


def but_traced(spec):
    """The kit's checks of `spec`, without a graph that is traced elsewhere."""
    traced = any(spec.kind_name() in kinds.get(spec.family, ()) for kinds in TRACED_ELSEWHERE.values())
    return {name: check for name, check in CHECKS(spec).items() if not (traced and name == GRAPH)}


def test_graphs_that_are_left_out_are_of_kinds_that_there_are_and_traced_by_tests():
    for file, kinds in TRACED_ELSEWHERE.items():
        assert re.search(r"def test_\w*(graph|compile)", (ROOT / file).read_text()), file
        for family, names in kinds.items():
            assert names <= set(catalog.kinds(family))


@pytest.mark.parametrize("plugin", BUILT_IN)
def test_the_built_in_plugins_pass(plugin, monkeypatch):
    """One at a time, so that they can be spread over processes."""
    monkeypatch.setattr(families, "checks", but_traced)
    name, modules = f"sslkit:{plugin}", conformance._modules("sslkit")
    monkeypatch.setattr(conformance, "_modules", lambda _: {name: modules[name]})
    monkeypatch.setattr(
        training_promises, "BACKEND", "eager"
    )  # half the time; the objectives' own tests do the rest
    report = check_plugin("sslkit")
    report.require()
    (found,) = [found for found in registry().plugins if found.name == name]
    assert found.kinds
    subjects = {check.subject for check in report.checks}
    assert subjects == {name} | {f"{family}/{kind}" for family, kind in found.kinds}
    left_out = [check for check in report.of("skipped") if check.detail not in NOT_ITS_OWN]
    assert {check.subject for check in left_out} <= SKIPPED


def test_a_distribution_is_checked_with_all_its_plugins():
    """So that the test above leaves none out, and no installed part of sslkit is missing from it."""
    own = {plugin.name for plugin in registry().plugins if plugin.name.startswith("sslkit:")}
    assert own == conformance._modules("sslkit").keys() == {f"sslkit:{name}" for name in BUILT_IN}


def test_every_fault_of_a_distribution_is_reported(fake, capsys):
    report = check_plugin("SSLKIT_fake")  # as pip compares names
    found = {(check.subject, check.name): check for check in report.checks}
    failed = {check.subject: (check.name, check.detail) for check in reversed(report.failures)}
    assert not report.passed
    assert set(failed) == {
        "sslkit-fake:heavy",
        "sslkit-fake:absent",
        "logger/undescribed",
        "logger/drifting",
        "logger/needy",
        "logger/fickle",
        "logger/silenced",
        "logger/excused",
        "logger/foreseen",
        "logger/unbuildable",
    }
    assert failed["sslkit-fake:heavy"][0] == "imports without torch"
    assert "sslkit_fake.heavy imports torch; import it" in failed["sslkit-fake:heavy"][1]
    assert failed["sslkit-fake:absent"][0] == "loads"
    assert "No module named 'a_module_that_nobody_has'" in failed["sslkit-fake:absent"][1]
    assert "below Undescribed, Undescribed.loud, Inner.bare" in failed["logger/undescribed"][1]
    assert failed["logger/drifting"] == (
        "goes to YAML and back",
        "drifting comes back from YAML as drifting(level=1, step=3)",
    )
    assert failed["logger/needy"][0] == "makes an example"
    assert "override `example`: Needy.folder: is missing. Required." in failed["logger/needy"][1]
    assert failed["logger/fickle"][0] == "has one example"
    assert found["logger/elsewhere", "makes an example"][2:] == ("skipped", "it reads a folder: of its own")
    assert failed["logger/silenced"][0] == "makes an example"
    assert (
        "`example` gives None, so nothing of it can be tried: give one, or say in `unchecked`"
        in (failed["logger/silenced"][1])
    )
    assert "though `unchecked` says 'no reason'; take it away" in failed["logger/excused"][1]
    assert found["logger/foreseen", "goes to YAML and back"][2:] == (
        "expected",
        "the step grows (foreseen comes back from YAML as foreseen(level=1, step=3))",
    )
    assert found["logger/foreseen", "closes without a record"].state == "failed"
    assert (
        "passes, but `expected_failures` lists it"
        in found["logger/foreseen", "closes without a record"].detail
    )
    assert found["logger/foreseen", "its expected failures fail"].detail == (
        "`expected_failures` names 'flies', which is no check of this kind"
    )
    causes = [check.state for check in report.checks if check.subject == "logger/unbuildable"]
    assert causes.count("failed") == 1, "one cause is told once"
    assert "KeyError: 'no such key' (in plugin.py, line " in failed["logger/unbuildable"][1]
    assert found["logger/sound", "closes without a record"].state == "passed"

    assert main(["plugins", "check", fake]) == 2
    printed = capsys.readouterr().out.splitlines()
    assert printed[:-1] == report.lines()
    assert printed[-1] == report.summary.replace("SSLKIT_fake", "sslkit-fake")
    skipped = len(report.of("skipped"))
    ran = len(report.checks) - skipped
    assert printed[-1].startswith(
        f"sslkit-fake: {ran} checks ran, {len(report.failures)} failed (1 more as expected); {skipped} left out: "
    )
    assert "it reads a folder (1)" in printed[-1]


EMPTY = '''
    """A plugin of which nothing can be tried."""

    from typing import Literal
    from sslkit import hookimpl
    from sslkit.specs.families import LoggerSpec


    class Elsewhere(LoggerSpec):
        """Runs where only a user is."""

        kind: Literal["elsewhere"] = "elsewhere"
        unchecked = "it is not here"

        @classmethod
        def example(cls):
            return None

        def build(self, run_dir, name):
            raise AssertionError


    @hookimpl
    def sslkit_specs():
        return [Elsewhere]
'''


def test_a_plugin_of_which_nothing_was_tried_does_not_pass(fake, tmp_path, capsys):
    (tmp_path / "sslkit_fake" / "plugin.py").write_text(textwrap.dedent(EMPTY))
    (tmp_path / "sslkit_fake-1.0.dist-info" / "entry_points.txt").write_text(
        "[sslkit]\nplugin = sslkit_fake.plugin\n"
    )
    report = check_plugin(fake)
    assert [(check.subject, check.name) for check in report.failures] == [
        ("sslkit-fake", "has a kind that can be tried")
    ]
    assert not report.passed
    assert main(["plugins", "check", fake]) == 2
    assert capsys.readouterr().out.endswith("1 left out: it is not here (1)\n")


def test_a_plugin_that_offers_nothing_does_not_pass(fake, tmp_path):
    """Whoever forgets a class in the hook has a plugin that loads, and a kind that no spec knows."""
    forgetful = EMPTY.replace("return [Elsewhere]", "return []")
    (tmp_path / "sslkit_fake" / "plugin.py").write_text(textwrap.dedent(forgetful))
    (tmp_path / "sslkit_fake-1.0.dist-info" / "entry_points.txt").write_text(
        "[sslkit]\nplugin = sslkit_fake.plugin\n"
    )
    (failure,) = check_plugin(fake).failures
    assert (failure.subject, failure.name) == ("sslkit-fake:plugin", "offers a kind")
    assert "returns no spec class" in failure.detail


def test_a_spec_with_files_of_a_test_is_checked_alone(tmp_path):
    for split in ("train", "test"):
        for name in "ab":
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(3):
                color = (len(split) * 20, ord(name), 9 * i)
                Image.new("RGB", (12 + i, 10), color).save(folder / f"{i}.png")
    report = check_spec(Folder(root=tmp_path / "train", test=tmp_path / "test"))
    report.require()
    assert {check.subject for check in report.checks} == {"source/folder"}
    assert "gives pixels of one scale" in {check.name for check in report.of("passed")}


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
