"""`sslkit plugins`: list, show, check and make plugins."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from sslkit.cli.describe import describe_family, describe_kind
from sslkit.registry.manager import Clash, Plugin, registry
from sslkit.specs.families import FAMILIES

SLOW = 1.0
"""Seconds past which the list tells what a plugin's import took: every command waits for it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own commands to `parser`."""
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="ACTION", help="what to do; ACTION --help says more"
    )
    actions.add_parser("list", help="installed plugins, their kinds, and those that failed to load")
    show = actions.add_parser("show", help="the fields of a kind, or the kinds of a family")
    show.add_argument("what", metavar="FAMILY[/KIND]", help="such as masker or masker/random")
    check = actions.add_parser("check", help="hold a plugin against the conformance kit")
    check.add_argument(
        "distribution", metavar="DISTRIBUTION", help="the installed distribution, as pip names it"
    )
    new = actions.add_parser("new", help="start a plugin distribution of your own")
    new.add_argument("name", metavar="NAME", help="name of the distribution, such as sslkit-shapes")
    new.add_argument(
        "--family", choices=sorted(FAMILIES), default="target", help="what it offers; default: target"
    )
    new.add_argument("--dir", type=Path, default=Path(), help="where to write it; default: here")


def execute(args: argparse.Namespace) -> int:
    """Do what `args.action` says."""
    if args.action == "check":
        return int(import_module("sslkit.testing.conformance").main_check(args))
    if args.action == "new":
        return int(import_module("sslkit.testing.scaffold").main_new(args))
    if args.action == "show":
        family, _, kind = args.what.partition("/")
        lines = describe_kind(family, kind) if kind else describe_family(family)
    else:
        lines = _table(registry().settled())
    print("\n".join(lines))
    return 0


def _table(plugins: Sequence[Plugin]) -> Iterator[str]:
    """One row for each entry point, under a heading."""
    rows = [("DISTRIBUTION", "VERSION", "ENTRY POINT", "KINDS"), *map(_row, plugins)]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])


def _row(plugin: Plugin) -> tuple[str, str, str, str]:
    distribution, _, entry_point = plugin.name.partition(":")
    return distribution, plugin.version, entry_point, _state(plugin)


def _state(plugin: Plugin) -> str:
    if plugin.blocked:
        return plugin.blocked
    if plugin.error:
        return "failed: " + " ".join(plugin.error.split())
    slow = f"({plugin.seconds:.1f} s to import)" if plugin.seconds >= SLOW else ""
    usable = [f"{family}/{kind}" for family, kind in plugin.kinds]
    return " ".join([*usable, *(_clash(plugin, clash) for clash in plugin.clashes), slow]).strip() or "-"


def _clash(plugin: Plugin, clash: Clash) -> str:
    others = " and ".join(name for name in clash.plugins if name != plugin.name)
    return f"{clash.family}/{clash.kind} (clashes with {others})"
