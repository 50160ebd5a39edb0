"""Kinds that plugins offer, whose spec classes are imported when they are asked for. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any, Self, final

from sslkit.specs.base import Spec


@final
class Offer:
    """One kind of a plugin."""

    def __init__(self, family: str, kind: str, path: str, load: Callable[[str], type[Spec]]) -> None:
        """`path`: `module:Class`, of which `load` makes the spec class."""
        self.family, self.kind, self._path, self._load = family, kind, path, load
        self.module, _, self.class_name = path.partition(":")
        self._spec: type[Spec] | None = None

    @classmethod
    def of(cls, spec: type[Spec]) -> Self:
        """The offer of a class that is there already."""
        return cls(spec.family, spec.kind_name(), f"{spec.__module__}:{spec.__name__}", lambda path: spec)

    @property
    def spec(self) -> type[Spec]:
        """The spec class. Raises PluginError where there is none."""
        if self._spec is None:
            self._spec = self._load(self._path)
        return self._spec


@final
class Classes(Mapping[str, type[Spec]]):
    """The spec classes of a family by kind: asking which kinds there are imports none of them."""

    def __init__(self, offers: Iterable[Offer] = ()) -> None:
        self._offers = {offer.kind: offer for offer in offers}

    def add(self, offer: Offer) -> None:
        """Take the class of `offer` in."""
        self._offers[offer.kind] = offer

    def replaced(self, offer: Offer, old: Iterable[str]) -> Classes:
        """These without the kinds in `old`, and with the class of `offer`."""
        return Classes([*(other for kind, other in self._offers.items() if kind not in old), offer])

    @property
    def class_names(self) -> list[str]:
        """What the classes are called."""
        return [offer.class_name for offer in self._offers.values()]

    def __getitem__(self, kind: str) -> type[Spec]:
        return self._offers[kind].spec

    def __contains__(self, kind: object) -> bool:
        return kind in self._offers

    def __iter__(self) -> Iterator[str]:
        return iter(self._offers)

    def __len__(self) -> int:
        return len(self._offers)


def class_at(path: str) -> Any:  # noqa: ANN401  # whatever stands there
    """What `path`, `module:Class`, names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
