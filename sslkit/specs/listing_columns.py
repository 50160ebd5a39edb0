"""Names of the columns of a listing. Torch-free."""

from __future__ import annotations

from typing import Annotated, final

from pydantic import StringConstraints

from sslkit.specs.base import Spec

Column = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


@final
class ListingColumns(Spec):
    """What the columns of a `listing` are called."""

    path: Column = "path"
    """The image, below `root`."""
    label: Column | None = "label"
    """Its class, by name; a number is a name too. Without such a column, or with null, images have no labels."""
    split: Column | None = "split"
    """`train`, `test`, `val` or a word like them. Without such a column, or with null, all images are of one split."""
    group: Column | None = "group"
    """What `split: {by: group}` keeps together, such as the patient."""
    attributes: tuple[Column, ...] | None = None
    """Further labels, for `probing`; empty cells are unknown. Default: all other columns, but for those of which every
    image has a value of its own."""

    def missing(self, header: tuple[str, ...]) -> str | None:
        """A column that was asked for and that `header` lacks; None where there is none."""
        asked = [self.path, *(self.attributes or ())]
        asked += [name for field in ("label", "split", "group") if (name := self._asked(field))]
        return next((name for name in asked if name not in header), None)

    def others(self, header: tuple[str, ...]) -> list[str]:
        """Columns of `header` that are attributes, as far as names tell."""
        if self.attributes is not None:
            return list(self.attributes)
        return [name for name in header if name not in {self.path, self.label, self.split, self.group}]

    def _asked(self, field: str) -> str | None:
        """The name in `field`, where it is another than the usual one, which need not be there."""
        name: str | None = getattr(self, field)
        return None if name == type(self).model_fields[field].default else name
