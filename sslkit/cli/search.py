"""`sslkit search`: the images of an index that are most like others, as a contact sheet."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.add_argument(
        "index", type=Path, metavar="INDEX", help="a file of `sslkit embed --index`: FILE.faiss"
    )
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="image files")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("sheet.png"),
        metavar="FILE",
        help="contact sheet; default: sheet.png",
    )
    parser.add_argument("-k", type=int, default=8, metavar="N", help="neighbors of each image; default: 8")
    parser.add_argument(
        "--network", metavar="WHAT", help="as of `sslkit embed`, where it is no longer where it was"
    )
    parser.add_argument("--checkpoint", metavar="NAME|FILE", help="of the network")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="SPEC|FOLDER",
        help="where the images of the index are now, for the sheet",
    )
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="default: auto"
    )


def execute(args: argparse.Namespace) -> int:
    """Print names and similarities, then draw the sheet."""
    from sslkit.errors import SpecError
    from sslkit.evaluate.embeddings.embedding_index import open_index
    from sslkit.evaluate.embeddings.similar_images import draw_matches, search
    from sslkit.registry.manager import registry
    from sslkit.specs.embedding import images_at

    if args.k < 1:
        raise SpecError(f"-k: must be at least 1, found {args.k}")
    if args.out.suffix.lower() != ".png":
        raise SpecError(f"--out: {args.out} must end in .png")
    opened = open_index(args.index)
    about = opened.embeddings.about
    matches = search(opened, args.images, args.k, args.network, args.checkpoint, args.device)
    for match in matches:
        print(match.name)
        for neighbor in match.neighbors:
            print(f"  {neighbor.similarity:.4f}  {neighbor.name}")
    data = None if args.data is None else images_at(args.data, about.view.channels, registry().failures)
    draw_matches(args.out, matches, about, data)
    print(f"written: {args.out}")
    return 0
