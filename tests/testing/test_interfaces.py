"""The kit calls every method of every interface, so that a new one cannot be forgotten."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from sslkit.core.augment import Augment
from sslkit.core.backbone import Backbone
from sslkit.core.balancer import Balancer
from sslkit.core.evaluator import Evaluator
from sslkit.core.logger import Logger
from sslkit.core.masker import Masker
from sslkit.core.objective import Objective
from sslkit.core.source import Source
from sslkit.core.target import Target
from sslkit.core.transform import Transform
from sslkit.specs.families import FAMILIES
from sslkit.testing.families import checks
from sslkit.testing.kit_report import NotOffered
from sslkit.testing.promises.spec_promises import instance_checks
from sslkit.testing.tiny_run import helper
from sslkit.testing.tiny_stream import Letters
from tests import streams


@pytest.fixture(autouse=True)
def _kinds() -> Iterator[None]:
    """No plugin here offers a transform."""
    with streams.registered():
        yield


INTERFACES = {
    "backbone": (Backbone, lambda: helper("backbone", "vit")),
    "masker": (Masker, lambda: helper("masker", "difficulty")),
    "target": (Target, lambda: helper("target", "pixel")),
    "objective": (Objective, lambda: helper("objective", "mae")),
    "balancer": (Balancer, lambda: helper("balancer", "pcgrad")),
    "evaluator": (Evaluator, lambda: helper("evaluator", "knn")),
    "source": (Source, lambda: helper("source", "digits")),
    "augment": (Augment, lambda: helper("augment", "random_resized_crop")),
    "transform": (Transform, Letters),
    "logger": (Logger, lambda: helper("logger", "tensorboard")),
}
"""Family -> its interface, and a spec whose component does all that it may."""


def methods(interface: type) -> set[str]:
    """What components of `interface` may be asked: its functions, and the two operators that interfaces use."""
    return {
        name
        for name, item in vars(interface).items()
        if callable(item) and (not name.startswith("_") or name in {"__call__", "__len__"})
    }


@contextmanager
def calls(kind: type) -> Iterator[set[str]]:
    """Names of the functions that are called on instances of `kind` in the block."""
    seen: set[str] = set()

    def note(frame, event, argument):
        if event == "call" and isinstance(frame.f_locals.get("self"), kind):
            seen.add(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        yield seen
    finally:
        sys.setprofile(None)


def tried(spec):
    """All checks but the one of compiled graphs, which takes a minute under a profiler."""
    for name, check in {**instance_checks(spec), **checks(spec)}.items():
        if name != "compiles to one graph":
            yield name, check


def test_every_family_has_an_interface_here():
    assert INTERFACES.keys() == FAMILIES.keys()


@pytest.mark.parametrize("family", INTERFACES)
def test_every_method_is_called(family):
    interface, example = INTERFACES[family]
    spec = example()
    with calls(interface) as seen:
        for _, check in tried(spec):
            with suppress(NotOffered):
                check()
    assert methods(interface), "an interface has methods"
    assert methods(interface) - seen == set()


@pytest.mark.parametrize("family", INTERFACES)
def test_every_method_of_a_spec_is_called(family):
    spec = INTERFACES[family][1]()
    names = {"build", "problems", "summary"} | ({"grid"} if family == "backbone" else set())
    with calls(FAMILIES[family]) as seen:
        for name, check in tried(spec):
            if (
                name in instance_checks(spec)
                or name
                in {
                    "fits the kit's run",
                    "cuts the grid that its spec says",
                }
                or "build" not in seen
            ):
                with suppress(NotOffered):
                    check()
    assert names - seen == set()
