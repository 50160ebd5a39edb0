"""The plugin registry: loaded plugins, the kinds that they offer, and conflicts. Nothing here imports torch."""

from __future__ import annotations

import functools
import os
import re
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import NamedTuple, Self, final

from sslkit.catalog import ELSEWHERE, Kinds
from sslkit.core.ranks import ranks
from sslkit.errors import PluginConflictError, PluginConflictWarning, PluginError
from sslkit.registry.discovery import BUILT_IN, described, discover, name_and_version
from sslkit.registry.loader import Loader
from sslkit.registry.offers import Classes, Offer
from sslkit.specs.base import Spec

BLOCK_VARIABLE = "SSLKIT_BLOCK"
"""Environment variable: plugins or whole distributions that are left out."""
ONLY_VARIABLE = "SSLKIT_ONLY"
"""Environment variable: the plugins or whole distributions that are loaded, and no others; all where it is empty."""
REGISTERED = "python"
"""What takes the place of the distribution of kinds that a script registered, as in `python:__main__`."""
REGISTERED_VERSION = "registered"
"""What takes the place of their version."""


class Clash(NamedTuple):
    """A kind that several plugins offer. It can be used once all but one of them are blocked."""

    family: str
    kind: str
    plugins: tuple[str, ...]
    """In the order of their loading."""

    @property
    def message(self) -> str:
        """Who clashes, and how to choose."""
        return f"{self.family} kind {self.kind!r} is offered by {_choice(self.plugins)}"


@final
@dataclass(frozen=True)
class Plugin:
    """One entry point, loaded or not."""

    name: str
    """`distribution:entry point`."""
    version: str
    """Version of the distribution."""
    kinds: tuple[tuple[str, str], ...] = ()
    """(family, kind) pairs that it offers and that can be used."""
    error: str | None = None
    """Why it could not be loaded."""
    blocked: str = ""
    """Why it was left out: `SSLKIT_BLOCK` names it, or `SSLKIT_ONLY` does not. Empty where it was not."""
    clashes: tuple[Clash, ...] = ()
    """Kinds that it offers and another plugin too."""
    seconds: float = field(default=0.0, compare=False)
    """Time that its import took."""


@final
class Registry:
    """The loaded plugins and the kinds they offer."""

    def __init__(self) -> None:
        self.plugins: list[Plugin] = []
        self.loading = True
        """Whether there may be more plugins."""
        self._loader = Loader()
        self._offers: dict[tuple[str, str], list[tuple[Plugin, Offer]]] = defaultdict(list)
        self._classes: dict[str, Classes] = defaultdict(Classes)
        self._clashes: dict[str, dict[str, str]] = defaultdict(dict)

    def load(
        self, entry_points: Iterable[metadata.EntryPoint], block: Iterable[str] = (), only: Iterable[str] = ()
    ) -> Self:
        """Load the plugins of `entry_points`, in this order.

        Args:
            entry_points: of installed plugins.
            block: plugins, or whole distributions, that are left out.
            only: those besides which all others are left out; of no names, none is.
        """
        blocked, allowed = _names(block), _names(only)
        for entry_point in entry_points:
            self.plugins.append(self._load(entry_point, blocked, allowed))
        for (family, kind), offers in self._offers.items():
            if len(offers) == 1:
                self._classes[family].add(offers[0][1])
            else:
                self._set_apart(Clash(family, kind, tuple(plugin.name for plugin, _ in offers)))
        self.loading = False
        return self

    def kinds(self, family: str) -> Kinds:
        """Spec classes of `family`, by kind; without those that several plugins offer."""
        if self.loading:
            raise PluginError(
                f"the kinds of {family} were asked for while plugins are being loaded; make specs inside functions, "
                "not when a plugin's module is imported"
            )
        return self._classes[family]

    def clashes(self, family: str) -> Mapping[str, str]:
        """Kinds of `family` that several plugins offer: who, and how to choose."""
        return self._clashes[family]

    def why_missing(self, family: str, kind: str) -> str:
        """Why there is no such kind: several plugins offer it, or the distribution that brings it is not in use.

        Empty where neither is so.
        """
        distribution = ELSEWHERE.get(family, {}).get(kind)
        if kind in self._clashes[family] or distribution is None:
            return self._clashes[family].get(kind, "")
        plugin = next((p for p in self.plugins if p.name.partition(":")[0] == distribution), None)
        which = f"{kind!r} is a {family} of {distribution}"
        if plugin is None:
            return f"{which}; install it: pip install {distribution}"
        if plugin.blocked or plugin.error:
            return f"{which}, which {f'is {plugin.blocked}' if plugin.blocked else 'failed to load'}"
        return f"{which}, but not of its version {plugin.version}; pip install --upgrade {distribution}"

    def owner(self, spec: Spec) -> Plugin | None:
        """The plugin that offers the kind of `spec`; None for specs of the core."""
        if "kind" not in type(spec).model_fields or spec.kind_name() not in self._classes[spec.family]:
            return None
        return self._offers[spec.family, spec.kind_name()][0][0]

    def find(self, class_name: str) -> type[Spec] | None:
        """The registered spec class called `class_name`, in any family; of a built-in class before all others.

        Raises:
            PluginConflictError: several are called so, or several plugins offer its kind.
        """
        named = [
            (plugin, offer)
            for offers in self._offers.values()
            for plugin, offer in offers
            if offer.class_name == class_name
        ]
        if not named:
            return None
        first, offer = min(named, key=lambda pair: self._place(pair[0]))
        if not self.loading and offer.kind not in self._classes[offer.family]:
            raise PluginConflictError(self._clashes[offer.family][offer.kind])
        if len(named) > 1 and not _is_built_in(first):
            places = " and ".join(f"{other.module} ({plugin.name})" for plugin, other in named)
            raise PluginConflictError(
                f"sslkit.{class_name} could be a class of {places}; import it from its module, "
                f"as in `from {offer.module} import {class_name}`"
            )
        return offer.spec

    def register(self, cls: type[Spec]) -> None:
        """Offer the kind of `cls` from now on, as `sslkit.register` says."""
        if self.loading:
            raise PluginError(f"{cls.__name__}: register kinds in scripts, not while plugins are imported")
        key, offer = (cls.family, cls.kind_name()), Offer.of(cls)
        self._require_free(key, offer)
        name = f"{REGISTERED}:{cls.__module__}"
        old = [place for place, offers in self._offers.items() if _is_again(offers, name, offer)]
        for place in old:
            del self._offers[place]
        classes = self._classes[offer.family].replaced(offer, [kind for _, kind in old])
        self._classes[offer.family] = classes  # another object, as unions are kept by identity
        kinds = [place for place, offers in self._offers.items() if offers[0][0].name == name]
        plugin = Plugin(name, REGISTERED_VERSION, (*kinds, key))
        self._offers[key] = [(plugin, offer)]
        self.plugins = [*(other for other in self.plugins if other.name != name), plugin]

    def _require_free(self, key: tuple[str, str], offer: Offer) -> None:
        """Pass where nobody offers the kind, or the module that does so now."""
        family, kind = key
        advice = f"give {offer.class_name} another `kind`"
        if kind in self._clashes[family]:
            raise PluginConflictError(self._clashes[family][kind])
        for plugin, other in self._offers.get(key, ()):
            if not plugin.name.startswith(f"{REGISTERED}:"):
                raise PluginConflictError(f"{family} kind {kind!r} is offered by {plugin.name}; {advice}")
            if other.module != offer.module:
                raise PluginConflictError(
                    f"{family} kind {kind!r} was registered as {other.class_name} of module {other.module}, and "
                    f"{offer.class_name} is of {offer.module}; {advice}"
                )

    def settled(self) -> list[Plugin]:
        """The plugins with every class imported that they list; one that cannot be is the error of its plugin."""
        return [self._settled(plugin) for plugin in self.plugins]

    @property
    def class_names(self) -> list[str]:
        """The names for which `find` has one class."""
        names = [name for classes in self._classes.values() for name in classes.class_names]
        built_in = {
            offer.class_name
            for offers in self._offers.values()
            for plugin, offer in offers
            if _is_built_in(plugin)
        }
        return [name for name in dict.fromkeys(names) if names.count(name) == 1 or name in built_in]

    @property
    def failures(self) -> str:
        """One line on the plugins that failed to load; empty if none did."""
        failed = [f"{p.name} ({p.error})" for p in self.plugins if p.error]
        return f"Plugins that failed to load: {'; '.join(failed)}" if failed else ""

    @property
    def absences(self) -> str:
        """`failures`, and one line on the plugins that were left out; empty if all are in use."""
        left_out = [f"{p.name} ({p.blocked})" for p in self.plugins if p.blocked]
        lines = [self.failures, f"Plugins left out: {', '.join(left_out)}" if left_out else ""]
        return "\n".join(filter(None, lines))

    @property
    def conflicts(self) -> list[str]:
        """A line for each set of plugins that offer the same kinds, and how to choose."""
        sets: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for clash in dict.fromkeys(clash for plugin in self.plugins for clash in plugin.clashes):
            sets[clash.plugins].append(f"{clash.family}/{clash.kind}")
        return [
            f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} offered by {_choice(plugins)}"
            for plugins, names in sets.items()
        ]

    def _load(
        self, entry_point: metadata.EntryPoint, blocked: frozenset[str], allowed: frozenset[str]
    ) -> Plugin:
        distribution, version = name_and_version(entry_point.dist)
        name = f"{distribution}:{entry_point.name}"
        names = _names((name, distribution))
        if blocked & names:
            return Plugin(name, version, blocked=f"blocked by {BLOCK_VARIABLE}")
        if allowed and not allowed & names:
            return Plugin(name, version, blocked=f"not in {ONLY_VARIABLE}")
        start = time.perf_counter()
        try:
            offers = self._loader.load(entry_point, name, trusted=distribution == BUILT_IN)
        except KeyboardInterrupt:  # of the person at the keyboard
            raise
        except BaseException as error:  # panics of extensions are no Exceptions; none may end the program
            return Plugin(name, version, error=described(error))
        kinds = tuple((offer.family, offer.kind) for offer in offers)
        plugin = Plugin(name, version, kinds, seconds=time.perf_counter() - start)
        for key, offer in zip(kinds, offers, strict=True):
            self._offers[key].append((plugin, offer))
        return plugin

    def _settled(self, plugin: Plugin) -> Plugin:
        start, kinds, errors = time.perf_counter(), list[tuple[str, str]](), list[str]()
        for family, kind in plugin.kinds:
            try:
                self._classes[family][kind]
                kinds.append((family, kind))
            except PluginError as error:
                errors.append(str(error))
        seconds = plugin.seconds + time.perf_counter() - start
        text = plugin.error or "; ".join(errors) or None
        return replace(plugin, kinds=tuple(kinds), error=text, seconds=seconds)

    def _set_apart(self, clash: Clash) -> None:
        """Note a kind that is not to be used, in the plugins that offer it as well."""
        key = (clash.family, clash.kind)
        self._clashes[clash.family][clash.kind] = clash.message
        for i, plugin in enumerate(self.plugins):
            if plugin.name in clash.plugins:
                others = tuple(offer for offer in plugin.kinds if offer != key)
                self.plugins[i] = replace(plugin, kinds=others, clashes=(*plugin.clashes, clash))

    def _place(self, plugin: Plugin) -> int:
        """Its place in the order of loading."""
        return next(i for i, other in enumerate(self.plugins) if other.name == plugin.name)


def _is_again(offers: list[tuple[Plugin, Offer]], plugin: str, new: Offer) -> bool:
    """Whether `new` takes the place of `offers`: of the same module and family, and of that kind or class name."""
    return any(
        owner.name == plugin
        and old.family == new.family
        and (old.kind == new.kind or old.class_name == new.class_name)
        for owner, old in offers
    )


def _is_built_in(plugin: Plugin) -> bool:
    return plugin.name.startswith(f"{BUILT_IN}:")


def _choice(plugins: tuple[str, ...]) -> str:
    """`both a and b. Block one of them: ...`."""
    *most, last = plugins
    if len(plugins) == 2:
        others = f"{BLOCK_VARIABLE}={last} or {BLOCK_VARIABLE}={most[0]}"
        return f"both {most[0]} and {last}. Block one of them: {others}"
    return f"{', '.join(most)} and {last}. Block all but one: {BLOCK_VARIABLE}={','.join(plugins[1:])}"


def _names(names: Iterable[str]) -> frozenset[str]:
    """`names` as packaging compares those of distributions: lower case, `-` for `_` and `.`; without empty ones."""
    return frozenset(re.sub(r"[-_.]+", "-", name.strip()).lower() for name in names if name.strip())


def _listed(variable: str) -> list[str]:
    """What an environment variable lists, with commas."""
    return os.environ.get(variable, "").split(",")


_filling: Registry | None = None
"""The registry whose plugins are being loaded."""


@functools.cache
def registry() -> Registry:
    """The plugins of this process, loaded at first use. A plugin that asks while it is imported gets those before it.

    Warns:
        PluginConflictWarning: several plugins offer the same kind; the first rank tells it.
    """
    global _filling
    if _filling is not None:
        return _filling
    _filling = full = Registry()
    try:
        full.load(discover(), _listed(BLOCK_VARIABLE), _listed(ONLY_VARIABLE))
    finally:
        _filling = None
    if ranks().rank == 0:
        for conflict in full.conflicts:
            warnings.warn(conflict, PluginConflictWarning, stacklevel=2)
    return full


def used_plugins(specs: Iterable[Spec]) -> Mapping[str, str]:
    """Name -> version of every plugin that offers one of `specs`."""
    owners = (registry().owner(spec) for spec in specs)
    return {plugin.name: plugin.version for plugin in owners if plugin is not None}
