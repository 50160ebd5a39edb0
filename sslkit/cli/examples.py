"""`sslkit examples`: the specs that are shipped."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from sslkit.errors import SpecError

PACKAGE = Path(__file__).resolve().parent.parent
FOLDERS = (PACKAGE / "examples", PACKAGE.parent / "examples")
"""Where they are: in an installed package, or beside it in a checkout."""
ENDINGS = (".yaml", ".py", ".ipynb")
"""Specs, the scripts that draw the images of some, and notebooks."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="which to write; none: list them all")
    parser.add_argument("--all", action="store_true", help="write all of them")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("examples"),
        metavar="DIR",
        help="folder to write to; default: examples",
    )


def execute(args: argparse.Namespace) -> int:
    """List the examples, or write those that are named."""
    examples = shipped()
    names = list(examples) if args.all else args.names
    if not names:
        width = max(map(len, examples))
        print("\n".join(f"{name:{width}}  {about(path)}" for name, path in examples.items()))
        return 0
    for name in dict.fromkeys(names):
        source = find(examples, name)
        path = args.out / source.relative_to(_folder())
        copy(source, path)
        print(f"written: {path}")
    return 0


def shipped() -> Mapping[str, Path]:
    """Name, such as `quickstart` or `recipes/images_100`, -> file."""
    folder = _folder()
    return {_name(path.relative_to(folder)): path for path in sorted(_files(folder))}


def find(examples: Mapping[str, Path], name: str) -> Path:
    """The file of `name`, which may be a path as documentation has it. Raises SpecError where there is none."""
    from sslkit.specs.error_text import suggest

    words = Path(name)
    if words.parts[:1] == ("examples",) and len(words.parts) > 1:
        words = words.relative_to("examples")
    short = _name(words)
    if short not in examples:
        raise SpecError(f"{name!r} is no example. {suggest(short, examples)} `sslkit examples` lists them")
    return examples[short]


def about(path: Path) -> str:
    """The first sentence of a file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.suffix == ".py":
        text = lines[0].strip('"')
    elif path.suffix == ".ipynb":
        text = "".join(json.loads("\n".join(lines))["cells"][0]["source"][:1]).strip("# \n")
    else:
        comments = []
        for line in lines:
            if not line.startswith("# "):
                break
            comments.append(line[2:])
        text = " ".join(comments)
    return text.partition(". ")[0].rstrip(".:")


def copy(source: Path, path: Path) -> None:
    """Write `source` to `path`. Raises SpecError where something else is there already."""
    from sslkit.runtime.atomic_files import write_bytes

    content = source.read_bytes()
    if path.exists():
        if path.is_file() and path.read_bytes() == content:
            return
        raise SpecError(
            f"{path} is there already and differs; remove it, or choose another folder with `--out`"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)


def _folder() -> Path:
    for folder in FOLDERS:
        if folder.is_dir():
            return folder
    raise SpecError(f"no examples in {FOLDERS[0]}; install sslkit again")


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix in ENDINGS)


def _name(path: Path) -> str:
    """Without the ending of specs, which most are."""
    return path.with_suffix("").as_posix() if path.suffix == ".yaml" else path.as_posix()
