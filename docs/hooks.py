"""Parts of the documentation that are made from the code, so that they cannot drift.

A page holds a directive in an HTML comment, which is replaced when the site is built:

- `<!-- fields: RunSpec -->`: a table of the fields of a spec of the core, or of a kind (`masker/random`);
- `<!-- kinds: masker -->`: a section for every built-in kind of a family, with its fields;
- `<!-- masks: {kind: random} -->`: a picture of masks that a masker draws;
- `<!-- inputs: {views: {global: {size: 96}}} -->`: a sheet of what arrives in the network of a run with such fields;
- `<!-- help: run -->`: what `sslkit run --help` prints; `<!-- help: data stats -->` of one of a command's own.
"""

from __future__ import annotations

import argparse
import io
import json
import posixpath
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import TypeAdapter

from sslkit.cli.main import COMMANDS
from sslkit.registry.manager import registry
from sslkit.specs.families import FAMILIES, MaskerSpec
from sslkit.specs.load import parse_yaml
from sslkit.specs.schema import component_schema, json_schema
from sslkit.specs.slots import Slot

if TYPE_CHECKING:
    from torch import Tensor

    from sslkit.core.masker import Masker, Scene

Schema = Mapping[str, Any]

CORE = (
    "ViewSpec", "Normalize", "NetSpec", "Refresh", "Ramp", "OptimizerSpec", "TowerRates", "LearningRateSchedule",
    "CompileSpec", "Readout", "CheckpointSpec", "LogSpec",
)  # fmt: skip
"""Specs of the core that are no component; docs/specs.md has a section for each."""

_DIRECTIVE = re.compile(r"^<!-- (fields|kinds|help|masks|inputs): (.+) -->$", re.MULTILINE)
_WORDS = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
}
_SIGNS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
_GUARD = 999
"""Bounds this far out only guard arithmetic; a reader does not need them."""


MASKS = 8
"""Masks in a picture."""


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """What mkdocs calls for every page."""
    from mkdocs.structure.files import File

    uri = page.file.src_uri
    for kind, text in _DIRECTIVE.findall(markdown):
        if kind in PICTURES:
            path = posixpath.join(posixpath.dirname(uri), picture_name(text))
            files.append(File.generated(config, path, content=PICTURES[kind](text)))
    return expand(markdown, uri)


def expand(markdown: str, uri: str) -> str:
    """`markdown` of the page at `uri` (relative to docs/) with every directive replaced."""
    made: dict[str, Callable[[str], Iterator[str]]] = {
        "fields": lambda name: table(
            component_schema(*name.split("/")) if "/" in name else core_schema(name), uri
        ),
        "kinds": lambda family: kinds(family, uri),
        "help": help_text,
        "masks": lambda text: iter([f"![masks of {text}]({picture_name(text)})"]),
        "inputs": lambda text: iter([f"![inputs with {text}]({picture_name(text)})"]),
    }
    return _DIRECTIVE.sub(lambda match: "\n".join(made[match[1]](match[2])), markdown)


def core_schema(name: str) -> Schema:
    """The schema of the run, or of the spec called `name` inside it, with the definitions it refers to."""
    run = json_schema()
    return run if name == run["title"] else {**run["$defs"][name], "$defs": run["$defs"]}


def built_in(family: str) -> list[str]:
    """Kinds of `family` that sslkit's own plugins offer, in their order."""
    own = [plugin for plugin in registry().plugins if plugin.name.startswith("sslkit:")]
    return [kind for plugin in own for of, kind in plugin.kinds if of == family]


def kinds(family: str, uri: str) -> Iterator[str]:
    """One section for each built-in kind of `family`."""
    for kind in built_in(family):
        schema = component_schema(family, kind)
        yield f"### `{kind}` {{ #{kind} }}\n"
        yield f"Class `sslkit.{schema['title']}`.\n"
        yield f"{schema['description']}\n"
        yield from table(schema, uri)
        yield ""


def table(schema: Schema, uri: str) -> Iterator[str]:
    """The fields of `schema`; plain specs inside it, except the run's, add theirs with dotted names."""
    rows = list(_rows(schema, schema.get("$defs", {}), uri, nested=schema["title"] != "RunSpec"))
    if not rows:
        yield "It has no fields."
        return
    yield "| Field | Type | Default | Meaning |"
    yield "|---|---|---|---|"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _rows(
    schema: Schema, definitions: Schema, uri: str, nested: bool, prefix: str = ""
) -> Iterator[tuple[str, str, str, str]]:
    for name, field in schema.get("properties", {}).items():
        if name == "kind":
            continue
        inner = _definition(field, definitions) or {}
        # pydantic leaves a description out where it repeats that of the spec referred to
        meaning = " ".join(field.get("description", inner.get("description", "")).split())
        required = name in schema.get("required", ())
        yield f"`{prefix}{name}`", _type(field, definitions, uri), _default(field, required), meaning
        if nested and inner and "kind" not in inner["properties"]:
            owned = _owned(inner, field.get("default"))
            yield from _rows(owned, definitions, uri, nested, f"{prefix}{name}.")


def _owned(inner: Schema, default: Any) -> Schema:
    """`inner` with the defaults that its owner gives it, where those are others than its own."""
    own = default if isinstance(default, dict) else {}
    properties = {
        name: {**field, "default": own[name]} if name in own else field
        for name, field in inner["properties"].items()
    }
    return {**inner, "properties": properties}


def _definition(field: Schema, definitions: Schema) -> Schema | None:
    """What a plain reference, or one that may be left out, refers to."""
    parts = [part for part in field.get("anyOf", [field]) if part.get("type") != "null"]
    reference = parts[0].get("$ref") if len(parts) == 1 else None
    return definitions[reference.rpartition("/")[2]] if reference else None


def _type(field: Schema, definitions: Schema, uri: str) -> str:
    inner = _definition(field, definitions)
    if inner is not None:
        title = str(inner["title"])
        return _link(title, f"specs.md#{title.lower()}", uri) if title in CORE else title
    if "discriminator" in field:
        family = _family(field)
        return _link(family, f"interfaces/{family}.md", uri)
    if "anyOf" in field:
        parts = [_type(part, definitions, uri) for part in field["anyOf"] if part.get("type") != "null"]
        return " or ".join(parts)
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    return _plain(field, definitions, uri) + _bounds(field)


def _plain(field: Schema, definitions: Schema, uri: str) -> str:
    if "prefixItems" in field:
        items = [_type(item, definitions, uri) for item in field["prefixItems"]]
        return f"list of {len(items)}: {' and '.join(items)}"
    if field["type"] == "array":
        return f"list of {_type(field['items'], definitions, uri)}"
    if field.get("format") == "python":
        return "object of Python"
    if field["type"] == "object":
        values = field["additionalProperties"]
        return f"mapping of names to {'anything' if values is True else _type(values, definitions, uri)}"
    return "path" if field.get("format") == "path" else _WORDS[field["type"]]


def _family(field: Schema) -> str:
    """The family whose slot `field` is."""
    kind, reference = next(iter(field["discriminator"]["mapping"].items()))
    title = reference.rpartition("/")[2]
    return next(f for f in FAMILIES if registry().kinds(f).get(kind, type).__name__ == title)


def _link(text: str, target: str, uri: str) -> str:
    path, _, anchor = target.partition("#")
    if path == uri and not anchor:
        return text
    relative = "" if path == uri else posixpath.relpath(path, posixpath.dirname(uri) or ".")
    return f"[{text}]({relative}{'#' if anchor else ''}{anchor})"


def _bounds(field: Schema) -> str:
    found = [f"{sign} {field[key]}" for key, sign in _SIGNS.items() if abs(field.get(key, _GUARD)) < _GUARD]
    return f" {', '.join(found)}" if found else ""


def _default(field: Schema, required: bool) -> str:
    if required:
        return "required"
    default = field.get("default")
    if default is None or default in ([], {}):
        return "–"
    references = [part for part in field.get("anyOf", [field]) if part.get("type") != "null"]
    plain = len(references) == 1 and "$ref" in references[0]  # its fields have rows below
    return "its own" if plain else f"`{_flow(default)}`"


def _flow(value: object) -> str:
    """`value` in YAML's flow style."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)


def picture_name(text: str) -> str:
    """The file, beside its page, of the picture that `text` asks for."""
    return re.sub(r"[^\w.]+", "-", text).strip("-") + ".png"


def picture(text: str) -> bytes:
    """A PNG of masks of the masker that `text` says in YAML: 14 x 14 patches of 16 pixels, white where visible.

    Masks of a masker that looks at images have the images above them.
    """
    import torch
    from matplotlib.figure import Figure

    from sslkit.core.random_stream import Draw
    from sslkit.core.view import Grid
    from sslkit.testing.fake_scene import VIEW, env_of

    slot: Any = Annotated[MaskerSpec, Slot()]
    spec = TypeAdapter(slot).validate_python(parse_yaml(text, "the directive"))
    masker = spec.build(env_of(Grid(14, 14, 16)), VIEW).at(0.0)
    photos = photographs()
    _teach(masker, photos)
    seen, unseen = (
        masker.sample(Draw(0, torch.arange(MASKS)[None]), _scene(masker, images)).view(MASKS, 14, 14)
        for images in (photos, torch.zeros_like(photos))
    )
    looks = not torch.equal(seen, unseen)
    figure = Figure(figsize=(MASKS, 2.05 if looks else 1.05), dpi=120, layout="tight")
    for axes in (shown := figure.subplots(1 + looks, MASKS, squeeze=False)).flat:
        axes.set(xticks=[], yticks=[])
    for i in range(MASKS):
        shown[-1, i].imshow(seen[i], cmap="Purples", vmin=0, vmax=1.2)
        if looks:
            shown[0, i].imshow((photos[0, i] / 4 + 0.5).clamp(0, 1).permute(1, 2, 0))
    made = io.BytesIO()
    figure.savefig(made, format="png")
    return made.getvalue()


def sheet(text: str) -> bytes:
    """A PNG of what `sslkit data show` draws for the fields of a run in `text`, with cuts of two photographs."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    from sslkit.analysis.image_data.data_fields import DataFields
    from sslkit.analysis.image_data.network_inputs import draw_inputs

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "photos"
        root.mkdir()
        for name, photo in zip(("palace", "flower"), load_sample_images().images, strict=True):
            Image.fromarray(photo).save(root / f"{name}.png")
        data = {"kind": "folder", "root": str(root)}
        out = Path(folder) / "sheet.png"
        draw_inputs(DataFields.model_validate({**parse_yaml(text, "the directive"), "data": data}), out, 2)
        return out.read_bytes()


PICTURES: dict[str, Callable[[str], bytes]] = {"masks": picture, "inputs": sheet}
"""What draws the picture of a directive."""


@cache
def photographs() -> Tensor:
    """Square cuts of the photographs that scikit-learn ships, `[1, 8, 3, 224, 224]`, normalized to -2 .. 2."""
    import torch
    from sklearn.datasets import load_sample_images
    from torch.nn import functional as F

    cuts = []
    for photo in load_sample_images().images:
        height, width = photo.shape[:2]
        starts = [i * (width - height) // (MASKS // 2 - 1) for i in range(MASKS // 2)]
        cuts += [torch.tensor(photo[:, start : start + height]).permute(2, 0, 1) for start in starts]
    images = torch.stack(cuts).float() / 255
    return (F.interpolate(images, (224, 224), mode="bilinear", antialias=True)[None] - 0.5) * 4


def _scene(masker: Masker, images: Tensor) -> Scene:
    """What `masker` looks at, with stand-ins for a network's answers that are made of pixels.

    A patch's features are the means and deviations of its colors and the strength of its edges in both
    directions; attention goes to what differs from the rest of the image, and to edges.
    """
    import torch

    from sslkit.core.masker import Scene
    from sslkit.core.passes import Tokens

    cells = images.unflatten(-1, (14, 16)).unflatten(-3, (14, 16)).transpose(-3, -2)
    gray = cells.mean(2)
    edges = [gray.diff(dim=d).abs().mean((-2, -1)) for d in (-2, -1)]
    parts = [*cells.mean((-2, -1)).unbind(2), *cells.std((-2, -1)).unbind(2), *edges]
    patch = torch.stack(parts, -1).flatten(2, 3)
    patch = (patch - patch.mean(2, keepdim=True)) / patch.std(2, keepdim=True).clamp(min=1e-3)
    salience = torch.stack([patch.square().mean(-1), patch[..., -2:].sum(-1)], 2).softmax(-1)
    cls = patch.mean(2)
    layer = torch.cat([cls[:, :, None], patch], 2)
    return Scene(
        images,
        tuple(
            Tokens(images, cls, patch, None, (layer,) * len(request.layers), salience)
            for request in masker.passes
        ),
    )


def _teach(masker: Masker, images: Tensor) -> None:
    """Let `masker` learn from 10 steps, in which a patch's loss is the deviation of its pixels."""
    import torch

    from sslkit.core.masker import make_mask
    from sslkit.core.random_stream import Draw

    scene = _scene(masker, images)
    loss = images.unflatten(-1, (14, 16)).unflatten(-3, (14, 16)).std((2, -3, -1)).flatten(2)
    for step in range(10):
        mask = make_mask(masker, Draw(step, torch.arange(MASKS)[None]), scene)
        rows = masker.observe(scene, mask, mask.pick(loss))
        if not rows:
            return
        masker.commit(rows)


def help_text(command: str) -> Iterator[str]:
    """What `sslkit COMMAND --help` prints."""
    yield from ("```text", parser(command).format_help().rstrip(), "```")


def parser(command: str) -> argparse.ArgumentParser:
    """The parser of `command`, as `sslkit.cli.main` makes it, for lines of 96 characters."""
    command, _, action = command.partition(" ")
    made = argparse.ArgumentParser(
        prog=f"sslkit {command}",
        description=COMMANDS[command],
        allow_abbrev=False,
        formatter_class=_formatter,
    )
    made.add_argument("--debug", action="store_true", help="show the traceback of errors")
    import_module(f"sslkit.cli.{command}").add_arguments(made)
    if not action:
        return made
    (actions,) = (a for a in made._actions if isinstance(a, argparse._SubParsersAction))
    one: argparse.ArgumentParser = actions.choices[action]
    one.formatter_class = _formatter
    return one


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, width=96)
