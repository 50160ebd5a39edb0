"""Hold a plugin against the interfaces: every entry point, every spec class, every promise."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import metadata

from sslkit import catalog
from sslkit.errors import PluginError
from sslkit.registry.discovery import GROUP, name_and_version
from sslkit.registry.manager import BLOCK_VARIABLE, Plugin, registry
from sslkit.spec.base import Spec
from sslkit.testing import static
from sslkit.testing.report import Check, Report, run

NO_EXAMPLE = "`example` gives None: it needs data or a package that is not here"


def check_plugin(distribution: str) -> Report:
    """Hold every component that `distribution` registers against its interface, on the CPU, in seconds.

    Specs are built from their `example`. Objectives, targets, backbones and balancers make four steps on a
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


def main_check(args: argparse.Namespace) -> int:
    """Print one line for each check of `args.distribution`; the exit code is 0 if all pass, else 2."""
    done = []
    for check in _checks(args.distribution):
        print(check, flush=True)
        done.append(check)
    failed = sum(check.state == "failed" for check in done)
    print(f"{args.distribution}: {len(done)} checks, {failed or 'none'} failed")
    return 2 if failed else 0


def _checks(distribution: str) -> Iterator[Check]:
    modules = _modules(distribution)
    for plugin in registry().plugins:
        if plugin.name in modules:
            yield from _plugin(plugin, modules[plugin.name])


def _modules(distribution: str) -> dict[str, str]:
    """`distribution:entry point` -> its module."""
    try:
        installed = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        raise PluginError(
            f"no distribution {distribution!r} is installed; `sslkit plugins list` shows all"
        ) from None
    found = installed.entry_points.select(group=GROUP)
    if not found:
        raise PluginError(
            f"{distribution!r} has no plugin: its metadata lists no entry point of the group {GROUP!r}"
        )
    name, _ = name_and_version(installed)
    return {
        f"{name}:{entry_point.name}": entry_point.value.partition(":")[0].strip() for entry_point in found
    }


def _plugin(plugin: Plugin, module: str) -> Iterator[Check]:
    if plugin.blocked:
        raise PluginError(f"{plugin.name} is blocked by {BLOCK_VARIABLE}; unset it to check the plugin")
    yield Check(plugin.name, "loads", "failed" if plugin.error else "passed", plugin.error or "")
    for clash in plugin.clashes:
        yield Check(f"{clash.family}/{clash.kind}", "is offered by one plugin", "failed", clash.message)
    yield from run(plugin.name, static.module_checks(module))
    for family, kind in plugin.kinds:
        yield from _kind(f"{family}/{kind}", catalog.kinds(family)[kind])


def _kind(subject: str, cls: type[Spec]) -> Iterator[Check]:
    yield from run(subject, static.class_checks(cls))
    try:
        spec = cls.example()
    except Exception as error:
        yield Check(subject, "makes an example", "failed", f"override `example`: {error}")
        return
    if spec is None:
        yield Check(subject, "runs", "skipped", NO_EXAMPLE)
        return
    yield from run(subject, static.instance_checks(spec))
    from sslkit.testing.families import checks  # torch

    yield from run(subject, checks(spec))
