"""Conformance kit: every entry point and spec class of a plugin against the interfaces."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import metadata

from sslkit import catalog
from sslkit.errors import PluginError
from sslkit.registry.discovery import GROUP, name_and_version
from sslkit.registry.manager import Plugin, registry
from sslkit.specs.base import Spec
from sslkit.testing.kit_report import Check, Report, run
from sslkit.testing.promises import spec_promises

NO_EXAMPLE = (
    "`example` gives None, so nothing of it can be tried: give one, or say in `unchecked` why there is none and "
    "hold specs with files of yours against `check_spec` in a test"
)
NO_KIND = "its hook `sslkit_specs` returns no spec class; return every class that it offers"
NOTHING = "no kind of it has an example, so nothing was tried; give one, or use `check_spec` in a test"


def check_plugin(distribution: str) -> Report:
    """Hold every component that `distribution` registers against its interface, on the CPU.

    Specs are built from their `example`. Objectives, targets, backbones, maskers and balancers make a few steps on a
    run of the kit's own: noise images of 32 x 32 pixels, 3 channels; views `global` (32 pixels, 2 crops) and
    `local` (16 pixels, 2 crops); nets `student` and `teacher`; batches of 4. Seeds torch's generators.

    Args:
        distribution: an installed distribution, as pip names it.

    Returns:
        A report. Failed checks raise nothing; `report.require()` does.

    Raises:
        PluginError: there is no such distribution, it has no plugin, a plugin of it is blocked, or a kind that
            the kit needs beside it is (backbone `vit`, balancer `fixed`, masker `random`, objective `mae`).
    """
    return Report(distribution, tuple(_checks(distribution)))


def check_spec(spec: Spec) -> Report:
    """Hold one spec against the interface of its family, as `check_plugin` does with an `example`.

    For kinds whose example would need what only a user has: a test makes small files and checks a spec that reads them.

    Args:
        spec: of a registered kind.

    Returns:
        A report. Failed checks raise nothing; `report.require()` does.

    Raises:
        PluginError: a kind that the kit needs beside it is not there.
    """
    return Report(spec.kind_name(), tuple(_instance(f"{spec.family}/{spec.kind_name()}", spec)))


def main_check(args: argparse.Namespace) -> int:
    """Print one line for each check of `args.distribution`; the exit code is 0 if all pass, else 2."""
    done = []
    for check in _checks(args.distribution):
        print(check, flush=True)
        done.append(check)
    report = Report(args.distribution, tuple(done))
    print(report.summary)
    return 0 if report.passed else 2


def _checks(distribution: str) -> Iterator[Check]:
    modules = _modules(distribution)
    tried, kinds = 0, 0
    for plugin in registry().settled():
        if plugin.name in modules:
            kinds += len(plugin.kinds)
            for check in _plugin(plugin, modules[plugin.name]):
                tried += check.name == spec_promises.EXAMPLE and check.state == "passed"
                yield check
            if not (plugin.kinds or plugin.error):
                yield Check(plugin.name, "offers a kind", "failed", NO_KIND)
    if kinds and not tried:
        yield Check(distribution, "has a kind that can be tried", "failed", NOTHING)


def _modules(distribution: str) -> dict[str, str]:
    """`distribution:entry point` -> its module."""
    try:
        installed = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        raise PluginError(
            f"no distribution {distribution!r} is installed; `sslkit plugins list` shows all"
        ) from None
    entry_points = installed.entry_points.select(group=GROUP)
    if not entry_points:
        raise PluginError(
            f"{distribution!r} has no plugin: its metadata lists no entry point of the group {GROUP!r}"
        )
    name, _ = name_and_version(installed)
    return {f"{name}:{point.name}": point.value.partition(":")[0].strip() for point in entry_points}


def _plugin(plugin: Plugin, module: str) -> Iterator[Check]:
    if plugin.blocked:
        raise PluginError(f"{plugin.name} is {plugin.blocked}; unset it to check the plugin")
    yield Check(plugin.name, "loads", "failed" if plugin.error else "passed", plugin.error or "")
    for clash in plugin.clashes:
        yield Check(f"{clash.family}/{clash.kind}", "is offered by one plugin", "failed", clash.message)
    yield from run(plugin.name, {} if plugin.error else spec_promises.module_checks(module))
    for family, kind in plugin.kinds:
        yield from _kind(f"{family}/{kind}", catalog.kinds(family)[kind])


def _kind(subject: str, cls: type[Spec]) -> Iterator[Check]:
    static_checks = spec_promises.class_checks(cls)
    expected = {name: why for name, why in cls.expected_failures.items() if name in static_checks}
    yield from run(subject, static_checks, expected=expected)
    try:
        spec = cls.example()
    except Exception as error:
        yield Check(subject, spec_promises.EXAMPLE, "failed", f"override `example`: {error}")
        return
    if spec is None:
        yield Check(
            subject,
            spec_promises.EXAMPLE,
            *(("skipped", cls.unchecked) if cls.unchecked else ("failed", NO_EXAMPLE)),
        )
        return
    if cls.unchecked:
        text = f"has an example, though `unchecked` says {cls.unchecked!r}; take it away"
        yield Check(subject, spec_promises.EXAMPLE, "failed", text)
        return
    yield Check(subject, spec_promises.EXAMPLE, "passed")
    yield from _instance(subject, spec)


def _instance(subject: str, spec: Spec) -> Iterator[Check]:
    from sslkit.testing.families import NEEDS, checks  # torch

    cls = type(spec)
    expected = {
        n: why for n, why in cls.expected_failures.items() if n not in spec_promises.class_checks(cls)
    }
    yield from run(subject, {**spec_promises.instance_checks(spec), **checks(spec)}, NEEDS, expected)
