"""`sslkit data`: look at images before a run."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sslkit.cli.spec_arguments import add_spec_arguments
from sslkit.errors import DataError, SpecError

if TYPE_CHECKING:
    from sslkit.analysis.image_data.data_fields import DataFields


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own commands to `parser`."""
    parser.usage = f"{parser.prog} ACTION SPEC.yaml [key.path=value ...] [options]"
    actions = parser.add_subparsers(
        prog=parser.prog,
        dest="action",
        required=True,
        metavar="ACTION",
        help="what to do; ACTION --help says more",
    )
    text = "mean and deviation for `normalize`, sizes, ranges, classes, unreadable images, duplicates"
    stats = _action(actions.add_parser("stats", help=text, description=f"Print {text}."))
    stats.add_argument(
        "--images", type=_count, metavar="N", help="read a seeded sample of N images; default: all"
    )
    text = "what arrives in the network: images, their crops and histograms"
    show = _action(actions.add_parser("show", help=text, description=f"Draw {text}, as a PNG."))
    show.add_argument(
        "--out", type=Path, default=Path("sheet.png"), metavar="FILE", help="default: sheet.png"
    )
    show.add_argument("--images", type=_count, default=4, metavar="N", help="rows of the sheet; default: 4")
    show.add_argument("--step", type=int, default=0, metavar="S", help="of the run; default: 0, its first")
    text = "decode every image once, and list the faults by kind; exit code 2 past `max_corrupt`"
    check = _action(actions.add_parser("check", help=text, description=f"{text.capitalize()}."))
    check.add_argument(
        "--images", type=_count, metavar="N", help="a seeded sample of N of each split; default: all"
    )

    text = "copy all images into tar shards with checksums, to be read by `kind: webdataset`"
    more = "A pack that was killed goes on."
    pack = actions.add_parser("pack", help=text, description=f"{text.capitalize()}. {more}")
    _add_pack(pack)


def _add_pack(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{parser.prog} SPEC.yaml|FOLDER DST [key.path=value ...] [options]"
    parser.add_argument("spec", type=Path, metavar="SPEC.yaml|FOLDER", help="a spec, or a folder of images")
    parser.add_argument("folder", type=Path, metavar="DST", help="folder of the shards, which is made")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="changes to the spec")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--shard-size", metavar="SIZE", help="about so many bytes a shard; default: 256MB")
    size.add_argument("--shard-images", type=_count, metavar="N", help="exactly so many images a shard")
    parser.add_argument(
        "--keep-order", action="store_true", help="of the source; default: an order drawn from `seed`"
    )
    _add_output(parser)


def _action(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    add_spec_arguments(parser)
    return _add_output(parser)


def _add_output(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that is known")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors")
    return parser


def execute(args: argparse.Namespace) -> int:
    """Do what `args.action` says."""
    if args.json and args.json.is_dir():
        raise SpecError(f"--json: {args.json} is a folder; give the name of a file")
    from sslkit.analysis.image_data.data_fields import load_fields
    from sslkit.registry.manager import registry

    fields = load_fields(args.spec, args.overrides, registry().absences)
    actions = {"stats": _stats, "show": _show, "check": _check, "pack": _pack}
    return actions[args.action](fields, args)


def _stats(fields: DataFields, args: argparse.Namespace) -> int:
    from sslkit.analysis.image_data.image_statistics import image_statistics
    from sslkit.analysis.image_data.reading_bar import ReadingBar
    from sslkit.cli.data_text import statistics_lines
    from sslkit.runtime.signals import exit_code

    statistics = image_statistics(fields, args.images, ReadingBar("reading"))
    print("\n".join(statistics_lines(statistics)))
    print(statistics.to_yaml(), end="")
    _write(args.json, statistics.to_json())
    return 0 if statistics.signal is None else exit_code(statistics.signal)


def _show(fields: DataFields, args: argparse.Namespace) -> int:
    if args.out.suffix.lower() != ".png":
        raise SpecError(f"--out: {args.out} must end in .png")
    if args.step < 0:
        raise SpecError(f"--step: must be at least 0, found {args.step}")
    from sslkit.analysis.image_data.network_inputs import as_json, draw_inputs
    from sslkit.cli.data_text import input_lines

    inputs = draw_inputs(fields, args.out, args.images, args.step)
    print("\n".join(input_lines(inputs, fields.seed)))
    print(f"written: {args.out}")
    _write(args.json, as_json(inputs))
    return 0


def _check(fields: DataFields, args: argparse.Namespace) -> int:
    from sslkit.analysis.image_data.image_faults import as_json, check_images, too_many
    from sslkit.analysis.image_data.reading_bar import ReadingBar
    from sslkit.cli.data_text import fault_lines
    from sslkit.runtime.signals import exit_code

    results = check_images(fields, args.images, ReadingBar("checking"))
    print("\n".join(fault_lines(results)), flush=True)
    _write(args.json, as_json(results))
    refused = list(too_many(results, fields.max_corrupt))
    if refused:
        raise DataError("\n".join(refused))
    signals = [one.signal for one in results.values() if one.signal is not None]
    return exit_code(signals[0]) if signals else 0


def _pack(fields: DataFields, args: argparse.Namespace) -> int:
    from sslkit.analysis.image_data.reading_bar import ReadingBar
    from sslkit.analysis.packing.pack_images import Size, pack_images
    from sslkit.analysis.packing.pack_plan import bytes_of
    from sslkit.cli.pack_text import as_json, pack_lines

    size = Size(args.shard_images, bytes_of(args.shard_size or "256MB"))
    packed = pack_images(fields, args.folder, size, not args.keep_order, ReadingBar("packing"))
    print("\n".join(pack_lines(packed, args.folder, fields)))
    _write(args.json, as_json(packed))
    return 0


def _write(path: Path | None, data: Mapping[str, object]) -> None:
    from sslkit.runtime.atomic_files import write_json

    if path is not None:
        write_json(path, data)
        print(f"# written: {path}")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:12]) < 2**31:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, found {text!r}")
    return int(text)
