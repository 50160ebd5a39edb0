"""Find plugins, load them, and gather the specs they offer. Nothing here imports torch."""

from __future__ import annotations

import functools
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, final

import pluggy

from sslkit.catalog import Kinds
from sslkit.errors import PluginConflictError, PluginError
from sslkit.registry import hookspecs
from sslkit.spec.base import Spec
from sslkit.spec.families import FAMILIES

GROUP = "sslkit"
BLOCK_VARIABLE = "SSLKIT_BLOCK"


@final
@dataclass(frozen=True)
class Plugin:
    """One entry point and what came of it."""

    name: str
    """`distribution:entry point`."""
    version: str
    """Version of the distribution."""
    kinds: tuple[tuple[str, str], ...] = ()
    """(family, kind) pairs that it offers."""
    error: str | None = None
    """Why it could not be loaded."""
    blocked: bool = False
    """Left out because SSLKIT_BLOCK names it."""


@final
class Registry:
    """The loaded plugins and the kinds they offer."""

    def __init__(self, entry_points: Iterable[metadata.EntryPoint], block: Iterable[str] = ()) -> None:
        self._manager = pluggy.PluginManager("sslkit")
        self._manager.add_hookspecs(hookspecs)
        self._classes: dict[str, dict[str, type[Spec]]] = defaultdict(dict)
        self._owners: dict[tuple[str, str], Plugin] = {}
        self.plugins: list[Plugin] = []
        blocked = frozenset(map(_canonical, block))
        for entry_point in sorted(entry_points, key=_order):
            self.plugins.append(self._load(entry_point, blocked))

    def kinds(self, family: str) -> Kinds:
        """Spec classes of `family`, by kind."""
        return self._classes[family]

    def owner(self, spec: Spec) -> Plugin | None:
        """The plugin that offers the kind of `spec`; None for specs of the core."""
        named = "kind" in type(spec).model_fields
        return self._owners.get((spec.family, spec.kind_name())) if named else None

    def find(self, class_name: str) -> type[Spec] | None:
        """The registered spec class called `class_name`, in any family."""
        classes = (cls for kinds in self._classes.values() for cls in kinds.values())
        return next((cls for cls in classes if cls.__name__ == class_name), None)

    @property
    def failures(self) -> str:
        """One line on the plugins that failed to load; empty if none did."""
        failed = [f"{p.name} ({p.error})" for p in self.plugins if p.error]
        return f"Plugins that failed to load: {'; '.join(failed)}" if failed else ""

    def _load(self, entry_point: metadata.EntryPoint, blocked: frozenset[str]) -> Plugin:
        owner, version = _distribution(entry_point.dist)
        name = f"{owner}:{entry_point.name}"
        if blocked & {_canonical(name), _canonical(owner)}:
            return Plugin(name, version, blocked=True)
        try:
            specs = self._specs_of(entry_point.load(), name)
        except (Exception, SystemExit) as error:  # one broken plugin must not end the program
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            return Plugin(name, version, error=f"{type(error).__name__}: {error}")
        plugin = Plugin(name, version, tuple((cls.family, cls.kind_name()) for cls in specs))
        for cls in specs:
            self._add(cls, plugin)
        return plugin

    def _specs_of(self, module: object, name: str) -> list[type[Spec]]:
        """The classes that `module` offers, checked before any of them counts."""
        self._manager.register(module, name=name)
        if not self._manager.get_hookcallers(module):
            raise PluginError("implements no hook; decorate its functions with `@sslkit.hookimpl`")
        if getattr(module, "sslkit_specs", None) is None:
            return []
        others = [plugin for plugin in self._manager.get_plugins() if plugin is not module]
        offered = self._manager.subset_hook_caller("sslkit_specs", others)()
        classes = [cls for batch in offered or [None] for cls in _require_list(batch)]
        for cls in classes:
            _require_spec(cls)
        if len({(cls.family, cls.kind_name()) for cls in classes}) < len(classes):
            raise PluginError("sslkit_specs() returned two classes of the same family and kind")
        return classes

    def _add(self, cls: type[Spec], plugin: Plugin) -> None:
        key = (cls.family, cls.kind_name())
        if key in self._owners:
            first = self._owners[key].name
            raise PluginConflictError(
                f"{key[0]} kind {key[1]!r} is offered by both {first} and {plugin.name}. "
                f"Block one of them: {BLOCK_VARIABLE}={plugin.name}"
            )
        self._owners[key] = plugin
        self._classes[key[0]][key[1]] = cls


def _require_list(batch: object) -> Iterable[Any]:
    if isinstance(batch, type | str) or not isinstance(batch, Iterable):
        raise PluginError(f"sslkit_specs() must return a list of spec classes, found {batch!r}")
    return batch


def _require_spec(cls: object) -> None:
    if not (isinstance(cls, type) and issubclass(cls, Spec)):
        raise PluginError(f"sslkit_specs() returned {cls!r}, which is not a Spec class")
    if cls.family not in FAMILIES:
        raise PluginError(f"{cls.__name__} derives from no family; choose one of {', '.join(FAMILIES)}")
    if "kind" not in cls.model_fields or not isinstance(cls.model_fields["kind"].default, str):
        raise PluginError(f'{cls.__name__} has no kind; write  kind: Literal["name"] = "name"')
    if cls.__abstractmethods__:
        raise PluginError(f"{cls.__name__} does not implement {', '.join(sorted(cls.__abstractmethods__))}")


def _canonical(name: str) -> str:
    """`name` as packaging compares names of distributions: lower case, `-` for `_` and `.`."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


@functools.cache
def _distribution(found: metadata.Distribution | None) -> tuple[str, str]:
    """Name and version; `metadata` parses the whole file at every access, and the built-ins share one."""
    return (found.metadata["Name"], found.metadata["Version"]) if found else ("unknown", "0")


def _order(entry_point: metadata.EntryPoint) -> tuple[bool, str, str]:
    """The built-ins first, then by name: whom a conflict names must not depend on the file system."""
    owner, _ = _distribution(entry_point.dist)
    return owner != "sslkit", owner, entry_point.name


@functools.cache
def registry() -> Registry:
    """The plugins of this process, loaded at first use.

    Raises:
        PluginConflictError: two plugins offer the same kind.
    """
    return Registry(metadata.entry_points(group=GROUP), os.environ.get(BLOCK_VARIABLE, "").split(","))


def kinds(family: str) -> Kinds:
    """Spec classes of `family`, by kind."""
    return registry().kinds(family)


def used_plugins(specs: Iterable[Spec]) -> Mapping[str, str]:
    """Name -> version of every plugin that offers one of `specs`."""
    owners = (registry().owner(spec) for spec in specs)
    return {plugin.name: plugin.version for plugin in owners if plugin is not None}
