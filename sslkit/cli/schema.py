"""`sslkit schema`: the JSON schema of specs."""

from __future__ import annotations

import argparse
import json

from sslkit.specs.schema import component_schema, json_schema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.add_argument(
        "family", nargs="?", metavar="FAMILY", help="a family, such as masker; default: the run"
    )
    parser.add_argument("kind", nargs="?", metavar="KIND", help="one kind of it; default: all of them")


def execute(args: argparse.Namespace) -> int:
    """Print the schema."""
    schema = component_schema(args.family, args.kind) if args.family else json_schema()
    print(json.dumps(schema, indent=2))
    return 0
