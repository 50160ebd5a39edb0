"""What holds for every spec class is checked without an instance or torch."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Literal

import pytest

from sslkit.errors import PluginError
from sslkit.registry.manager import registry
from sslkit.specs.base import Spec
from sslkit.specs.families import FAMILIES, LoggerSpec
from sslkit.specs.run import RunSpec
from sslkit.specs.views import Normalize
from sslkit.testing.promises.spec_promises import class_checks, instance_checks, module_checks
from tests.testing.outcomes import unmet

DESCRIBED = "describes itself and every field"


class Part(Spec):
    """A part of itself."""

    inner: tuple[Part, ...] | None = None
    """Parts."""
    weight: float = 1.0


class Whole(LoggerSpec):
    """Holds parts."""

    kind: Literal["whole"] = "whole"
    part: Part | float = 1.0
    """A part, or a number."""
    normalize: Normalize = Normalize()
    """A spec of the core."""

    def build(self, run_dir, name):
        raise AssertionError("no check of this file builds anything")


def test_a_part_of_a_spec_must_be_described():
    with pytest.raises(PluginError, match=r"no docstring below Part\.weight;"):
        class_checks(Whole)[DESCRIBED]()


@pytest.mark.parametrize("cls", [RunSpec, *FAMILIES.values()], ids=lambda cls: cls.__name__)
def test_the_specs_of_the_core_are_described(cls):
    assert unmet(class_checks(cls), DESCRIBED) == []


def test_an_inherited_docstring_describes_nothing():
    class Child(Normalize.__base__):  # type: ignore[misc, name-defined]
        pass

    with pytest.raises(PluginError, match="no docstring below Child"):
        class_checks(Child)[DESCRIBED]()


def test_a_schema_must_ask_for_the_kind():
    class_checks(Whole)["has a JSON schema"]()
    with pytest.raises(PluginError, match="`kind` is not among the required"):
        class_checks(Part)["has a JSON schema"]()


def test_a_kind_that_is_not_registered_does_not_come_back():
    with pytest.raises(Exception, match="does not match any of the expected tags"):
        instance_checks(Whole())["goes to YAML and back"]()


def test_every_built_in_example_is_torch_free():
    """`example` is for checks without torch too."""
    code = (
        "import sys\n"
        "from sslkit.registry.manager import registry\n"
        "for plugin in registry().plugins:\n"
        "    for family, kind in plugin.kinds:\n"
        "        registry().kinds(family)[kind].example()\n"
        "import sslkit.testing, sslkit.testing.scaffold\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert registry().plugins
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False).returncode == 0


def test_modules_that_cannot_be_imported():
    module_checks("sslkit.errors")["imports without torch"]()
    with pytest.raises(PluginError, match=r"sslkit\.nowhere cannot be imported: ModuleNotFoundError"):
        module_checks("sslkit.nowhere")["imports without torch"]()
