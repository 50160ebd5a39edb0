"""Import a plugin and ask it for its kinds, whose classes are checked before any of them counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache, partial
from importlib import metadata
from typing import Literal, final, get_args, get_origin

import pluggy
from pydantic import ValidationError
from pydantic_core import SchemaValidator, core_schema

from sslkit.errors import PluginError
from sslkit.registry import hookspecs
from sslkit.registry.discovery import described
from sslkit.registry.offers import Offer, class_at
from sslkit.specs.base import Spec
from sslkit.specs.families import FAMILIES
from sslkit.specs.slots import require_buildable

RETURNED = "sslkit_specs() returned"
"""Where the classes of a plugin come from, in messages."""


@final
class Loader:
    """Loads plugins one after another; one that fails leaves nothing behind."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("sslkit")
        self._manager.add_hookspecs(hookspecs)

    def load(self, entry_point: metadata.EntryPoint, name: str, *, trusted: bool) -> list[Offer]:
        """The kinds of the plugin called `name`.

        Classes that it lists as `KINDS` are imported when they are asked for; those of a `trusted` plugin are not
        checked, which takes time.

        Raises:
            BaseException: whatever the plugin raises, and PluginError for what it offers.
        """
        if not entry_point.pattern.match(entry_point.value):
            raise PluginError(f"its entry point {entry_point.value!r} names no module; write package.module")
        try:
            module = entry_point.load()
            self._register(module, name)
            table: object = getattr(module, "KINDS", None)
            if table is not None:
                return list(_listed(table, name, trusted=trusted))
            classes = self._offered(module)
            for cls in classes if not trusted else ():
                require_buildable(cls)
        except BaseException:
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            raise
        return [Offer.of(cls) for cls in classes]

    def _register(self, module: object, name: str) -> None:
        self._manager.register(module, name=name)
        if not self._manager.get_hookcallers(module):
            raise PluginError("implements no hook; decorate its functions with `@sslkit.hookimpl`")
        self._manager.check_pending()  # functions with the decorator whose names are those of no hook

    def _offered(self, module: object) -> list[type[Spec]]:
        if getattr(module, "sslkit_specs", None) is None:
            return []
        others = [plugin for plugin in self._manager.get_plugins() if plugin is not module]
        offered = self._manager.subset_hook_caller("sslkit_specs", others)()
        classes = [require_kind(cls, RETURNED) for batch in offered or [None] for cls in _require_list(batch)]
        if len({(cls.family, cls.kind_name()) for cls in classes}) < len(classes):
            raise PluginError("sslkit_specs() returned two classes of the same family and kind")
        return classes


def _listed(table: object, plugin: str, *, trusted: bool) -> Iterator[Offer]:
    """The kinds in the table of `plugin`."""
    try:
        kinds: dict[str, dict[str, str]] = _table().validate_python(table)
    except ValidationError:
        raise PluginError(
            'KINDS must be of the form {"masker": {"kind": "package.module:Class"}}, with families among '
            f"{', '.join(FAMILIES)}; found {str(table)[:200]}"
        ) from None
    for family, paths in kinds.items():
        for kind, path in paths.items():
            yield Offer(family, kind, path, class_at if trusted else partial(_checked, plugin, family, kind))


@cache
def _table() -> SchemaValidator:
    """Of family -> kind -> path. pydantic's `TypeAdapter` takes ten times as long to make."""
    path = core_schema.str_schema(pattern=r"^[\w.]+:\w+$", strict=True)
    kinds = core_schema.dict_schema(core_schema.str_schema(strict=True), path, strict=True)
    return SchemaValidator(
        core_schema.dict_schema(core_schema.literal_schema([*FAMILIES]), kinds, strict=True)
    )


def _checked(plugin: str, family: str, kind: str, path: str) -> type[Spec]:
    """The class at `path`, if it is what the table of `plugin` says."""
    try:
        cls = require_kind(class_at(path), RETURNED)
        if (cls.family, cls.kind_name()) != (family, kind):
            raise PluginError(f"{path} is {cls.family}/{cls.kind_name()}")
        require_buildable(cls)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # panics of extensions are no Exceptions
        raise PluginError(
            f"{family}/{kind} of {plugin} cannot be loaded: {described(error)}; mend the plugin, or set "
            f"SSLKIT_BLOCK={plugin}"
        ) from None
    return cls


def _require_list(batch: object) -> Iterable[object]:
    if isinstance(batch, type | str) or not isinstance(batch, Iterable):
        raise PluginError(f"sslkit_specs() must return a list of spec classes, found {batch!r}")
    return batch


def require_kind(cls: object, where: str) -> type[Spec]:
    """`cls`, where it is a whole spec class of a family; `where` opens the message of what is none.

    Raises:
        PluginError: it is none, has no kind, or leaves methods out.
    """
    if not (isinstance(cls, type) and issubclass(cls, Spec)):
        raise PluginError(f"{where} {cls!r}, which is not a Spec class")
    if not issubclass(cls, FAMILIES.get(cls.family, ())):
        raise PluginError(f"{cls.__name__} derives from no family; choose one of {', '.join(FAMILIES)}")
    if "kind" not in cls.model_fields or not isinstance(cls.model_fields["kind"].default, str):
        raise PluginError(f'{cls.__name__} has no kind; write  kind: Literal["name"] = "name"')
    annotation, kind = cls.model_fields["kind"].annotation, cls.kind_name()
    if get_origin(annotation) is Literal and kind not in get_args(annotation):
        raise PluginError(f"{cls.__name__}.kind: the default {kind!r} is not what its Literal allows")
    if cls.__abstractmethods__:
        raise PluginError(f"{cls.__name__} does not implement {', '.join(sorted(cls.__abstractmethods__))}")
    return cls
