"""What folders say of the images that a listing names. Torch-free."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, final

from sslkit.plugin import SplitSpec
from sslkit_sources.drawn_split import by_folder
from sslkit_sources.listing import Listing, list_named


@final
class ClassFolders(NamedTuple):
    """Class folders, as of images without a listing."""

    draw: SplitSpec | None
    labeled: bool = True
    """Whether folders are classes at all."""
    folders: bool = False

    def labels(
        self, root: Path, files: Sequence[str], classes: tuple[str, ...]
    ) -> tuple[list[int] | None, tuple[str, ...]]:
        """None where folders are no classes, as those of one level that stay together."""
        together = self.draw is not None and self.draw.by == "folder"
        if not self.labeled or (together and all(path.count(os.sep) == 1 for path in files)):
            return None, ()
        listed = list_named(root, list(files), classes)
        return listed.labels, listed.classes

    def together(
        self, root: Path, files: Sequence[str], labels: Sequence[int] | None, by: str
    ) -> Sequence[str] | None:
        """The folder right below the class folder; groups are unknown."""
        if by != "folder":
            return None
        paths = [path.replace(os.sep, "/") for path in files]
        listed = Listing(list(files), None if labels is None else list(labels), ())
        return by_folder(listed, paths, str(root))[1]
