"""Kinds that a script or notebook registers, for its own process. Nothing here imports torch."""

from __future__ import annotations

from typing import TypeVar

from sslkit.errors import PluginError
from sslkit.registry.loader import require_kind
from sslkit.registry.manager import registry
from sslkit.specs.base import Spec
from sslkit.specs.slots import require_buildable

S = TypeVar("S", bound=Spec)


def register(cls: type[S]) -> type[S]:
    """Make a spec class a kind of this process, without a package: `sslkit.register(MyMasker)`, or as a decorator.

    Specs, `Run`, YAML that this process reads, and `sslkit.MyMasker` then know it as those of plugins. A cell of a
    notebook that runs again replaces its class. Other processes, the commands among them, do not know the kind: a
    plugin is for that (docs/plugins.md).

    Args:
        cls: a spec of any family, with `kind: Literal["name"] = "name"`. Not its component, which `build` makes.

    Returns:
        `cls` itself.

    Raises:
        PluginError: it is no spec class of a family, is not complete, or pydantic cannot build it.
        PluginConflictError: a plugin, or another module, offers this kind already.
    """
    require_kind(cls, "sslkit.register() takes the spec of a kind, whose `build` makes the component; found")
    try:
        require_buildable(cls)
    except Exception as error:
        raise PluginError(f"{cls.__name__}: pydantic cannot build it: {error}") from error
    registry().register(cls)
    return cls
