"""Loss terms of a run: its objectives, those inside hybrids included. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

from sslkit.core.problem import Problem
from sslkit.specs.families import BalancerSpec, ObjectiveSpec


class Term(NamedTuple):
    """An objective of a run, or a hybrid that is a term of another."""

    name: str
    """`mim`; inside the hybrid `both`, `both/mim`."""
    path: str
    """Where the spec has it, as in `objectives.both.objectives.mim`."""
    spec: ObjectiveSpec
    salt: str
    """Its salt and those of the hybrids around it; empty if none is set."""
    balance: BalancerSpec | None
    """Of a hybrid: how the losses of its members become one."""


def terms(
    objectives: Mapping[str, ObjectiveSpec], path: str, inside: str = "", salts: tuple[int, ...] = ()
) -> Iterator[Term]:
    """Every term of `objectives`, which the spec has at `path`, a hybrid before its members.

    Args:
        objectives: by their own names.
        path: dotted path of the mapping.
        inside: what goes before their names.
        salts: those of the hybrids around them.
    """
    for key, spec in objectives.items():
        name, where, around = f"{inside}{key}", f"{path}.{key}", (*salts, spec.salt)
        members = spec.combined()
        salt = "/".join(str(number) for number in around if number)
        yield Term(name, where, spec, salt, None if members is None else members.balance)
        if members is not None:
            yield from terms(members.objectives, f"{where}.objectives", f"{name}/", around)


def odd_names(group: str, names: Iterable[str]) -> Iterator[Problem]:
    """Names become parts of the names of parameters, metrics and files."""
    for name in names:
        if not re.fullmatch(r"[A-Za-z]\w*", name):
            yield Problem(f"{group}.{name}", "names start with a letter and go on with letters, digits and _")


def mixed_pairs(group: str, names: Iterable[str]) -> Iterator[Problem]:
    """Records call a pair of terms ONE_TWO, which must not stand for two pairs."""
    pairs: dict[str, tuple[str, str]] = {}
    for pair in combinations(names, 2):
        other = pairs.setdefault("_".join(pair), pair)
        if other != pair:
            yield Problem(
                group,
                f"records would call both {other[0]} with {other[1]} and {pair[0]} with {pair[1]} "
                f"{'_'.join(pair)!r}; rename one of them",
            )
