"""`sslkit plugins new`: a plugin distribution from a template. Torch-free."""

from __future__ import annotations

import argparse
import keyword
import re
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import NamedTuple

from sslkit import __version__, catalog
from sslkit.errors import PluginError
from sslkit.runtime.atomic_files import write_text

TEMPLATE = Path(__file__).parent / "template"
SUFFIX = ".tmpl"
COMMON = "common"
"""Folder of what every distribution has."""
RESERVED = ("plugin", "specs")
"""Modules of every package, which no kind can be called after."""


class Example(NamedTuple):
    """The component that a template holds."""

    noun: str
    """End of its spec's name."""
    summary: str
    """What it is for: `to ...`."""


EXAMPLES = {
    "augment": Example("Cutout", "fill a square of each image with gray"),
    "backbone": Example("Perceptron", "turn each patch into a token of its own"),
    "balancer": Example("LossScale", "divide each loss by its moving average"),
    "evaluator": Example("NearestMean", "classify by the nearest class mean"),
    "logger": Example("Table", "write metrics to a table in the run's folder"),
    "masker": Example("Columns", "hide whole columns of patches"),
    "objective": Example("Thumbnail", "predict a thumbnail of each image"),
    "source": Example("Squares", "draw squares to learn from"),
    "target": Example("Edges", "predict the edges of hidden patches"),
    "transform": Example("Spectrum", "turn each image into its spectrum"),
}
"""Family -> what its template, the folder of its name, offers."""


class Names(NamedTuple):
    """What a distribution's parts are called."""

    family: str
    summary: str

    distribution: str
    package: str
    kind: str
    cls: str
    """Name of the spec class."""


def new_plugin(name: str, directory: Path, family: str = "target") -> Path:
    """Write a distribution called `name`, with one working component and its tests, to `directory / name`.

    Args:
        name: of the distribution.
        directory: where its folder goes.
        family: of the component, one of `EXAMPLES`.

    Returns:
        The folder.

    Raises:
        PluginError: the name cannot be used, or the folder has something in it.
        StorageError: a file could not be written.
    """
    names = _names(name, family)
    folder = directory / name
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PluginError(f"{folder}: exists and is not an empty folder; choose another name or --dir")
    values = {**names._asdict(), "version": __version__}
    for part in (TEMPLATE / COMMON, TEMPLATE / family):
        for source in sorted(part.rglob(f"*{SUFFIX}")):
            text = Template(source.read_text(encoding="utf-8")).substitute(values)
            write_text(folder / _place(source.relative_to(part).with_suffix(""), names), text)
    return folder


def _place(inside: Path, names: Names) -> Path:
    """Where a file of the template goes. No file of the template is hidden, or called as one that tools would read."""
    renamed = {
        "package": f"src/{names.package}",
        "component.py": f"{names.kind}.py",
        "github": ".github",
        "gitignore": ".gitignore",
    }
    return Path(*(renamed.get(part, part) for part in inside.parts))


def main_new(args: argparse.Namespace) -> int:
    """Write the distribution `args.name` below `args.dir` and say how to go on."""
    folder = new_plugin(args.name, args.dir, args.family)
    print(f"written: {folder}, a plugin with the {args.family} {_names(args.name, args.family).kind!r}")
    print(f"go on with:\n  cd {folder}\n  pip install -e .")
    print(f"  sslkit plugins check {args.name}\n  sslkit run spec.yaml")
    return 0


def _names(name: str, family: str) -> Names:
    """Names that follow from that of the distribution.

    Raises:
        PluginError: it cannot be a distribution and a module, or it is taken.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*([-_.][A-Za-z0-9]+)*", name):
        raise PluginError(
            f"{name!r} cannot name a distribution: use letters and digits, joined by `-`, as in sslkit-shapes"
        )
    package = re.sub(r"[-_.]", "_", name).lower()
    kind = package.removeprefix("sslkit_")
    if keyword.iskeyword(kind) or keyword.iskeyword(package) or not kind.isidentifier():
        raise PluginError(
            f"{name!r} cannot be used: {package!r} or {kind!r} is no name in Python; choose another"
        )
    if kind in RESERVED:
        raise PluginError(f"{name!r} cannot be used: every plugin has a module {kind!r}; choose another name")
    if package == "tests" or _is_installed(package):
        raise PluginError(f"{name!r} is taken: there is a module {package!r} already; choose another name")
    if kind in catalog.kinds(family):
        article = "an" if family[0] in "aeiou" else "a"
        raise PluginError(
            f"{name!r} is taken: there is {article} {family} of kind {kind!r}; choose another name"
        )
    title, example = "".join(part.capitalize() for part in kind.split("_")), EXAMPLES[family]
    cls = title.removesuffix(example.noun) + example.noun
    return Names(family, example.summary, name, package, kind, cls)


def _is_installed(package: str) -> bool:
    """Whether `import package` would find a module; a folder without any, such as this one's, is none."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None
